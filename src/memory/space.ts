/**
 * What everything that reads memory is built on: (address space, page range) -> bytes.
 *
 * It works for every generation of pagemap. Pages may be in the pages file, plain or in compressed blocks, in a parent
 * dump, however far up the chain, or in no file.
 */
import type { PayloadFile } from '../bytes.js';
import { lowerBound } from '../columns.js';
import { DumpError } from '../errors.js';
import { payloadStart } from './pages-layout.js';
import {
  blockSum,
  type CompressedBlocks,
  DETAIL,
  PE_LAZY,
  PE_PARENT,
  PE_PRESENT,
  type RunBatch,
  type RunDetail,
  storedBytes,
} from './runs.js';

/** Some pages of a range that are in the same state. */
export interface PageSpan {
  /** Address / page size. */
  pageNumber: number;
  pages: number;
  /**
   * `stored`: in `file`; `lazy`: to be fetched from elsewhere (PE_LAZY alone); `absent`: in no pagemap, which in private
   * anonymous memory reads as zeros.
   */
  state: 'stored' | 'lazy' | 'absent';
  /** Of stored pages: where they are. */
  at?: StoredAt;
  /** Of pages that the dump leaves to its parents: how many dumps up this was found, 1 for the parent. */
  depth?: number;
}

/** Where stored pages are. */
export interface StoredAt {
  file: PayloadFile;
  /** Bytes: of the first page, or of the first block where they are compressed. */
  position: number;
  /** The page at `position`. */
  firstPage: number;
  compressed?: CompressedBlocks;
  /** Pages of the run, which gives the length of its last block. */
  runPages: number;
}

/**
 * How many pages of a stored span are in the first bytes of its file, from its beginning on. A run in blocks counts when all
 * of it is there.
 * @param bytes of the file
 */
export function pagesWithin({ pageNumber, pages, at }: PageSpan, bytes: number, pageSize: number): number {
  if (!at) return 0;
  if (at.compressed) return at.position + blockSum(at.compressed) <= bytes ? pages : 0;
  const start = at.position + (pageNumber - at.firstPage) * pageSize;
  return Math.min(pages, Math.max(0, Math.floor((bytes - start) / pageSize)));
}

/** The bytes of its file that the pages of a stored span are in, compressed blocks as a whole: start and end. */
export function storedRange({ pageNumber, pages, at }: PageSpan, pageSize: number): [number, number] | undefined {
  if (!at) return undefined;
  const first = pageNumber - at.firstPage;
  if (!at.compressed) return [at.position + first * pageSize, at.position + (first + pages) * pageSize];
  const { blockBytes, pagesPerBlock } = at.compressed;
  let start = at.position;
  let block = 0;
  for (; (block + 1) * pagesPerBlock <= first; block++) start += blockBytes[block] as number;
  let end = start;
  for (; block * pagesPerBlock < first + pages; block++) end += blockBytes[block] as number;
  return [start, end];
}

/** Decodes one LZ4 block into exactly `plainBytes` bytes. */
export type DecodeBlock = (block: Uint8Array, plainBytes: number) => Uint8Array;

/** All runs of a pagemap, and the position of the payload of each. */
export class RunTable {
  private readonly batches: RunBatch[] = [];
  private readonly firstIndex: number[] = [];
  private pageNumbers = new Float64Array(0);
  private pages = new Float64Array(0);
  private bits = new Uint32Array(0);
  private positions = new Float64Array(0);
  private readonly details = new Map<number, RunDetail>();
  private length = 0;

  constructor(private readonly pageSize: number) {}

  /** Adds the next runs in ascending order. */
  add(runs: RunBatch): void {
    this.firstIndex.push(this.length);
    this.batches.push(runs);
    this.length += runs.bits.length;
  }

  /** Joins the batches into columns; call it once, after the last. */
  finish(): this {
    this.pageNumbers = new Float64Array(this.length);
    this.pages = new Float64Array(this.length);
    this.bits = new Uint32Array(this.length);
    this.positions = new Float64Array(this.length);
    this.batches.forEach((runs, i) => {
      const at = this.firstIndex[i] as number;
      this.pageNumbers.set(runs.pageNumbers, at);
      this.pages.set(runs.pages, at);
      this.bits.set(runs.bits, at);
      for (const [run, detail] of runs.details ?? []) this.details.set(at + run, detail);
    });
    this.batches.length = 0;
    let end = 0;
    for (let i = 0; i < this.length; i++) {
      const bits = this.bits[i] as number;
      const position = payloadStart(bits, end, this.pageSize);
      this.positions[i] = position;
      end =
        bits & PE_PRESENT ? position + storedBytes(this.detailOf(i), this.pages[i] as number, this.pageSize) : position;
    }
    return this;
  }

