/** The map of a dump, or a slice of it: every area of every process, and every segment of shared memory, once. */
import type { DumpFiles } from '../dump/files.js';
import { Images } from '../dump/images.js';
import type { Slice } from '../dump/slice.js';
import { type MemoryPiece, SegmentMemory, TaskMemories, type TaskMemory } from '../explore/task-memory.js';
import { Breather } from '../io/breathe.js';
import { type Band, beginTask, segmentBand, taskBand } from './bands.js';
import { MapBuilder, type MapEvents, type MapLimits } from './builder.js';
import { ContentSurvey } from './content.js';
import type { MemoryMap, State } from './model.js';
import { isRead, type PageRange, PageShare } from './share.js';
import { MapTrace, putCounts, type SliceTotals, type TraceLine } from './trace.js';

export interface CollectOptions {
  /** Bytes; by default found in the dump. */
  pageSize?: number;
  /** Whether all pages are read, to see what is in them. Default: false. */
  content?: boolean;
  limits?: Partial<MapLimits>;
  signal?: AbortSignal;
}

/**
 * The map of the memory of a dump. With `content` the bytes of processes and segments are read once each.
 * @throws {DumpError} for a dump that cannot be read
 */
export async function memoryMap(files: DumpFiles, options: CollectOptions = {}): Promise<MemoryMap> {
  const { content = false, limits = {}, pageSize, signal } = options;
  const memories = new TaskMemories(files, pageSize === undefined ? {} : { pageSize });
  const builder = new MapBuilder({ pageSize: memories.pageSize, limits, hasContent: content });
  const survey = content ? new ContentSurvey(memories.pageSize) : undefined;
  await collect(new Collector(memories, new Images(files), builder, survey), signal);
  return builder.map(survey?.totals());
}

/**
 * A slice of the map, for {@link MapJoin}: only the pages of the slice are read.
 * @param put takes what the slice is made of, in order, as lines of a report
 * @returns what the last line of the report says
 * @throws {DumpError} for a dump that cannot be read
 */
export async function mapSlice(
  files: DumpFiles,
  slice: Slice,
  put: (line: TraceLine) => void,
  { content = false, pageSize, signal }: Omit<CollectOptions, 'limits'> = {},
): Promise<SliceTotals> {
  const memories = new TaskMemories(files, pageSize === undefined ? {} : { pageSize });
  const share = new PageShare(memories, slice);
  let lines = 0;
  const take = (line: TraceLine) => {
    lines++;
    put(line);
  };
  const trace = new MapTrace(take, share);
  const survey = content ? new ContentSurvey(memories.pageSize, share.from) : undefined;
  await collect(new Collector(memories, new Images(files), trace, survey, share), signal);
  trace.flush();
  const counts = survey ? putCounts(survey.end(), take) : null;
  return { pageSize: memories.pageSize, content: counts, lines };
}

async function collect(collector: Collector, signal: AbortSignal | undefined): Promise<void> {
  const breather = new Breather();
  for (const _ of collector.all()) {
    await breather.due();
    signal?.throwIfAborted();
  }
}

/** Of any machine. */
const ADDRESS_SPACE_BYTES = 2 ** 64;
/** Spans between two pauses. */
const SPANS = 256;

class Collector {
  private spans = 0;

  constructor(
    private readonly memories: TaskMemories,
    private readonly images: Images,
    private readonly builder: MapEvents,
    private readonly survey: ContentSurvey | undefined,
    /** Of a slice: what is read, and what is only passed by. */
    private readonly share?: PageShare,
  ) {}

  /** Collects everything; each step is short. */
  *all(): Generator<void> {
    const { memories, builder, images } = this;
    for (const pid of memories.pids) {
      const memory = memories.of(pid);
      if (memory) yield* this.band(taskBand(builder, images, memory), this.spansOf(memory));
      else beginTask(builder, images, pid);
      yield;
    }
    for (const segment of memories.segments()) {
      yield* this.band(segmentBand(builder, segment), this.spansOf(segment));
      yield;
    }
  }

  private *band(band: Band, spans: Iterable<MemoryPiece>): Generator<void> {
    for (const span of spans) {
      if (++this.spans % SPANS === 0) yield;
      const state = band(span);
      if (state) this.add(span, state);
    }
  }

  /** All spans of a process or segment; with bytes, unless those of another one, or of another slice. */
  private *spansOf(memory: TaskMemory | SegmentMemory): Generator<MemoryPiece> {
    const end = memory instanceof SegmentMemory ? memory.pages : ADDRESS_SPACE_BYTES / memory.pageSize;
    const own = this.share ? this.share.rangeIn(memory) : { start: 0, end };
    if (own.start > 0) yield* memory.spans(0, own.start);
    if (own.end > own.start) yield* this.survey ? read(memory, own) : memory.spans(own.start, own.end - own.start);
    if (end > own.end) yield* memory.spans(own.end, end - own.end);
  }

  private add(piece: MemoryPiece, state: State): void {
    const { pages, bytes } = piece;
    if (!bytes || !this.survey) this.builder.pages(state, pages);
    else this.survey.add(bytes, (content, count) => this.builder.pages(state, count, content));
    if (this.share && isRead(piece, state)) this.share.passed += pages;
  }
}

/** Spans with bytes, unless they are in shared memory, which is read once, in its segment. */
function* read(memory: TaskMemory | SegmentMemory, { start, end }: PageRange): Generator<MemoryPiece> {
  let from = start;
  for (const shared of memory instanceof SegmentMemory ? [] : sharedRanges(memory)) {
    const [first, stop] = [Math.max(from, shared.start), Math.min(end, shared.end)];
    if (first >= stop) continue;
    if (first > from) yield* memory.read(from, first - from);
    yield* memory.spans(first, stop - first);
    from = stop;
  }
  if (end > from) yield* memory.read(from, end - from);
}

function* sharedRanges(memory: TaskMemory): Generator<PageRange> {
  const { areas } = memory;
  for (let i = 0; i < areas.length; i++) {
    if (memory.area(i).segment) yield { start: areas.starts[i] as number, end: areas.ends[i] as number };
  }
}
