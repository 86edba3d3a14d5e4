/**
 * Page runs: consecutive pages of one address space that share their state, in batches of columns.
 *
 * A dump may hold a million runs of one page, so a run is no object: a batch is three typed arrays, and what only a few
 * runs have (compressed blocks, unusual encodings) is in a sparse map.
 */
import { widen } from '../columns.js';

/** Page sizes of Linux: 4 KiB to 64 KiB. */
export const PAGE_SIZES = [4096, 8192, 16384, 32768, 65536];

/** Pagemap flags of CRIU (pagemap.h): the low bits of {@link RunBatch.bits}. */
export const PE_PARENT = 1;
export const PE_LAZY = 2;
export const PE_PRESENT = 4;
export const PE_MASK = 7;

/** The run continues the pagemap entry of the run before it. */
export const CONTINUES = 1 << 3;
/** A filter has taken the payload out. */
export const TAKEN = 1 << 4;
/** The run has an entry in {@link RunBatch.details}. */
export const DETAIL = 1 << 5;

/** The class that a classifier gave the run; none if it has not been classified. */
export const CLASS_EAGER = 1 << 6;
export const CLASS_LAZY = 2 << 6;
export const CLASS_MASK = 3 << 6;

/** How the pagemap entry was written, so that it is written the same way again: its generation. */
export const COUNT_IN_FIELD_2 = 1 << 8;
export const HAS_IN_PARENT = 1 << 9;
export const IN_PARENT_TRUE = 1 << 10;
export const HAS_FLAGS = 1 << 11;
export const HAS_FIELD_5 = 1 << 12;
export const SHAPE_MASK = 0x1f << 8;
/**
 * The payload begins at the next page boundary of the pages file: PE_PAYLOAD_ALIGNED of CRIU 4.3, at another place since
 * its bit is taken. Only the first piece of an entry has it, together with PE_PRESENT.
 */
export const PAYLOAD_ALIGNED = 1 << 13;

/** Index into the kinds of area, from bit 16. */
export const KIND_SHIFT = 16;
export const KIND_MASK = 0x1f << KIND_SHIFT;

/** All bits that have a meaning; input with others is refused. */
export const KNOWN_BITS = PE_MASK | CONTINUES | TAKEN | DETAIL | CLASS_MASK | SHAPE_MASK | PAYLOAD_ALIGNED | KIND_MASK;

/** The bits of {@link RunBatch.bits}, for stages outside of this package. */
export const RUN_BITS = {
  PE_PARENT,
  PE_LAZY,
  PE_PRESENT,
  PE_MASK,
  CONTINUES,
  TAKEN,
  DETAIL,
  CLASS_EAGER,
  CLASS_LAZY,
  CLASS_MASK,
  SHAPE_MASK,
  PAYLOAD_ALIGNED,
  KIND_SHIFT,
  KIND_MASK,
} as const;

/** Page numbers stay below this: their address is a u64. */
export const pageNumberLimit = (pageSize: number): number => 2 ** 64 / pageSize;

/** An address as hex digits; page numbers times the page size go beyond 2^53. */
export const addressHex = (pageNumber: number, pageSize: number): string =>
  (BigInt(pageNumber) * BigInt(pageSize)).toString(16);

/** Largest block of a compressed entry, in bytes of memory. Source: `--compress-block` of CRIU 4.3. */
export const MAX_BLOCK_BYTES = 4 * 1024 * 1024;

/** Most blocks of a compressed entry: in a pagemap each takes at least one byte, and an entry has at most so many. */
export const MAX_ENTRY_BLOCKS = 256 * 1024;

/** Field 2 of an entry is a u32. */
export const MAX_COUNT_IN_FIELD_2 = 2 ** 32 - 1;

/** Compressed payload of an entry: one element a block. Source: `pagemap_blocks` of CRIU 4.3. */
export interface CompressedBlocks {
  /** Bytes that each block takes in the pages file: 0 all zeros, the plain size raw, else LZ4. */
  blockBytes: Uint32Array;
  /** Pages in a block; the last block of an entry may hold fewer. */
  pagesPerBlock: number;
}

/** What only a few runs have, apart from the columns. */
export interface RunDetail {
  /** The pagemap entry as it was read, where our encoding of the columns would differ. */
  verbatim?: Uint8Array;
  compressed?: CompressedBlocks;
}

/** Runs of one address space, ascending, without overlap. All columns have the same length. */
export interface RunBatch {
  /** Address / page size. */
  readonly pageNumbers: Float64Array;
  /** Pages in the run, at least 1. */
  readonly pages: Float64Array;
  /** PE_*, CONTINUES, TAKEN, DETAIL, CLASS_*, shape, PAYLOAD_ALIGNED and kind. */
  readonly bits: Uint32Array;
  /** By index of the run. */
  readonly details?: ReadonlyMap<number, RunDetail>;
  /** Bytes of payload that the runs have between them, in order. */
  readonly payloadBytes: number;
}

