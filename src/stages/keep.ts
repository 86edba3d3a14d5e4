/**
 * The working set: lazy pages that a list names become eager, so that they stay and a restore finds them at once. It
 * stands between the classifier and the filter.
 *
 * CRIU skips whatever is flagged PE_LAZY in a lazy restore, even if it is there. So these pages lose the flag as well.
 *
 * A block of compressed pages cannot be cut: one listed page keeps all of it. List and runs both ascend: one walk over
 * the two is enough.
 */
import { DumpError, invariant } from '../errors.js';
import { type FaultList, faultListHead } from '../memory/fault-list.js';
import {
  CLASS_EAGER,
  CLASS_LAZY,
  CLASS_MASK,
  CONTINUES,
  cutDetail,
  DETAIL,
  PE_LAZY,
  PE_PARENT,
  PE_PRESENT,
  type RunBatch,
  RunBuilder,
  type RunDetail,
  TAKEN,
} from '../memory/runs.js';
import type { DumpRecord, Space } from '../records.js';

export interface KeepOptions {
  /** Told once, at the end, of processes in the list that the dump does not have. */
  warn?: (message: string) => void;
  /** Told once, at the end, of listed pages that were no lazy pages of the dump. */
  note?: (message: string) => void;
}

/** The listed pages of a task, and how far the walk has come. */
interface Walk {
  listed: Float64Array;
  at: number;
}

const NOTHING = new Float64Array(0);

/**
 * Makes a stage that keeps the listed pages: records in, records out.
 * @throws {DumpError} MALFORMED if the list is of another page size than the dump, NOT_CLASSIFIED where a listed page has
 *   no class
 */
export function keepEager(list: FaultList, { warn, note }: KeepOptions = {}) {
  let pageSize = 0;
  const walks = new Map<number, Walk>();
  const pids = new Set<number>();
  /** Listed pages that would stay without the list. */
  let eagerPages = 0;
  /** Listed pages that no pagemap has, or whose payload is elsewhere: in a parent, with a server, taken out before. */
  let absentPages = 0;

  function walkOf(space: Space): Walk {
    let walk = walks.get(space.index);
    if (!walk) {
      walk = { listed: (space.pid !== undefined && list.pages.get(space.pid)) || NOTHING, at: 0 };
      walks.set(space.index, walk);
      if (space.pid !== undefined) pids.add(space.pid);
    }
    return walk;
  }

  function keepRuns(space: Space, runs: RunBatch): RunBatch {
    const walk = walkOf(space);
    let out: RunBuilder | undefined;
    for (let i = 0; i < runs.bits.length; i++) {
      const first = runs.pageNumbers[i] as number;
      const end = first + (runs.pages[i] as number);
      absentPages += skipBelow(walk, first);
      if (!out && nextListed(walk) === Number.POSITIVE_INFINITY) return runs;
      const bits = runs.bits[i] as number;
      const named = nextListed(walk) < end;
      if (named && isStored(bits) && isLazy(bits, space)) {
        out ??= copyRuns(runs, i, pageSize);
        cutRun(walk, runs, i, out);
        continue;
      }
      if (named) {
        const skipped = skipBelow(walk, end);
        if (isStored(bits)) eagerPages += skipped;
        else absentPages += skipped;
      }
      out?.push(first, end - first, bits, detailOf(runs, i));
    }
    return out ? out.finish() : runs;
  }

  function report(): void {
    for (const { listed, at } of walks.values()) absentPages += listed.length - at;
    const unknown = Array.from(list.pages).filter(([pid]) => !pids.has(pid));
    if (unknown.length > 0) {
      const pages = unknown.reduce((sum, [, numbers]) => sum + numbers.length, 0);
      const [pid] = unknown[0] as [number, Float64Array];
      warn?.(
        `${pages} listed pages are of processes that the dump does not have: ${unknown.length}, the first with pid ${pid}`,
      );
    }
    if (eagerPages + absentPages > 0) {
      note?.(`of the listed pages ${eagerPages} stay in any case, and ${absentPages} are not in the dump`);
    }
  }

  return function keepRecord(record: DumpRecord): DumpRecord {
    switch (record.type) {
      case 'header':
        ({ pageSize } = record);
        if (list.pages.size > 0 && list.pageSize !== pageSize) throw otherPageSize(list, pageSize);
        return record;
      case 'space':
        walkOf(record.space);
        return record;
      case 'runs': {
        const runs = keepRuns(record.space, record.runs);
        return runs === record.runs ? record : { ...record, runs };
      }
      case 'end':
        report();
        return record;
      default:
        return record;
    }
  };
}

