/**
 * The VMA classifier: splits runs at area borders, and marks each with its kind of memory and with its class, lazy or
 * eager, by one of the policies.
 *
 * CRIU merges pages of adjacent areas into one pagemap entry, so an entry says nothing of areas. Areas and runs both
 * ascend: one walk over the two is enough.
 */
import { DumpError } from '../errors.js';
import { addressHex } from '../image/pagemap.js';
import {
  CLASS_EAGER,
  CLASS_LAZY,
  CLASS_MASK,
  CONTINUES,
  cutDetail,
  DETAIL,
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
  firstAreaEndingAfter,
  KINDS,
  kindIndex,
  kindOf,
  lazyBySeed,
  lazyByVma,
  type MapFlags,
  mapFlagsOf,
} from '../memory/vma.js';
import type { DumpRecord, HeaderRecord, Space } from '../records.js';

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
  /** Told once, at the end, of pages that are flagged lazy in areas where no restore fetches them. */
  warn?: (message: string) => void;
}

/** What a task's areas say, as bits of a run, and how far the walk has come. */
interface Walk {
  areas: AreaTable;
  /** Kind and class of each area: the class by the area rule of the policy. */
  marks: Uint32Array;
  /** Whether CRIU 3 and later would fetch pages of the area lazily. */
  safe: Uint8Array;
  at: number;
}

const SHMEM_BITS = CLASS_EAGER | (kindIndex('shmem') << KIND_SHIFT);

/**
 * Makes a classify stage: records in, records out.
 * @throws {DumpError} NO_AREA for a page outside every area, UNSAFE_POLICY where `seed` would damage memory,
 *   UNSUPPORTED where a compressed block spans areas of different class
 */