/** Whether runs of these bits have payload. */
export const hasPayload = (bits: number): boolean => (bits & (PE_PRESENT | TAKEN)) === PE_PRESENT;

/** Whether a restore reads the pages of such runs from their payload, and not from a parent dump. */
export const isReadHere = (bits: number): boolean => (bits & (PE_PRESENT | PE_PARENT | TAKEN)) === PE_PRESENT;

/** Whether a lazy restore fetches such pages: their class says so, or their flag if they have no class. */
export const isLazy = (bits: number): boolean =>
  bits & CLASS_MASK ? (bits & CLASS_MASK) === CLASS_LAZY : (bits & PE_LAZY) !== 0;

/** Pages that a pagemap has as lazy, and that are in no file. */
export function countHolePages({ bits, pages }: RunBatch): number {
  let count = 0;
  for (let i = 0; i < bits.length; i++) if (((bits[i] as number) & PE_MASK) === PE_LAZY) count += pages[i] as number;
  return count;
}

/** What run `i` has apart from its columns. */
export const detailOf = (runs: RunBatch, i: number): RunDetail | undefined =>
  (runs.bits[i] as number) & DETAIL ? runs.details?.get(i) : undefined;

/** Bytes that run `i` has in the payload. */
export const runPayloadBytes = (runs: RunBatch, i: number, pageSize: number): number =>
  hasPayload(runs.bits[i] as number) ? storedBytes(detailOf(runs, i), runs.pages[i] as number, pageSize) : 0;

/** Bytes that a run of present pages takes in a pages file, without what may be before it to align it. */
export const storedBytes = (detail: RunDetail | undefined, pages: number, pageSize: number): number =>
  detail?.compressed ? blockSum(detail.compressed) : pages * pageSize;

export function blockSum({ blockBytes }: CompressedBlocks): number {
  let sum = 0;
  for (const bytes of blockBytes) sum += bytes;
  return sum;
}

/** For blocks of a number of pages that none has; it may be beyond 2^53, so in digits. */
export const blockPagesComplaint = (digits: string, pageSize: number): string =>
  `blocks of 1 to ${MAX_BLOCK_BYTES / pageSize} pages, found ${digits}`;

/**
 * What is wrong with the blocks of a run, for `expected …`; undefined if they fit it.
 * @param pageSize bytes
 */
export function blocksComplaint(
  { blockBytes, pagesPerBlock }: CompressedBlocks,
  pages: number,
  pageSize: number,
): string | undefined {
  const plainBytes = pagesPerBlock * pageSize;
  if (plainBytes < 1 || plainBytes > MAX_BLOCK_BYTES) return blockPagesComplaint(String(pagesPerBlock), pageSize);
  const count = Math.ceil(pages / pagesPerBlock);
  if (blockBytes.length !== count) return `${count} compressed blocks for ${pages} pages, found ${blockBytes.length}`;
  const lastBytes = (pages - (count - 1) * pagesPerBlock) * pageSize;
  const large = blockBytes.findIndex((bytes, i) => bytes > (i < count - 1 ? plainBytes : lastBytes));
  if (large < 0) return undefined;
  return `at most ${large < count - 1 ? plainBytes : lastBytes} bytes in block ${large}, found ${blockBytes[large]}`;
}

/** Whether two runs are compressed in the same blocks, or neither is. */
export function sameBlocks(a: CompressedBlocks | undefined, b: CompressedBlocks | undefined): boolean {
  if (!a || !b) return a === b;
  return (
    a.pagesPerBlock === b.pagesPerBlock &&
    a.blockBytes.length === b.blockBytes.length &&
    a.blockBytes.every((bytes, i) => bytes === b.blockBytes[i])
  );
}

/** Collects runs into a {@link RunBatch}; grows by doubling. */
export class RunBuilder {
  private pageNumbers: Float64Array;
  private pages: Float64Array;
  private bits: Uint32Array;
  private details: Map<number, RunDetail> | undefined;
  private payloadBytes = 0;
  length = 0;

  constructor(
    private readonly pageSize: number,
    capacity = 1024,
  ) {
    this.pageNumbers = new Float64Array(capacity);
    this.pages = new Float64Array(capacity);
    this.bits = new Uint32Array(capacity);
  }

  push(pageNumber: number, pages: number, bits: number, detail?: RunDetail): void {
    if (this.length === this.bits.length) this.grow();
    const i = this.length++;
    this.pageNumbers[i] = pageNumber;
    this.pages[i] = pages;
    this.bits[i] = detail ? bits | DETAIL : bits & ~DETAIL;
    if (detail) {
      this.details ??= new Map();
      this.details.set(i, detail);
    }
    if (hasPayload(bits)) this.payloadBytes += storedBytes(detail, pages, this.pageSize);
  }

