/** The map of a dump: every area of every process, and every segment of shared memory, once. */
import type { DumpFiles } from '../dump/files.js';
import { Images } from '../dump/images.js';
import { coreOf, mapFlagsOfTask } from '../explore/processes.js';
import {
  type MemoryArea,
  type MemoryPiece,
  type MemorySpan,
  type MemoryState,
  type SegmentMemory,
  TaskMemories,
  type TaskMemory,
} from '../explore/task-memory.js';
import { Breather } from '../io/breathe.js';
import { lazyByVma, type MapFlags } from '../memory/vma.js';
import { MAP_LIMITS, MapBuilder, type MapLimits, type NewArea } from './builder.js';
import { ContentSurvey } from './content.js';
import type { MemoryMap, State } from './model.js';

export interface CollectOptions {
  /** Bytes; by default found in the dump. */
  pageSize?: number;
  /** Whether all pages are read, to see what is in them. Default: false. */
  content?: boolean;
  limits?: MapLimits;
  signal?: AbortSignal;
}

/**
 * The map of the memory of a dump. With `content` the bytes of processes and segments are read once each.
 * @throws {DumpError} for a dump that cannot be read
 */
export async function memoryMap(files: DumpFiles, options: CollectOptions = {}): Promise<MemoryMap> {
  const { content = false, limits = MAP_LIMITS, pageSize, signal } = options;
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
      const name = images.has(`core-${pid}.img`) ? coreOf(images, pid).tc?.comm : undefined;
      builder.space('task', pid, name ?? null);
      const memory = memories.of(pid);
      if (memory) yield* this.task(memory, mapFlagsOfTask(images, pid));
      yield;
    }
    for (const segment of memories.segments()) yield* this.segment(segment);
  }

  private *task(memory: TaskMemory, map: MapFlags): Generator<void> {
    let area: MemoryArea | undefined;
    /** Where pages that are in no area end, if the last ones were. */
    let strayEnd = -1;
    for (const span of this.walk(memory)) {
      if (++this.spans % SPANS === 0) yield;
      if (span.area < 0) {
        if (span.state === 'absent') continue;
        if (span.pageNumber !== strayEnd) this.builder.newArea(strayArea(span));
        strayEnd = span.pageNumber + span.pages;
        area = undefined;
        this.add(span, stateOf(span.state, false, undefined));
        continue;
      }
      strayEnd = -1;
      if (area?.index !== span.area) {
        area = memory.area(span.area);
        this.builder.newArea(newArea(area));
      }
      this.add(span, stateOf(span.state, lazyByVma(area.flags, area.status, map), area));
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

  private *segment(segment: SegmentMemory): Generator<void> {
    this.builder.space('shmem', segment.id, segment.name ?? null);
    this.builder.newArea({ start: 0, end: segment.pages, kind: 'shmem', flags: '' });
    for (const span of this.survey ? segment.read() : segment.spans()) {
      if (++this.spans % SPANS === 0) yield;
      this.add(span, stateOf(span.state, false, undefined));
    }
    yield;
  }

  private add({ pages, bytes }: MemoryPiece, state: State): void {
    if (!bytes || !this.survey) this.builder.pages(state, pages);
    else this.survey.add(bytes, (content, count) => this.builder.pages(state, count, content));
  }
}

function stateOf(state: MemoryState, isLazy: boolean, area: MemoryArea | undefined): State {
  if (state === 'absent') return 'absent';
  if (area?.segment) return 'shared';
  switch (state) {
    case 'stored':
      return isLazy ? 'lazy' : 'eager';
    case 'lazy':
      return 'elsewhere';
    case 'zero':
      // Reserved addresses: nothing can be there.
      return area?.prot === 0 ? 'absent' : 'zero';
    default:
      return state;
  }
}

const strayArea = ({ pageNumber, pages }: MemorySpan): NewArea => ({
  start: pageNumber,
  end: pageNumber + pages,
  kind: 'unknown',
  flags: '',
});

const MAP_SHARED = 1;

function newArea({ start, end, prot, flags, kind, file, segment }: MemoryArea): NewArea {
  const letters = `${prot & 1 ? 'r' : '-'}${prot & 2 ? 'w' : '-'}${prot & 4 ? 'x' : '-'}`;
  return {
    start,
    end,
    kind,
    flags: `${letters}${flags & MAP_SHARED ? 's' : 'p'}`,
    ...(file ? { file: file.path ?? undefined, offset: file.pageOffset } : {}),
    segment: segment?.id,
  };
}