  private detailOf(i: number): RunDetail | undefined {
    return (this.bits[i] as number) & DETAIL ? this.details.get(i) : undefined;
  }

  /** The page after the last run; 0 without runs. */
  get endPage(): number {
    const last = this.length - 1;
    return last < 0 ? 0 : (this.pageNumbers[last] as number) + (this.pages[last] as number);
  }

  /** Index of the first run that ends after a page. */
  private find(pageNumber: number): number {
    return lowerBound(this.length, (i) => (this.pageNumbers[i] as number) + (this.pages[i] as number) <= pageNumber);
  }

  /** Where pages of plain runs are, if they follow each other in the file; -1 otherwise. */
  positionOf(pageNumber: number, pages: number): number {
    const { pageSize } = this;
    const end = pageNumber + pages;
    const first = this.find(pageNumber);
    /** Of the page with number 0, if all pages followed each other. */
    let base = Number.NaN;
    for (let i = first, page = pageNumber; page < end; i++) {
      if (i >= this.length || ((this.bits[i] as number) & (PE_PRESENT | PE_PARENT | DETAIL)) !== PE_PRESENT) return -1;
      const start = this.pageNumbers[i] as number;
      const runBase = (this.positions[i] as number) - start * pageSize;
      if (i === first) base = runBase;
      if (start > page || runBase !== base) return -1;
      page = start + (this.pages[i] as number);
    }
    return base + pageNumber * pageSize;
  }

  /** The runs in a range, and the gaps between them: bits are 0 for a gap. */
  *walk(pageNumber: number, pages: number): Generator<TableSpan> {
    const end = pageNumber + pages;
    let page = pageNumber;
    for (let i = this.find(page); page < end; i++) {
      const start = i < this.length ? (this.pageNumbers[i] as number) : Number.POSITIVE_INFINITY;
      if (start > page) {
        const stop = Math.min(start, end);
        yield {
          pageNumber: page,
          pages: stop - page,
          bits: 0,
          firstPage: page,
          runPages: 0,
          position: 0,
          detail: undefined,
        };
        page = stop;
      }
      if (page >= end) return;
      const stop = Math.min(start + (this.pages[i] as number), end);
      yield {
        pageNumber: page,
        pages: stop - page,
        bits: this.bits[i] as number,
        firstPage: start,
        runPages: this.pages[i] as number,
        position: this.positions[i] as number,
        detail: this.detailOf(i),
      };
      page = stop;
    }
  }
}

export interface TableSpan {
  pageNumber: number;
  pages: number;
  bits: number;
  /** First page of the whole run, its pages, and where its payload begins. */
  firstPage: number;
  runPages: number;
  position: number;
  detail: RunDetail | undefined;
}

export interface AddressSpaceOptions {
  /** Name of the pagemap, for errors. */
  name: string;
  /** Bytes. */
  pageSize: number;
  /** The same address space in the parent dump, if there is one. */
  parent?: AddressSpace;
  /** For compressed pages. */
  decodeBlock?: DecodeBlock;
  /** Whether pages of a parent that is not there are absent; otherwise they are an error. */
  isLenient?: boolean | undefined;
}

/** The memory of one task or segment of one dump, with that of its parents where the dump refers to them. */
export class AddressSpace {
  private last: { file: PayloadFile; position: number; plain: Uint8Array } | undefined;

  constructor(
    private readonly table: RunTable,
    readonly file: PayloadFile,
    private readonly options: AddressSpaceOptions,
  ) {}

  /**
   * Where the pages of a range are: segments without gaps, in order, each in one state and in one file.
   * @throws {DumpError} NO_PARENT for a page of a parent dump that has no such address space, if it is not lenient
   */
  *locate(pageNumber: number, pages: number): Generator<PageSpan> {
    for (const run of this.table.walk(pageNumber, pages)) {
      if (run.bits & PE_PARENT) {
        yield* this.inParent(run.pageNumber, run.pages);
      } else if (run.bits & PE_PRESENT) {
        // Written out: spreading an object takes several times as long, and there may be millions of runs.
        yield { pageNumber: run.pageNumber, pages: run.pages, state: 'stored', at: this.placeOf(run) };
      } else {
        yield { pageNumber: run.pageNumber, pages: run.pages, state: run.bits & PE_LAZY ? 'lazy' : 'absent' };
      }
    }
  }

  /**
   * Where the pages of a range begin in {@link file}, if all are there, plain, and one behind the other; -1 otherwise.
   */
  positionOf(pageNumber: number, pages: number): number {
    return this.table.positionOf(pageNumber, pages);
  }