  /** Adds a run, to the last one if it continues that entry in the same state. */
  pushOrExtend(pageNumber: number, pages: number, bits: number, detail?: RunDetail): void {
    if (!this.joins(pageNumber, pages, bits, detail)) {
      this.push(pageNumber, pages, bits, detail);
      return;
    }
    const last = this.length - 1;
    (this.pages[last] as number) += pages;
    const first = this.details?.get(last);
    if (first?.compressed && detail?.compressed) {
      this.details?.set(last, { ...first, compressed: joinBlocks(first.compressed, detail.compressed) });
    }
    if (hasPayload(bits)) this.payloadBytes += storedBytes(detail, pages, this.pageSize);
  }

  /** Whether a run and the last one are pieces of one entry; what says so may be hostile. */
  private joins(pageNumber: number, pages: number, bits: number, detail: RunDetail | undefined): boolean {
    const last = this.length - 1;
    if ((bits & (CONTINUES | PAYLOAD_ALIGNED)) !== CONTINUES || last < 0) return false;
    const lastPages = this.pages[last] as number;
    return (
      (((this.bits[last] as number) ^ bits) & ENTRY_BITS) === 0 &&
      (this.pageNumbers[last] as number) + lastPages === pageNumber &&
      (!(bits & COUNT_IN_FIELD_2) || lastPages + pages <= MAX_COUNT_IN_FIELD_2) &&
      detailsJoin(this.details?.get(last), lastPages, detail)
    );
  }

  /** Adds all runs of a batch; pieces of one entry are joined. */
  append(runs: RunBatch): void {
    for (let i = 0; i < runs.bits.length; i++) {
      const pageNumber = runs.pageNumbers[i] as number;
      this.pushOrExtend(pageNumber, runs.pages[i] as number, runs.bits[i] as number, detailOf(runs, i));
    }
  }

  private grow(): void {
    this.pageNumbers = widen(this.pageNumbers);
    this.pages = widen(this.pages);
    this.bits = widen(this.bits);
  }

  /** The runs so far; the builder must not be used afterwards. */
  finish(): RunBatch {
    return {
      pageNumbers: this.pageNumbers.subarray(0, this.length),
      pages: this.pages.subarray(0, this.length),
      bits: this.bits.subarray(0, this.length),
      ...(this.details ? { details: this.details } : {}),
      payloadBytes: this.payloadBytes,
    };
  }
}

/**
 * Whether a run with the detail `next` may go on with the entry of one of `pages` pages with the detail `last`: both are in
 * blocks of one size and the first ends with a whole one, or neither is in blocks. A verbatim entry begins one.
 */
function detailsJoin(last: RunDetail | undefined, pages: number, next: RunDetail | undefined): boolean {
  if (next?.verbatim) return false;
  const a = last?.compressed;
  const b = next?.compressed;
  if (!a || !b) return a === b;
  return (
    a.pagesPerBlock === b.pagesPerBlock &&
    pages % a.pagesPerBlock === 0 &&
    a.blockBytes.length + b.blockBytes.length <= MAX_ENTRY_BLOCKS
  );
}

function joinBlocks(first: CompressedBlocks, second: CompressedBlocks): CompressedBlocks {
  const blockBytes = new Uint32Array(first.blockBytes.length + second.blockBytes.length);
  blockBytes.set(first.blockBytes);
  blockBytes.set(second.blockBytes, first.blockBytes.length);
  return { ...first, blockBytes };
}

/** Bits that make one pagemap entry differ from another, apart from PAYLOAD_ALIGNED, which is about its beginning. */
const ENTRY_BITS = PE_MASK | SHAPE_MASK;

/**
 * Joins the pieces of one entry: a run that continues the one before it, follows it without a gap and is in the same
 * state. Entries that were apart stay apart, and so do pieces whose blocks are not of one entry.
 */
export function joinRuns(runs: RunBatch, pageSize: number): RunBatch {
  if (!runs.bits.some((bits) => (bits & CONTINUES) !== 0)) return runs;
  const joined = new RunBuilder(pageSize, runs.bits.length);
  joined.append(runs);
  return joined.finish();
}

/** Part `[from, to)` of a batch; columns are shared. */
export function sliceRuns(runs: RunBatch, from: number, to: number, pageSize: number): RunBatch {
  let payloadBytes = 0;
  for (let i = from; i < to; i++) payloadBytes += runPayloadBytes(runs, i, pageSize);
  const details = new Map<number, RunDetail>();
  for (const [i, detail] of runs.details ?? []) if (i >= from && i < to) details.set(i - from, detail);
  return {
    pageNumbers: runs.pageNumbers.subarray(from, to),
    pages: runs.pages.subarray(from, to),
    bits: runs.bits.subarray(from, to),
    ...(details.size > 0 ? { details } : {}),
    payloadBytes,
  };
}
