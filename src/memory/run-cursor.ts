/** Goes through runs one by one, or in parts of one: for walks over several pagemaps at a time, all of which ascend. */
import { CONTINUES, cutDetail, DETAIL, PE_PRESENT, type RunBatch, type RunDetail, storedBytes, TAKEN } from './runs.js';

/** A run, or a part of one. */
export interface RunPart {
  /** Address / page size. */
  pageNumber: number;
  pages: number;
  /** As in {@link RunBatch}; all parts of a run but its first have CONTINUES. */
  bits: number;
  detail: RunDetail | undefined;
  /** Where its payload begins and how much it is, in bytes of the payload of all runs. */
  position: number;
  payloadBytes: number;
}

/** Whether runs of these bits have payload. */
export const isStored = (bits: number): boolean => (bits & (PE_PRESENT | TAKEN)) === PE_PRESENT;

export class RunCursor {
  /** Where the cursor is: the first page of what is left of its run; beyond all pages at the end. */
  pageNumber = Number.POSITIVE_INFINITY;
  /** What is left of the run, at least one page; 0 at the end. */
  pages = 0;
  bits = 0;
  private detail: RunDetail | undefined;
  /** Bytes of payload before it. */
  private position = 0;
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
    const payloadBytes = isStored(bits) ? storedBytes(detail, pages, this.pageSize) : 0;
    this.position += payloadBytes;
    if (cut) {
      this.pageNumber += pages;
      this.pages -= pages;
      this.bits |= CONTINUES;
      this.detail = cut[1];
    } else {
      this.next();
    }
    return { pageNumber, pages, bits, detail, position, payloadBytes };
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
    this.detail = this.bits & DETAIL ? runs.details?.get(index) : undefined;
    this.index++;
  }
}
