/** The map of a dump: every area of every process, and every segment of shared memory, once. */
import type { DumpFiles } from '../dump/files.js';
import { Images } from '../dump/images.js';
import { type MemoryPiece, TaskMemories, type TaskMemory } from '../explore/task-memory.js';
import { Breather } from '../io/breathe.js';
import { type Band, beginTask, segmentBand, taskBand } from './bands.js';
import { MapBuilder, type MapLimits } from './builder.js';
import { ContentSurvey } from './content.js';
import type { MemoryMap, State } from './model.js';

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
  const collector = new Collector(memories, new Images(files), builder, survey);
  const breather = new Breather();
  for (const _ of collector.all()) {
    await breather.due();
    signal?.throwIfAborted();
  }
  return builder.map(survey?.totals());
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
    private readonly builder: MapBuilder,
    private readonly survey: ContentSurvey | undefined,
  ) {}

  /** Collects everything; each step is short. */
  *all(): Generator<void> {
    const { memories, builder, images } = this;
    for (const pid of memories.pids) {
      const memory = memories.of(pid);
      if (memory) yield* this.band(taskBand(builder, images, memory), this.walk(memory));
      else beginTask(builder, images, pid);
      yield;
    }
    for (const segment of memories.segments()) {
      yield* this.band(segmentBand(builder, segment), this.survey ? segment.read() : segment.spans());
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

  /** All spans of a process; with bytes, unless they are in shared memory. */
  private *walk(memory: TaskMemory): Generator<MemoryPiece> {
    if (!this.survey) {
      yield* memory.spans();
      return;
    }
    const { areas } = memory;
    let from = 0;
    for (let i = 0; i < areas.length; i++) {
      if (!memory.area(i).segment) continue;
      const [start, end] = [areas.starts[i] as number, areas.ends[i] as number];
      if (start > from) yield* memory.read(from, start - from);
      yield* memory.spans(start, end - start);
      from = end;
    }
    yield* memory.read(from, ADDRESS_SPACE_BYTES / memory.pageSize - from);
  }

  private add({ pages, bytes }: MemoryPiece, state: State): void {
    if (!bytes || !this.survey) this.builder.pages(state, pages);
    else this.survey.add(bytes, (content, count) => this.builder.pages(state, count, content));
  }
}
