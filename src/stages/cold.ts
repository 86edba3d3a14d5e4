/** The cold half of a split dump: the lazy pages, and the images that a page server and the lazy-pages daemon need. */
import { DumpError } from '../errors.js';
import { detailOf, PE_PARENT, PE_PRESENT, type RunBatch, RunBuilder } from '../memory/runs.js';
import { type DumpRecord, isPagemapName, type Space } from '../records.js';

/** Who is in the dump, and what memory they have. */
const NEEDED = /^((inventory|pstree)\.img|(core|mm)-\d+\.img)$/;

const ORIGINAL = 'original-';

/**
 * Name in the cold half of a pagemap as it was, which says how entries were cut before the dump was split. No image of CRIU
 * has such a name, and it lies in no folder: shards have none.
 */
export const originalName = (pagemap: string): string => `${ORIGINAL}${pagemap}`;

/** Whether a file name is that of a pagemap as it was. */
export const isOriginalName = (name: string): boolean =>
  name.startsWith(ORIGINAL) && isPagemapName(name.slice(ORIGINAL.length));

/**
 * Makes a stage that lets whole dumps pass, and hot halves, which are dumps of their own.
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
 * Makes a stage that leaves out files that are not needed, and shared memory, which is never lazy.
 * @throws {DumpError} UNSUPPORTED for pages that are said to be here and in the parent dump
 */
export function coldPart() {
  const spaces = new Map<number, Space>();
  let pageSize = 0;
  let isLeftOut = false;
  return function* coldRecord(record: DumpRecord): Generator<DumpRecord> {
    switch (record.type) {
      case 'file':
        isLeftOut = !NEEDED.test(record.name) && !isOriginalName(record.name);
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
        if (space) yield { ...record, space, runs: withoutParents(record.runs, space, pageSize) };
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
function withoutParents(runs: RunBatch, space: Space, pageSize: number): RunBatch {
  if (!runs.bits.some((bits) => (bits & PE_PARENT) !== 0)) return runs;
  const out = new RunBuilder(pageSize, runs.bits.length);
  for (let i = 0; i < runs.bits.length; i++) {
    const bits = runs.bits[i] as number;
    if (bits & PE_PARENT) {
      if (!(bits & PE_PRESENT)) continue;
      throw new DumpError('UNSUPPORTED', 'expected pages here or in the parent dump, found some in both', {
        file: space.pagemap,
      });
    }
    out.push(runs.pageNumbers[i] as number, runs.pages[i] as number, bits, detailOf(runs, i));
  }
  return out.finish();
}
