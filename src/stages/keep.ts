/**
 * The working set: lazy pages that a list names become eager, so that they stay and a restore finds them at once. This
 * stage belongs between the classifier and the filter.
 *
 * CRIU skips whatever is flagged PE_LAZY in a lazy restore, even if it is there. So these pages lose the flag as well.
 *
 * A block of compressed pages cannot be cut: one listed page keeps all of it. List and runs both ascend, so one walk over
 * the two is enough.
 */
import type { DumpRecord, Space } from '../dump/records.js';
import { DumpError } from '../errors.js';
import { checkListPageSize, type FaultList } from '../memory/fault-list.js';
import { RunCursor } from '../memory/run-cursor.js';
import { CLASS_EAGER, CLASS_LAZY, CLASS_MASK, isReadHere, PE_LAZY, type RunBatch, RunBuilder } from '../memory/runs.js';
import { counted } from '../printable.js';

export interface KeepOptions {
  /** Called once, at the end, if the list names processes that the dump does not have. */
  warn?: (message: string) => void;
  /** Called once, at the end, if listed pages are no lazy pages of the dump. */
  note?: (message: string) => void;
}

/** The listed pages of a task, and the index of the next one. */
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
    const last = runs.bits.length - 1;
    if (last < 0 || nextListed(walk) >= (runs.pageNumbers[last] as number) + (runs.pages[last] as number)) return runs;
    const out = new RunBuilder(pageSize, runs.bits.length + 16);
    const cursor = new RunCursor([runs], pageSize);
    let isCut = false;
    while (!cursor.ended) {
      const { end, bits } = cursor;
      absentPages += skipBelow(walk, cursor.pageNumber);
      if (nextListed(walk) < end) {
        if (!isReadHere(bits)) {
          absentPages += skipBelow(walk, end);
        } else if (!isLazy(bits, space)) {
          eagerPages += skipBelow(walk, end);
        } else {
          cutRun(walk, cursor, out);
          isCut = true;
        }
      }
      if (cursor.pageNumber < end) cursor.moveTo(end, out);
    }
    return isCut ? out.finish() : runs;
  }

  function report(): void {
    for (const { listed, at } of walks.values()) absentPages += listed.length - at;
    const unknown = Array.from(list.pages).filter(([pid]) => !pids.has(pid));
    if (unknown.length > 0) {
      const pages = unknown.reduce((sum, [, numbers]) => sum + numbers.length, 0);
      const [pid] = unknown[0] as [number, Float64Array];
      const others = unknown.length === 1 ? '' : ` and ${counted(unknown.length - 1, 'other')}`;
      warn?.(`${counted(pages, 'listed page')} left out: the dump does not have process ${pid}${others}`);
    }
    if (eagerPages + absentPages > 0) {
      note?.(`of the listed pages ${eagerPages} stay in any case, and ${absentPages} are not in the dump`);
    }
  }

  return function keepRecord(record: DumpRecord): DumpRecord {
    switch (record.type) {
      case 'header':
        ({ pageSize } = record);
        checkListPageSize(list, pageSize);
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

/** Cuts a lazy run up to the last listed page; listed pages become eager, by whole blocks where they are compressed. */
function cutRun(walk: Walk, cursor: RunCursor, out: RunBuilder): void {
  const { pageNumber: first, end, bits, blockPages } = cursor;
  const eagerBits = (bits & ~(CLASS_MASK | PE_LAZY)) | CLASS_EAGER;
  const blockOf = (pageNumber: number): number => pageNumber - ((pageNumber - first) % blockPages);
  while (nextListed(walk) < end) {
    const start = blockOf(nextListed(walk));
    let stop = start;
    // One piece for all listed pages whose blocks follow each other.
    while (nextListed(walk) < end && blockOf(nextListed(walk)) === stop) {
      stop = Math.min(stop + blockPages, end);
      skipBelow(walk, stop);
    }
    if (start > cursor.pageNumber) cursor.moveTo(start, out, bits);
    cursor.moveTo(stop, out, eagerBits);
  }
}

function isLazy(bits: number, space: Space): boolean {
  if ((bits & CLASS_MASK) === 0) {
    throw new DumpError('NOT_CLASSIFIED', 'the runs have no class', {
      file: space.pagemap,
      hint: 'put classify before it',
    });
  }
  return (bits & CLASS_MASK) === CLASS_LAZY;
}