export function classify({ policy = 'auto', force = false, warn }: ClassifyOptions = {}) {
  let header: HeaderRecord | undefined;
  let map: MapFlags = mapFlagsOf(undefined);
  const walks = new Map<number, Walk>();
  let disputedPages = 0;
  let disputedPlace = '';

  const rule = policy === 'seed' ? lazyBySeed : lazyByVma;

  function addAreas(space: Space, areas: AreaTable): void {
    const before = walks.get(space.index);
    const table = before ? concatAreas(before.areas, areas) : areas;
    const count = table.starts.length;
    const marks = new Uint32Array(count);
    const safe = new Uint8Array(count);
    for (let i = 0; i < count; i++) {
      const flags = table.flags[i] as number;
      const status = table.status[i] as number;
      const lazy = rule(flags, status, map);
      marks[i] = (lazy ? CLASS_LAZY : CLASS_EAGER) | (kindIndex(kindOf(flags, status, map)) << KIND_SHIFT);
      safe[i] = lazyByVma(flags, status, map) ? 1 : 0;
    }
    walks.set(space.index, { areas: table, marks, safe, at: -1 });
  }

  /** The class by the flags of the entry where the policy asks them, else `areaMarks`. */
  function marksOf(bits: number, areaMarks: number): number {
    if (policy === 'flags' || (policy === 'auto' && bits & HAS_FLAGS)) {
      return (areaMarks & ~CLASS_MASK) | (bits & PE_LAZY ? CLASS_LAZY : CLASS_EAGER);
    }
    return areaMarks;
  }

  /** Pages that an area rule keeps lose PE_LAZY: a lazy restore passes over everything that is flagged, present or not. */
  function withMark(bits: number, mark: number): number {
    const keeps = policy !== 'flags' && policy !== 'auto' && (mark & CLASS_MASK) === CLASS_EAGER && bits & PE_PRESENT;
    return (keeps ? bits & ~PE_LAZY : bits) | mark;
  }

  function classifyTask(space: Space, runs: RunBatch, pageSize: number): RunBatch {
    const walk = walks.get(space.index);
    if (!walk) return classifyByFlags(space, runs);
    if (walk.at < 0) walk.at = firstAreaEndingAfter(walk.areas, runs.pageNumbers[0] as number);
    const whole = markWhole(space, walk, runs, pageSize);
    return whole ? { ...runs, bits: whole } : splitAndMark(space, walk, runs, pageSize);
  }

  /** The bits of runs that all lie inside one area each; undefined if one does not. Most batches are such. */
  function markWhole(space: Space, walk: Walk, runs: RunBatch, pageSize: number): Uint32Array | undefined {
    const { starts, ends } = walk.areas;
    const start = walk.at;
    const marked = new Uint32Array(runs.bits.length);
    for (let i = 0; i < marked.length; i++) {
      const bits = (runs.bits[i] as number) & ~(CLASS_MASK | KIND_MASK);
      const first = runs.pageNumbers[i] as number;
      const stop = first + (runs.pages[i] as number);
      while ((ends[walk.at] as number) <= first) walk.at++;
      if (!((starts[walk.at] as number) <= first && stop <= (ends[walk.at] as number))) {
        walk.at = start;
        return undefined;
      }
      const mark = marksOf(bits, walk.marks[walk.at] as number);
      checkSafe(space, walk, first, stop, bits, mark, pageSize);
      marked[i] = withMark(bits, mark);
    }
    return marked;
  }

  function splitAndMark(space: Space, walk: Walk, runs: RunBatch, pageSize: number): RunBatch {
    const { areas, marks } = walk;
    const { starts, ends } = areas;
    const out = new RunBuilder(pageSize, runs.bits.length + 16);
    for (let i = 0; i < runs.bits.length; i++) {
      const bits = (runs.bits[i] as number) & ~(CLASS_MASK | KIND_MASK);
      let detail = bits & DETAIL ? runs.details?.get(i) : undefined;
      let first = runs.pageNumbers[i] as number;
      const end = first + (runs.pages[i] as number);
      let continues = bits & CONTINUES;
      while (first < end) {
        while ((ends[walk.at] as number) <= first) walk.at++;
        if (!((starts[walk.at] as number) <= first)) throw noArea(space, first, pageSize);
        const mark = marksOf(bits, marks[walk.at] as number);
        let stop = Math.min(end, ends[walk.at] as number);
        checkSafe(space, walk, first, stop, bits, mark, pageSize);
        let cut = stop < end ? cutDetail(detail, stop - (first as number)) : [detail, undefined];
        // A compressed block may lie across areas as long as all of it is of one class.
        while (!cut) {
          walk.at++;
          if (!((starts[walk.at] as number) <= stop)) throw noArea(space, stop, pageSize);
          if (((marksOf(bits, marks[walk.at] as number) ^ mark) & CLASS_MASK) !== 0) {
            throw insideBlock(space, stop, pageSize);
          }
          stop = Math.min(end, ends[walk.at] as number);
          cut = stop < end ? cutDetail(detail, stop - first) : [detail, undefined];
        }
        out.push(first, stop - first, withMark(bits & ~CONTINUES, mark) | continues, cut[0]);
        detail = cut[1];
        continues = CONTINUES;
        first = stop;
      }
    }
    return out.finish();
  }

  /** Without areas the flags are all there is. */
  function classifyByFlags(space: Space, runs: RunBatch): RunBatch {
    const marked = runs.bits.map((bits) => {
      if (policy === 'vma' || policy === 'seed' || (policy === 'auto' && !(bits & HAS_FLAGS))) {
        throw new DumpError('NO_AREA', `policy ${policy} needs the areas of the task, and the stream has none`, {
          file: space.pagemap,
        });
      }
      return (bits & ~(CLASS_MASK | KIND_MASK)) | (bits & PE_LAZY ? CLASS_LAZY : CLASS_EAGER);
    });
    return { ...runs, bits: marked };
  }

  /** Pages that are marked lazy where a restore does not ask for them come back as zeros. */
  function checkSafe(
    space: Space,
    walk: Walk,
    first: number,
    stop: number,
    bits: number,
    mark: number,
    pageSize: number,
  ): void {
    if (walk.safe[walk.at] || (mark & CLASS_MASK) !== CLASS_LAZY || (bits & (PE_PRESENT | PE_PARENT)) !== PE_PRESENT)
      return;
    const area = `${KINDS[(mark & KIND_MASK) >>> KIND_SHIFT]} area ${span(walk, pageSize)} of ${space.pagemap}`;
    if (policy === 'seed') {
      if (force) return;
      throw new DumpError(
        'UNSAFE_POLICY',
        `policy seed would take pages out of the ${area}, which CRIU 3 and later restore as zeros`,
        { hint: 'use --policy auto; or --force if an older CRIU is to restore it' },
      );
    }
    disputedPages += stop - first;
    disputedPlace ||= area;
  }

  return function classifyRecord(record: DumpRecord): DumpRecord {
    switch (record.type) {
      case 'header':
        header = record;
        map = mapFlagsOf(record.march);
        return record;
      case 'areas':
        addAreas(record.space, record.areas);
        return record;
      case 'runs': {
        const pageSize = (header as HeaderRecord).pageSize;
        const runs =
          record.space.kind === 'shmem'
            ? { ...record.runs, bits: record.runs.bits.map((b) => (b & ~(CLASS_MASK | KIND_MASK)) | SHMEM_BITS) }
            : classifyTask(record.space, record.runs, pageSize);
        return { ...record, runs };
      }
      case 'end':
        if (disputedPages > 0) {
          warn?.(
            `${disputedPages} pages are flagged lazy where CRIU fetches no pages, the first in the ${disputedPlace}; --policy vma keeps them`,
          );
        }
        return record;
      default:
        return record;
    }
  };
}

function concatAreas(a: AreaTable, b: AreaTable): AreaTable {
  const floats = (x: Float64Array, y: Float64Array) => {
    const joined = new Float64Array(x.length + y.length);
    joined.set(x);
    joined.set(y, x.length);
    return joined;
  };
  const words = (x: Uint32Array, y: Uint32Array) => {
    const joined = new Uint32Array(x.length + y.length);
    joined.set(x);
    joined.set(y, x.length);
    return joined;
  };
  return {
    starts: floats(a.starts, b.starts),
    ends: floats(a.ends, b.ends),
    flags: words(a.flags, b.flags),
    status: words(a.status, b.status),
  };
}

const span = ({ areas, at }: Walk, pageSize: number): string =>
  `0x${addressHex(areas.starts[at] as number, pageSize)}-0x${addressHex(areas.ends[at] as number, pageSize)}`;

const noArea = (space: Space, pageNumber: number, pageSize: number): DumpError =>
  new DumpError(
    'NO_AREA',
    `expected pages inside the task's areas, found 0x${addressHex(pageNumber, pageSize)} in none`,
    {
      file: space.pagemap,
    },
  );

const insideBlock = (space: Space, pageNumber: number, pageSize: number): DumpError =>
  new DumpError(
    'UNSUPPORTED',
    `a compressed block would have to be cut at 0x${addressHex(pageNumber, pageSize)}, where lazy and eager memory meet`,
    { file: space.pagemap },
  );