/** Page number of the next listed page; beyond all others if there is none. */
const nextListed = ({ listed, at }: Walk): number =>
  at < listed.length ? (listed[at] as number) : Number.POSITIVE_INFINITY;

/** Moves on to the first listed page that is not below `pageNumber`; says how many were. */
function skipBelow(walk: Walk, pageNumber: number): number {
  const from = walk.at;
  while (nextListed(walk) < pageNumber) walk.at++;
  return walk.at - from;
}

/** Cuts a lazy run at the listed pages; those become eager, by whole blocks where they are compressed. */
function cutRun(walk: Walk, runs: RunBatch, i: number, out: RunBuilder): void {
  const bits = runs.bits[i] as number;
  const eagerBits = (bits & ~(CLASS_MASK | PE_LAZY)) | CLASS_EAGER;
  const first = runs.pageNumbers[i] as number;
  const end = first + (runs.pages[i] as number);
  let detail = detailOf(runs, i);
  const blockPages = detail?.compressed?.regionPages ?? 1;
  const blockOf = (pageNumber: number): number => pageNumber - ((pageNumber - first) % blockPages);
  let from = first;
  let continues = bits & CONTINUES;

  function pushTo(stop: number, pieceBits: number): void {
    const cut = stop < end ? cutDetail(detail, stop - from) : [detail, undefined];
    invariant(cut, 'runs are cut between blocks');
    out.push(from, stop - from, (pieceBits & ~CONTINUES) | continues, cut[0]);
    detail = cut[1];
    continues = CONTINUES;
    from = stop;
  }

  while (nextListed(walk) < end) {
    const start = blockOf(nextListed(walk));
    let stop = start;
    // One piece for all listed pages whose blocks follow each other.
    while (nextListed(walk) < end && blockOf(nextListed(walk)) === stop) {
      stop = Math.min(stop + blockPages, end);
      skipBelow(walk, stop);
    }
    if (start > from) pushTo(start, bits);
    pushTo(stop, eagerBits);
  }
  if (from < end) pushTo(end, bits);
}

/** The first `count` runs of a batch, to be followed by others. */
function copyRuns(runs: RunBatch, count: number, pageSize: number): RunBuilder {
  const out = new RunBuilder(pageSize, runs.bits.length + 16);
  for (let i = 0; i < count; i++) {
    out.push(runs.pageNumbers[i] as number, runs.pages[i] as number, runs.bits[i] as number, detailOf(runs, i));
  }
  return out;
}

const detailOf = (runs: RunBatch, i: number): RunDetail | undefined =>
  (runs.bits[i] as number) & DETAIL ? runs.details?.get(i) : undefined;

/** Whether the payload of a run is here. */
const isStored = (bits: number): boolean => (bits & (PE_PRESENT | PE_PARENT | TAKEN)) === PE_PRESENT;

function isLazy(bits: number, space: Space): boolean {
  if ((bits & CLASS_MASK) === 0) {
    throw new DumpError('NOT_CLASSIFIED', 'expected runs with a class, found none', {
      file: space.pagemap,
      hint: 'put classify before it',
    });
  }
  return (bits & CLASS_MASK) === CLASS_LAZY;
}

const otherPageSize = ({ file, pageSize }: FaultList, expected: number): DumpError =>
  new DumpError('MALFORMED', `expected a list of pages of ${expected} bytes, as the dump has, found ${pageSize}`, {
    ...(file === undefined ? {} : { file }),
    hint: `a list of that size begins with ${JSON.stringify(faultListHead(expected).trimEnd())}`,
  });
