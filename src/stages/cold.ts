/** The cold half of a split dump: the lazy pages, and the images that a page server and the lazy-pages daemon need. */
import { DETAIL, PE_PARENT, type RunBatch, RunBuilder } from '../memory/runs.js';
import type { DumpRecord, Space } from '../records.js';

/** Who is in the dump, and what memory they have. */
const NEEDED = /^((inventory|pstree)\.img|(core|mm)-\d+\.img|originals(\/pagemap-(shmem-)?\d+\.img)?)$/;

/** Folder of the pagemaps as they were, which say how entries were cut before the dump was split. */
export const ORIGINALS = 'originals';

/** Makes a stage that leaves out files that are not needed, and shared memory, which is never lazy. */
export function coldPart() {
  const spaces = new Map<number, Space>();
  let pageSize = 0;
  let isLeftOut = false;
  return function* coldRecord(record: DumpRecord): Generator<DumpRecord> {
    switch (record.type) {
      case 'file':
        isLeftOut = !NEEDED.test(record.name);
        if (!isLeftOut) yield record;
        break;
      case 'space':
        isLeftOut = record.space.kind === 'shmem';
        if (isLeftOut) break;
        // Indexes have no gaps.
        spaces.set(record.space.index, { ...record.space, index: spaces.size });
        yield { ...record, space: spaces.get(record.space.index) as Space };
        break;
      case 'runs': {
        const space = spaces.get(record.space.index);
        isLeftOut = space === undefined;
        if (space) yield { ...record, space, runs: withoutParents(record.runs, pageSize) };
        break;
      }
      case 'areas': {
        const space = spaces.get(record.space.index);
        isLeftOut = space === undefined;
        if (space) yield { ...record, space };
        break;
      }
      case 'bytes':
      case 'extents':
      case 'check':
        if (!isLeftOut) yield record;
        break;
      default:
        if (record.type === 'header') ({ pageSize } = record);
        isLeftOut = false;
        yield record;
    }
  };
}

/** Pages of the parent dump are the hot half's matter: a restore reads them there. */
function withoutParents(runs: RunBatch, pageSize: number): RunBatch {
  if (!runs.bits.some((bits) => (bits & PE_PARENT) !== 0)) return runs;
  const out = new RunBuilder(pageSize, runs.bits.length);
  for (let i = 0; i < runs.bits.length; i++) {
    const bits = runs.bits[i] as number;
    if (bits & PE_PARENT) continue;
    out.push(
      runs.pageNumbers[i] as number,
      runs.pages[i] as number,
      bits,
      bits & DETAIL ? runs.details?.get(i) : undefined,
    );
  }
  return out.finish();
}
