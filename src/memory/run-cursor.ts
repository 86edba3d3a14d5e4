/** Walks over runs, which ascend, one by one or in parts: to cut them, or to compare several pagemaps. */
import { payloadStart } from './pages-layout.js';
import {
  CONTINUES,
  detailOf,
  hasPayload,
  PAYLOAD_ALIGNED,
  type RunBatch,
  type RunBuilder,
  type RunDetail,
  storedBytes,
} from './runs.js';

/** A run, or a part of one. */
export interface RunPart {
  /** Address / page size. */
  pageNumber: number;
  pages: number;
  /** As in {@link RunBatch}; all parts of a run but its first have CONTINUES, and none of them PAYLOAD_ALIGNED. */
  bits: number;
  detail: RunDetail | undefined;
  /** Position of its payload in that of all runs, and its length, in bytes. */
  position: number;
  payloadBytes: number;
  /** Position of its payload in the pages file of all runs, in bytes: padding counts. */
  fileOffset: number;
}

/** What says how a run continues the one before it: each part of a run has its own. */
const PIECE_BITS = CONTINUES | PAYLOAD_ALIGNED;

export class RunCursor {
  /** The first page of what is left of the current run; beyond all pages at the end. */
  pageNumber = Number.POSITIVE_INFINITY;
  /** Pages left of the run, at least one; 0 at the end. */
  pages = 0;
  bits = 0;
  private detail: RunDetail | undefined;
  /** Bytes of payload before it, and of the pages file. */
  private position = 0;
  private fileEnd = 0;
  private readonly batches: Iterator<RunBatch>;
  private runs: RunBatch | undefined;
  private index = 0;

  /** @param batches of one address space, ascending */
  constructor(
    batches: Iterable<RunBatch>,
    private readonly pageSize: number,
  ) {
    this.batches = batches[Symbol.iterator]();
    this.next();
  }

  /** Whether all runs have been taken. */
  get ended(): boolean {
    return this.pages === 0;
  }

  /** First page after the run. */
  get end(): number {
    return this.pageNumber + this.pages;
  }

  /** Pages in a compressed block of the run, which can be cut at a multiple of them alone; 1 where it is not compressed. */
  get blockPages(): number {
    return this.detail?.compressed?.pagesPerBlock ?? 1;
  }

  /**
   * Takes the first `pages` pages of the run, at most all that are left of it.
   * @returns undefined, and takes nothing, if that would cut a compressed block
   */
  take(pages: number): RunPart | undefined {
    const { pageNumber, bits, position } = this;
    const isAll = pages === this.pages;
    const cut = isAll ? undefined : cutDetail(this.detail, pages);
    if (!isAll && !cut) return undefined;
    const detail = cut ? cut[0] : this.detail;
    const payloadBytes = hasPayload(bits) ? storedBytes(detail, pages, this.pageSize) : 0;
    const fileOffset = payloadStart(bits, this.fileEnd, this.pageSize);
    this.position += payloadBytes;
    this.fileEnd = fileOffset + payloadBytes;
    if (cut) {
      this.pageNumber += pages;
      this.pages -= pages;
      this.bits = (bits & ~PAYLOAD_ALIGNED) | CONTINUES;
      this.detail = cut[1];
    } else {
      this.next();
    }
    return { pageNumber, pages, bits, detail, position, payloadBytes, fileOffset };
  }

  /**
   * Adds the run up to the page `stop` to `out`, with other bits if they are given.
   * @returns false, and moves nothing, if that would cut a compressed block
   */
  moveTo(stop: number, out: RunBuilder, bits = this.bits): boolean {
    const part = this.take(stop - this.pageNumber);
    if (!part) return false;
    out.push(part.pageNumber, part.pages, (bits & ~PIECE_BITS) | (part.bits & PIECE_BITS), part.detail);
    return true;
  }

  private next(): void {
    while (!this.runs || this.index === this.runs.bits.length) {
      const { value, done } = this.batches.next();
      if (done) {
        this.pageNumber = Number.POSITIVE_INFINITY;
        this.pages = 0;
        return;
      }
      this.runs = value;
      this.index = 0;
    }
    const { runs, index } = this;
    this.pageNumber = runs.pageNumbers[index] as number;
    this.pages = runs.pages[index] as number;
    this.bits = runs.bits[index] as number;
    this.detail = detailOf(runs, index);
    this.index++;
  }
}

/**
 * Cuts the detail of a run at `page` pages from its start. The first piece keeps the verbatim entry: it counts again
 * if the pieces are joined, since an encoder uses it only where it says what the columns say.
 * @returns the two details, or undefined if the cut would fall inside a compressed block
 */
export function cutDetail(
  detail: RunDetail | undefined,
  page: number,
): [RunDetail | undefined, RunDetail | undefined] | undefined {
  if (!detail?.compressed) return [detail, undefined];
  const { pagesPerBlock, blockBytes } = detail.compressed;
  if (page % pagesPerBlock !== 0) return undefined;
  const block = page / pagesPerBlock;
  const part = (bytes: Uint32Array): RunDetail => ({
    compressed: { pagesPerBlock, blockBytes: bytes },
  });
  return [{ ...detail, ...part(blockBytes.subarray(0, block)) }, part(blockBytes.subarray(block))];
}