  /**
   * The pages of a range with their bytes, in pieces of at most `pieceBytes`. The bytes of stored pages are overwritten
   * by the next piece; lazy and absent pages have none.
   */
  *read(pageNumber: number, pages: number, pieceBytes = 1024 * 1024): Generator<PageSpan & { bytes?: Uint8Array }> {
    const { pageSize } = this.options;
    const piecePages = Math.max(1, Math.floor(pieceBytes / pageSize));
    const buffer = new Uint8Array(Math.min(piecePages, pages) * pageSize);
    for (const segment of this.locate(pageNumber, pages)) {
      if (segment.state !== 'stored' || !segment.at) {
        yield segment;
        continue;
      }
      for (let done = 0; done < segment.pages; done += piecePages) {
        const count = Math.min(piecePages, segment.pages - done);
        const piece = { ...segment, pageNumber: segment.pageNumber + done, pages: count };
        const bytes = buffer.subarray(0, count * pageSize);
        this.fill(bytes, piece.pageNumber, segment.at);
        yield { ...piece, bytes };
      }
    }
  }

  /** The page after the last one that the pagemap has; 0 for an empty one. */
  get endPage(): number {
    return this.table.endPage;
  }

  private *inParent(pageNumber: number, pages: number): Generator<PageSpan> {
    const { parent, name, isLenient } = this.options;
    if (parent) {
      for (const span of parent.locate(pageNumber, pages)) {
        span.depth = (span.depth ?? 0) + 1;
        yield span;
      }
    } else if (isLenient) {
      yield { pageNumber, pages, state: 'absent', depth: 1 };
    } else {
      throw new DumpError('NO_PARENT', 'these pages are in a parent dump, and this dump has none', { file: name });
    }
  }

  private placeOf(run: TableSpan): StoredAt {
    const { pageSize } = this.options;
    const compressed = run.detail?.compressed;
    return compressed
      ? { file: this.file, position: run.position, firstPage: run.firstPage, runPages: run.runPages, compressed }
      : {
          file: this.file,
          position: run.position + (run.pageNumber - run.firstPage) * pageSize,
          firstPage: run.pageNumber,
          runPages: run.pages,
        };
  }

  /** Reads whole pages from where they are stored: as many as `bytes` holds, from `pageNumber` on. */
  fill(bytes: Uint8Array, pageNumber: number, at: StoredAt): void {
    const { pageSize } = this.options;
    if (!at.compressed) {
      at.file.read(bytes, at.position + (pageNumber - at.firstPage) * pageSize);
      return;
    }
    const { blockBytes, pagesPerBlock } = at.compressed;
    const plainBytes = pagesPerBlock * pageSize;
    const start = (pageNumber - at.firstPage) * pageSize;
    const first = Math.floor(start / plainBytes);
    let position = at.position;
    for (let block = 0; block < first; block++) position += blockBytes[block] as number;
    for (let block = first; block * plainBytes < start + bytes.length; block++) {
      const stored = blockBytes[block] as number;
      const from = block * plainBytes - start;
      // The last block of a run may be shorter.
      const length = Math.min(plainBytes, at.runPages * pageSize - block * plainBytes);
      const plain = this.block(at.file, position, stored, length);
      const wanted = plain.subarray(Math.max(0, -from), Math.min(plain.length, bytes.length - from));
      bytes.set(wanted, Math.max(0, from));
      position += stored;
    }
  }

  /** One block of `plain` bytes. The last one is kept, because a piece may end inside of it. */
  private block(file: PayloadFile, position: number, stored: number, plain: number): Uint8Array {
    if (stored === 0) return new Uint8Array(plain);
    const { last } = this;
    if (last?.file === file && last.position === position && last.plain.length === plain) return last.plain;
    const bytes = new Uint8Array(stored);
    file.read(bytes, position);
    const decoded = plainBlock(bytes, plain, this.options.decodeBlock, { file: file.name, offset: position });
    this.last = { file, position, plain: decoded };
    return decoded;
  }
}

/**
 * The pages of a block, of which zeros have no bytes and pages that do not compress are stored as they are.
 * @throws {DumpError} UNSUPPORTED without a decoder, MALFORMED
 */
export function plainBlock(
  block: Uint8Array,
  plainBytes: number,
  decode: DecodeBlock | undefined,
  place: { file: string; offset?: number },
): Uint8Array {
  if (block.length === 0) return new Uint8Array(plainBytes);
  if (block.length === plainBytes) return block;
  if (!decode) throw new DumpError('UNSUPPORTED', 'expected plain pages, found an LZ4 block', place);
  try {
    const decoded = decode(block, plainBytes);
    if (decoded.length === plainBytes) return decoded;
    throw new RangeError(`it gives ${decoded.length} bytes`);
  } catch (cause) {
    throw new DumpError('MALFORMED', `this is no LZ4 block of ${plainBytes} bytes: ${(cause as Error).message}`, {
      ...place,
      cause,
    });
  }
}
