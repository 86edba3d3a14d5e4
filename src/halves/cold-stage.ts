/**
 * A split dump has two halves, and each page is in one of them. The hot half is what `make-lazy` gives: a dump that can be
 * restored at once. The cold half has the lazy pages, the images that a page server and the lazy-pages daemon need, and the
 * original pagemaps. These say how `merge` puts the dump together again, byte for byte.
 *
 * This file has the stages that make the cold half.
 */
import { none } from 'stream-chain/defs.js';
import { isOriginalName, SUMS_MARK } from '../dump/names.js';
import { type DumpRecord, isPayload, type Space } from '../dump/records.js';
import { DumpError } from '../errors.js';
import { detailOf, PE_PARENT, PE_PRESENT, type RunBatch, RunBuilder } from '../memory/runs.js';
import { dropFiles } from '../stages/drop-files.js';

/** Images of the processes and their memory areas. */
const NEEDED = /^((inventory|pstree)\.img|(core|mm)-\d+\.img)$/;

/**
 * Makes a stage that passes on whole dumps, and hot halves, which are whole dumps, too.
 * @throws {DumpError} UNSUPPORTED for a cold half
 */
export function notCold() {
  return function notColdRecord(record: DumpRecord): DumpRecord {
    if (record.type !== 'file' || !isOriginalName(record.name)) return record;
    throw new DumpError('UNSUPPORTED', 'expected a whole dump, found the cold half of a split one', {
      file: record.name,
    });
  };
}

/**
 * Makes the stages that drop files that are not needed, and shared memory, which is never lazy.
 * @throws {DumpError} UNSUPPORTED for pages that are both in the dump and in its parent
 */
export const coldPart = () => [
  dropFiles(({ name }) => !NEEDED.test(name) && !isOriginalName(name) && name !== SUMS_MARK),
  withoutSharedMemory(),
  withoutParentPages(),
];

function withoutSharedMemory() {
  const tasks = new Map<number, Space>();
  let isLeftOut = false;
  return (record: DumpRecord): DumpRecord | typeof none => {
    if (isPayload(record)) return isLeftOut ? none : record;
    isLeftOut = 'space' in record && record.space.kind === 'shmem';
    if (!('space' in record) || isLeftOut) return isLeftOut ? none : record;
    // Indexes have no gaps.
    if (record.type === 'space') tasks.set(record.space.index, { ...record.space, index: tasks.size });
    return { ...record, space: tasks.get(record.space.index) as Space };
  };
}

function withoutParentPages() {
  let pageSize = 0;
  return (record: DumpRecord): DumpRecord => {
    if (record.type === 'header') ({ pageSize } = record);
    return record.type === 'runs' ? { ...record, runs: withoutParents(record.runs, record.space, pageSize) } : record;
  };
}

/** Leaves out pages of the parent dump: a restore reads them through the hot half. */
function withoutParents(runs: RunBatch, space: Space, pageSize: number): RunBatch {
  if (!runs.bits.some((bits) => (bits & PE_PARENT) !== 0)) return runs;
  const out = new RunBuilder(pageSize, runs.bits.length);
  for (let i = 0; i < runs.bits.length; i++) {
    const bits = runs.bits[i] as number;
    if (bits & PE_PARENT) {
      if (!(bits & PE_PRESENT)) continue;
      throw new DumpError('UNSUPPORTED', 'some pages are both in the dump and in its parent', {
        file: space.pagemap,
      });
    }
    out.push(runs.pageNumbers[i] as number, runs.pages[i] as number, bits, detailOf(runs, i));
  }
  return out.finish();
}
