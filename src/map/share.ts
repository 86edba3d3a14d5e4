/**
 * What a slice has of a map: some of the pages with bytes, by their places among all of these in the order of spaces and
 * addresses, and what lies between them. Slices begin at blocks of {@link BLOCK_PAGES}, because these are compressed as one.
 */
import { type Slice, shareOf } from '../dump/slice.js';
import { type MemorySpan, type SegmentMemory, type TaskMemories, TaskMemory } from '../explore/task-memory.js';
import { BLOCK_PAGES } from './content.js';
import type { State } from './model.js';

/** Page numbers; `end` is exclusive. */
export interface PageRange {
  start: number;
  end: number;
}

/** Whether the pages of a span count for the shares: those whose bytes are read, each once. */
export const isRead = ({ at }: Pick<MemorySpan, 'at'>, state: State): boolean => at !== undefined && state !== 'shared';

export class PageShare {
  /** Places; `to` is exclusive. */
  readonly from: number;
  private readonly to: number;
  private readonly isLast: boolean;
  /** The place where a walk through the dump is. */
  passed = 0;

  constructor(memories: TaskMemories, slice: Slice) {
    let total = 0;
    const count = (memory: TaskMemory | SegmentMemory) => {
      for (const { pages } of countedSpans(memory)) total += pages;
    };
    for (const pid of memories.pids) {
      const memory = memories.of(pid);
      if (memory) count(memory);
    }
    for (const segment of memories.segments()) count(segment);
    const { from, to } = shareOf(Math.ceil(total / BLOCK_PAGES), slice);
    this.from = from * BLOCK_PAGES;
    this.to = Math.min(total, to * BLOCK_PAGES);
    this.isLast = slice.number === slice.of;
  }

  /** Whether what comes next is in this slice. Behind the last page with bytes everything is in the last one. */
  get isHere(): boolean {
    return this.passed >= this.from && (this.passed < this.to || this.isLast);
  }

  /** From the first to the last page of the slice in a process or segment, which is the next one of a walk. */
  rangeIn(memory: TaskMemory | SegmentMemory): PageRange {
    let place = this.passed;
    const range = { start: 0, end: 0 };
    for (const { pageNumber, pages } of countedSpans(memory)) {
      const first = Math.max(place, this.from);
      const stop = Math.min(place + pages, this.to);
      if (first < stop) {
        if (range.end === 0) range.start = pageNumber + first - place;
        range.end = pageNumber + stop - place;
      }
      place += pages;
    }
    return range;
  }
}

/** Spans of pages that count; of a process without its shared memory, which a segment has. */
function* countedSpans(memory: TaskMemory | SegmentMemory): Generator<MemorySpan> {
  let known = -1;
  let isShared = false;
  for (const span of memory.spans()) {
    if (!span.at) continue;
    if (span.area >= 0 && span.area !== known && memory instanceof TaskMemory) {
      known = span.area;
      isShared = memory.area(known).segment !== undefined;
    }
    if (span.area < 0 || !isShared) yield span;
  }
}
