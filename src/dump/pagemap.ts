/** Pagemaps of a dump: read in sequence, or as an address space that includes pages in parent dumps. */
import { DumpError } from '../errors.js';
import { decodeLz4Block } from '../image/lz4.js';
import { PagemapDecoder } from '../image/pagemap.js';
import { firstBeyond, PagesLayout } from '../memory/pages-layout.js';
import { PE_PARENT, type RunBatch } from '../memory/runs.js';
import { AddressSpace, RunTable } from '../memory/space.js';
import { type DumpFiles, payloadFile, pieces, type ReadableFiles, sizeOf } from './files.js';
import { pagesName } from './names.js';
import type { PayloadFile } from './records.js';

/** A pagemap is decoded in pieces of this size: some 2000 entries, whose columns fit the cache and are collected early. */
const PIECE_BYTES = 32 * 1024;

/** Longest chain of parents, in dumps. */
export const MAX_CHAIN = 1024;

/** Runs of a pagemap, and where their payload is in the pages file. */
export interface PagemapPart {
  runs: RunBatch;
  /** Pairs of position and length in bytes, in payload order. */
  extents: Float64Array;
  /** Names the pages file. */
  pagesId: number;
}

/**
 * The runs of a pagemap, in batches, checked against the size of its pages file.
 * @param mayLackPages whether the pages file may be missing
 * @throws {DumpError} also PAGES_SIZE, and NO_PARENT for pages in a parent dump that does not exist
 */
export function* readPagemap(
  files: ReadableFiles,
  pagemap: string,
  pageSize: number,
  hasParent: boolean,
  mayLackPages = false,
): Generator<PagemapPart> {
  const decoder = new PagemapDecoder(pageSize, pagemap);
  const layout = new PagesLayout(pageSize);
  let sizeBytes: number | undefined;
  const sizeOfPages = (name: string) => (mayLackPages && !files.stat(name) ? undefined : sizeOf(files, name));
  for (const runs of decodePagemap(files, pagemap, decoder)) {
    const first = decoder.entries - runs.bits.length;
    if (!hasParent) checkNoParentPages(pagemap, runs, first);
    const file = pagesName(decoder);
    sizeBytes ??= sizeOfPages(file) ?? Number.POSITIVE_INFINITY;
    const fileOffset = layout.end;
    const extents = layout.place(runs);
    if (layout.end > sizeBytes) throw tooShort({ pagemap, file, runs, first, fileOffset, sizeBytes, pageSize });
    yield { runs, extents, pagesId: decoder.pagesId };
  }
  const file = pagesName(decoder);
  sizeBytes = sizeOfPages(file);
  const { end } = layout;
  if (sizeBytes !== undefined && end !== sizeBytes) {
    throw new DumpError('PAGES_SIZE', `expected ${end} bytes of pages by ${pagemap}, found ${sizeBytes}`, {
      file,
      offset: end,
    });
  }
}

/** The runs of a pagemap, in batches, without a look at its pages file. Throws {@link DumpError}. */
export function* decodePagemap(files: ReadableFiles, name: string, decoder: PagemapDecoder): Generator<RunBatch> {
  for (const piece of pieces(files, name, PIECE_BYTES)) {
    const runs = decoder.push(piece);
    if (runs) yield runs;
  }
  decoder.end();
}

/**
 * The memory that a pagemap describes, including pages in parent dumps. The files must stay open while it is used.
 * @param files of a dump, or of a pre-dump, which has only memory
 * @param pageSize bytes
 * @param isLenient whether pages in a parent that is not there are absent, and a missing pages file shows when it is read;
 *   otherwise both are errors
 */
export function openAddressSpace(files: DumpFiles, pagemap: string, pageSize: number, isLenient = false): AddressSpace {
  const parent = isLenient ? reachableParent(files) : files.parent();
  const table = new RunTable(pageSize);
  let file = NO_FILE;
  for (const part of readPagemap(files, pagemap, pageSize, isLenient || parent !== undefined, isLenient)) {
    table.add(part.runs);
    const name = pagesName(part);
    if (file === NO_FILE)
      file = payloadFile(files, name, isLenient ? (files.stat(name)?.size ?? 0) : sizeOf(files, name));
  }
  return new AddressSpace(table.finish(), file, {
    name: pagemap,
    pageSize,
    decodeBlock: decodeLz4Block,
    isLenient,
    ...(parent?.stat(pagemap) ? { parent: openAddressSpace(parent, pagemap, pageSize, isLenient) } : {}),
  });
}

/** The parent of a dump, if it can be opened. */
function reachableParent(files: DumpFiles): DumpFiles | undefined {
  try {
    return files.parent();
  } catch (error) {
    if (error instanceof DumpError && error.code === 'SYSTEM') return undefined;
    throw error;
  }
}

/** The pages file of a pagemap without runs. Nothing is ever read from it. */
const NO_FILE: PayloadFile = { name: '', size: 0, read: () => {} };

function checkNoParentPages(pagemap: string, runs: RunBatch, firstEntry: number): void {
  const i = runs.bits.findIndex((bits) => (bits & PE_PARENT) !== 0);
  if (i < 0) return;
  throw new DumpError('NO_PARENT', 'expected a parent dump, which has the pages of this entry, found no parent link', {
    file: pagemap,
    entry: firstEntry + i,
  });
}

function tooShort(of: {
  pagemap: string;
  file: string;
  runs: RunBatch;
  first: number;
  fileOffset: number;
  sizeBytes: number;
  pageSize: number;
}): DumpError {
  const { index, end } = firstBeyond(of.runs, of.fileOffset, of.sizeBytes, of.pageSize);
  return new DumpError(
    'PAGES_SIZE',
    `expected at least ${end} bytes of pages by entry ${of.first + index} of ${of.pagemap}, found ${of.sizeBytes}`,
    { file: of.file, offset: of.sizeBytes },
  );
}
