/**
 * The two halves of a split dump as the dump that they came from. The cold half has the pagemaps as they were; each page is
 * in one of the two, and everything else is in the hot one.
 */
import { DumpError } from '../errors.js';
import { PagemapDecoder } from '../image/pagemap.js';
import { DETAIL, PE_PRESENT, type RunBatch } from '../memory/runs.js';
import type { AddressSpace, Segment } from '../memory/space.js';
import type { DumpRecord, ExtentsRecord, PayloadFile, Space } from '../records.js';
import { ORIGINALS } from '../stages/cold.js';
import type { Dump } from './directory.js';

/**
 * The records of the whole dump.
 * @throws {DumpError} MISSING_IMAGE where the halves do not belong together, UNSUPPORTED for compressed pages
 */
export function* mergedRecords(hot: Dump, cold: Dump): Generator<DumpRecord> {
  const originals = new Set(cold.filesIn(ORIGINALS));
  if (originals.size === 0) {
    throw new DumpError('MISSING_IMAGE', `expected the cold half of a split dump, found no ${ORIGINALS}`, {
      file: cold.path,
    });
  }
  for (const record of hot.records()) {
    if (record.type === 'space') break;
    yield record;
  }
  for (const space of hot.spaces) {
    if (!originals.has(`${ORIGINALS}/${space.pagemap}`)) {
      throw new DumpError('MISSING_IMAGE', 'expected this pagemap in the cold half, found none', {
        file: space.pagemap,
      });
    }
    yield { type: 'space', space };
  }
  for (const space of hot.spaces) yield* spaceRecords(space, hot, cold);
  yield { type: 'end' };
}

function* spaceRecords(space: Space, hot: Dump, cold: Dump): Generator<DumpRecord> {
  const name = `${ORIGINALS}/${space.pagemap}`;
  const coldSpace = cold.spaces.find(({ pagemap }) => pagemap === space.pagemap);
  const halves = [hot.addressSpace(space), ...(coldSpace ? [cold.addressSpace(coldSpace)] : [])];
  const decoder = new PagemapDecoder(hot.pageSize, name);
  for (const chunk of cold.chunksOf(name)) {
    const runs = decoder.push(chunk);
    if (!runs) continue;
    yield { type: 'runs', space, runs, checked: false };
    yield* payloadOf(runs, halves, hot.pageSize, name);
  }
  decoder.end();
}

function* payloadOf(runs: RunBatch, halves: AddressSpace[], pageSize: number, name: string): Generator<ExtentsRecord> {
  let file: PayloadFile | undefined;
  let extents: number[] = [];
  for (let i = 0; i < runs.bits.length; i++) {
    const bits = runs.bits[i] as number;
    if (!(bits & PE_PRESENT)) continue;
    if (bits & DETAIL && runs.details?.get(i)?.compressed) {
      throw new DumpError('UNSUPPORTED', 'expected plain pages, found compressed ones: they cannot be merged', {
        file: name,
      });
    }
    for (const { at, pages } of stored(
      halves,
      runs.pageNumbers[i] as number,
      runs.pages[i] as number,
      name,
      pageSize,
    )) {
      if (file && file !== at.file) {
        yield { type: 'extents', file, extents: Float64Array.from(extents) };
        extents = [];
      }
      file = at.file;
      extents.push(at.position, pages * pageSize);
    }
  }
  if (file && extents.length > 0) yield { type: 'extents', file, extents: Float64Array.from(extents) };
}

/** Where the pages of a range are, in order: in the first half that has them. */
function* stored(
  [half, ...others]: AddressSpace[],
  pageNumber: number,
  pages: number,
  name: string,
  pageSize: number,
): Generator<Segment & Required<Pick<Segment, 'at'>>> {
  if (!half) {
    const address = (BigInt(pageNumber) * BigInt(pageSize)).toString(16);
    throw new DumpError('MISSING_IMAGE', `expected ${pages} pages at 0x${address}, found them in neither half`, {
      file: name,
    });
  }
  for (const segment of half.locate(pageNumber, pages)) {
    if (segment.state === 'stored' && segment.at) yield { ...segment, at: segment.at };
    else yield* stored(others, segment.pageNumber, segment.pages, name, pageSize);
  }
}
