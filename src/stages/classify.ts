/**
 * The VMA classifier: splits runs at area borders, and marks each with its kind of memory and with its class, lazy or
 * eager, by one of the policies.
 *
 * CRIU merges pages of adjacent areas into one pagemap entry, so an entry says nothing about areas. Areas and runs both
 * ascend, so one walk over the two is enough.
 */

import type { DumpRecord, Space } from '../dump/records.js';
import { DumpError } from '../errors.js';
import { RunCursor } from '../memory/run-cursor.js';
import {
  addressHex,
  CLASS_EAGER,
  CLASS_LAZY,
  CLASS_MASK,
  HAS_FLAGS,
  KIND_MASK,
  KIND_SHIFT,
  PE_LAZY,
  PE_PARENT,
  PE_PRESENT,
  type RunBatch,
  RunBuilder,
} from '../memory/runs.js';
import {
  type AreaTable,
  concatAreas,
  firstAreaEndingAfter,
  KINDS,
  kindIndex,
  kindOf,
  lazyBySeed,
  lazyByVma,
  type MapFlags,
  mapFlagsOf,
} from '../memory/vma.js';

export const POLICIES = ['auto', 'flags', 'vma', 'seed'] as const;

/**
 * Which pages are lazy: `flags` trusts PE_LAZY in the pagemap, `vma` applies the rule of CRIU 3 and later to the areas,
 * `auto` is `flags` for entries that carry flags and `vma` for the others, `seed` is the rule of 2016.
 */
export type Policy = (typeof POLICIES)[number];

export interface ClassifyOptions {
  policy?: Policy;
  /** Lets `seed` mark pages that a modern CRIU would restore as zeros. */
  force?: boolean;
  /** Called once, at the end, if pages are flagged lazy in areas where no restore fetches them. */
  warn?: (message: string) => void;
}

/** Where the runs of a task have come to in its areas. */
interface Walk {
  space: Space;
  areas: AreaTable;
  /** Kind and class of each area: the class by the area rule of the policy. */
  marks: Uint32Array;
  /** Whether CRIU 3 and later would fetch pages of the area lazily. */
  safe: Uint8Array;
  /** Index of the current area; -1 before the first run. */
  at: number;
}

/** What a classifier sets. */
const MARK = CLASS_MASK | KIND_MASK;
const SHMEM_MARK = CLASS_EAGER | (kindIndex('shmem') << KIND_SHIFT);

/**
 * Makes a classify stage: records in, records out.
 * @throws {DumpError} NO_AREA for a page outside every area, UNSAFE_POLICY where `seed` would damage memory,
 *   UNSUPPORTED where a compressed block spans areas of different class
 */
export function classify(options: ClassifyOptions = {}) {
  const classifier = new Classifier(options);
  return (record: DumpRecord): DumpRecord => classifier.take(record);
}

class Classifier {
  private readonly policy: Policy;
  private pageSize = 0;
  private map: MapFlags = mapFlagsOf(undefined);
  private readonly walks = new Map<number, Walk>();
  /** Pages that are flagged lazy where no restore fetches them, and the area of the first. */
  private disputedPages = 0;
  private disputedArea = '';

  constructor(private readonly options: ClassifyOptions) {
    this.policy = options.policy ?? 'auto';
  }

  take(record: DumpRecord): DumpRecord {
    switch (record.type) {
      case 'header':
        this.pageSize = record.pageSize;
        this.map = mapFlagsOf(record.march);
        break;
      case 'areas':
        this.addAreas(record.space, record.areas);
        break;
      case 'runs':
        return { ...record, runs: this.classifyRuns(record.space, record.runs) };
      case 'end':
        this.report();
        break;
    }
    return record;
  }

  private addAreas(space: Space, part: AreaTable): void {
    const before = this.walks.get(space.index);
    const areas = before ? concatAreas(before.areas, part) : part;
    const count = areas.starts.length;
    const marks = new Uint32Array(count);
    const safe = new Uint8Array(count);
    const rule = this.policy === 'seed' ? lazyBySeed : lazyByVma;
    for (let i = 0; i < count; i++) {
      const flags = areas.flags[i] as number;
      const status = areas.status[i] as number;
      const lazy = rule(flags, status, this.map);
      marks[i] = (lazy ? CLASS_LAZY : CLASS_EAGER) | (kindIndex(kindOf(flags, status, this.map)) << KIND_SHIFT);
      safe[i] = lazyByVma(flags, status, this.map) ? 1 : 0;
    }
    this.walks.set(space.index, { space, areas, marks, safe, at: -1 });
  }

  private classifyRuns(space: Space, runs: RunBatch): RunBatch {
    if (space.kind === 'shmem') return { ...runs, bits: runs.bits.map((bits) => (bits & ~MARK) | SHMEM_MARK) };
    const walk = this.walks.get(space.index);
    if (!walk) return { ...runs, bits: this.markByFlags(space, runs.bits) };
    if (walk.at < 0) walk.at = firstAreaEndingAfter(walk.areas, runs.pageNumbers[0] as number);
    const bits = this.markWhole(walk, runs);
    return bits ? { ...runs, bits } : this.cutAndMark(walk, runs);
  }

