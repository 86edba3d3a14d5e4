/**
 * The pagemap rebuilder: turns runs back into the entries of a pagemap, one run an entry, in the generation that they
 * came in. The pieces of one entry that are still alike become one again.
 */

import type { DumpRecord } from '../dump/records.js';
import {
  CLASS_MASK,
  CONTINUES,
  detailOf,
  HAS_FLAGS,
  isLazy,
  joinRuns,
  KIND_MASK,
  PAYLOAD_ALIGNED,
  PE_LAZY,
  PE_PRESENT,
  type RunBatch,
  RunBuilder,
  TAKEN,
} from '../memory/runs.js';

export const HOLES = ['flag', 'drop'] as const;

/**
 * What remains where lazy pages were taken out: `flag` leaves an entry flagged PE_LAZY alone, as `criu dump --lazy-pages`
 * does; `drop` leaves nothing. Pages that are not lazy leave nothing in either case, because nothing would fetch them.
 */
export type Holes = (typeof HOLES)[number];

/** Makes a rebuild stage: records in, records out. */
export function rebuild({ holes = 'flag' }: { holes?: Holes } = {}) {
  let pageSize = 0;
  return function rebuildRecord(record: DumpRecord): DumpRecord {
    if (record.type === 'header') ({ pageSize } = record);
    return record.type === 'runs' ? { ...record, runs: rebuildRuns(record.runs, holes, pageSize) } : record;
  };
}

function rebuildRuns(runs: RunBatch, holes: Holes, pageSize: number): RunBatch {
  if (!runs.bits.some((bits) => (bits & (CLASS_MASK | KIND_MASK | TAKEN)) !== 0)) return joinRuns(runs, pageSize);
  const hole = (bits: number): number => (bits & ~(PE_PRESENT | TAKEN | PAYLOAD_ALIGNED)) | PE_LAZY | HAS_FLAGS;
  if (!runs.details && !runs.bits.some((bits) => (bits & CONTINUES) !== 0 || leavesNothing(bits, holes))) {
    const bits = runs.bits.map((old) => (old & TAKEN ? hole(old) : old) & ~(CLASS_MASK | KIND_MASK));
    return { ...runs, bits };
  }
  const out = new RunBuilder(pageSize, runs.bits.length);
  for (let i = 0; i < runs.bits.length; i++) {
    const bits = runs.bits[i] as number;
    let entryBits = bits & ~(CLASS_MASK | KIND_MASK);
    let detail = detailOf(runs, i);
    if (bits & TAKEN) {
      if (leavesNothing(bits, holes)) continue;
      entryBits = hole(entryBits);
      detail = undefined;
    }
    out.pushOrExtend(runs.pageNumbers[i] as number, runs.pages[i] as number, entryBits, detail);
  }
  return out.finish();
}

/** Whether no entry remains of a run. */
const leavesNothing = (bits: number, holes: Holes): boolean =>
  (bits & TAKEN) !== 0 && (holes === 'drop' || !isLazy(bits));