  /** The bits of runs that all lie inside one area each; undefined if one does not. Most batches are such. */
  private markWhole(walk: Walk, runs: RunBatch): Uint32Array | undefined {
    const { starts, ends } = walk.areas;
    const { at } = walk;
    const { disputedPages } = this;
    const marked = new Uint32Array(runs.bits.length);
    for (let i = 0; i < marked.length; i++) {
      const bits = runs.bits[i] as number;
      const first = runs.pageNumbers[i] as number;
      const pages = runs.pages[i] as number;
      while ((ends[walk.at] as number) <= first) walk.at++;
      if (!((starts[walk.at] as number) <= first && first + pages <= (ends[walk.at] as number))) {
        walk.at = at;
        this.disputedPages = disputedPages;
        return undefined;
      }
      marked[i] = this.mark(walk, bits, pages);
    }
    return marked;
  }

  private cutAndMark(walk: Walk, runs: RunBatch): RunBatch {
    const { ends } = walk.areas;
    const out = new RunBuilder(this.pageSize, runs.bits.length + 16);
    const cursor = new RunCursor([runs], this.pageSize);
    while (!cursor.ended) {
      const { pageNumber, end, bits } = cursor;
      this.enter(walk, pageNumber);
      let stop = Math.min(end, ends[walk.at] as number);
      const marked = this.mark(walk, bits, stop - pageNumber);
      // A compressed block may lie across areas as long as all of it is of one class.
      while (!cursor.moveTo(stop, out, marked)) {
        this.enter(walk, stop);
        if (((this.markOf(walk, bits) ^ marked) & CLASS_MASK) !== 0) throw this.insideBlock(walk, stop);
        stop = Math.min(end, ends[walk.at] as number);
      }
    }
    return out.finish();
  }

  /** Goes on to the area of a page. */
  private enter(walk: Walk, pageNumber: number): void {
    const { starts, ends } = walk.areas;
    while ((ends[walk.at] as number) <= pageNumber) walk.at++;
    if ((starts[walk.at] as number) <= pageNumber) return;
    const found = `0x${addressHex(pageNumber, this.pageSize)} in none`;
    throw new DumpError('NO_AREA', `expected pages inside the task's areas, found ${found}`, {
      file: walk.space.pagemap,
    });
  }

  /** The bits of so many pages of the current area, with their mark. */
  private mark(walk: Walk, bits: number, pages: number): number {
    const mark = this.markOf(walk, bits);
    if (!walk.safe[walk.at] && (mark & CLASS_MASK) === CLASS_LAZY) this.checkUnsafe(walk, bits, pages);
    // Pages that an area rule keeps lose PE_LAZY: a lazy restore skips everything that is flagged, present or not.
    const keeps =
      this.policy !== 'flags' &&
      this.policy !== 'auto' &&
      (mark & CLASS_MASK) === CLASS_EAGER &&
      (bits & PE_PRESENT) !== 0;
    return (bits & ~(keeps ? MARK | PE_LAZY : MARK)) | mark;
  }

  /** Kind and class of runs in the current area: the class by the flags of the entry where the policy asks them. */
  private markOf(walk: Walk, bits: number): number {
    const mark = walk.marks[walk.at] as number;
    if (this.policy === 'flags' || (this.policy === 'auto' && bits & HAS_FLAGS)) {
      return (mark & ~CLASS_MASK) | (bits & PE_LAZY ? CLASS_LAZY : CLASS_EAGER);
    }
    return mark;
  }

  /** Without areas the flags are all there is. */
  private markByFlags(space: Space, column: Uint32Array): Uint32Array {
    const { policy } = this;
    return column.map((bits) => {
      if (policy === 'vma' || policy === 'seed' || (policy === 'auto' && !(bits & HAS_FLAGS))) {
        throw new DumpError('NO_AREA', `policy ${policy} needs the areas of the task, and the stream has none`, {
          file: space.pagemap,
        });
      }
      return (bits & ~MARK) | (bits & PE_LAZY ? CLASS_LAZY : CLASS_EAGER);
    });
  }

  /** Pages that are marked lazy where a restore does not ask for them come back as zeros. */
  private checkUnsafe(walk: Walk, bits: number, pages: number): void {
    if ((bits & (PE_PRESENT | PE_PARENT)) !== PE_PRESENT) return;
    if (this.policy !== 'seed') {
      this.disputedPages += pages;
      this.disputedArea ||= this.describe(walk);
    } else if (!this.options.force) {
      throw new DumpError(
        'UNSAFE_POLICY',
        `policy seed would take pages out of the ${this.describe(walk)}, which CRIU 3 and later restore as zeros`,
        { hint: 'use --policy auto; or --unsafe-policy if an older CRIU is to restore it' },
      );
    }
  }

  private report(): void {
    if (this.disputedPages === 0) return;
    this.options.warn?.(
      `${this.disputedPages} pages are flagged lazy where CRIU fetches no pages, the first in the ${this.disputedArea}; --policy vma keeps them`,
    );
  }

  private describe({ space, areas, marks, at }: Walk): string {
    const kind = KINDS[((marks[at] as number) & KIND_MASK) >>> KIND_SHIFT];
    const [start, end] = [areas.starts, areas.ends].map((column) => addressHex(column[at] as number, this.pageSize));
    return `${kind} area 0x${start}-0x${end} of ${space.pagemap}`;
  }

  private insideBlock(walk: Walk, pageNumber: number): DumpError {
    const address = `0x${addressHex(pageNumber, this.pageSize)}`;
    return new DumpError(
      'UNSUPPORTED',
      `a compressed block would have to be cut at ${address}, where lazy and eager memory meet`,
      { file: walk.space.pagemap },
    );
  }
}
