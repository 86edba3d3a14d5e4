/**
 * The pages of one task that a restore leaves out, as runs: consecutive pages in one area. Each page has an ordinal, its
 * index among all of them, so a bit per page says whether it has been delivered. Of a dump that arrives, the first ones are
 * known earlier.
 */
import { lowerBound, widen } from '../columns.js';

export class LazyRuns {
  /** Columns: first page number, pages, ordinal of the first page. */
  readonly pageNumbers: Float64Array;
  readonly pages: Float64Array;
  readonly ordinals: Float64Array;
  /** Of all runs. */
  readonly totalPages: number;

  private constructor(
    pageNumbers: Float64Array,
    pages: Float64Array,
    /** Page number behind what is known. */
    readonly knownTo: number,
  ) {
    this.pageNumbers = pageNumbers;
    this.pages = pages;
    this.ordinals = new Float64Array(pages.length);
    let total = 0;
    for (let i = 0; i < pages.length; i++) {
      this.ordinals[i] = total;
      total += pages[i] as number;
    }
    this.totalPages = total;
  }

  /**
   * @param ranges ascending: first page number, pages, and whether it continues the range before it in the same area
   * @param knownTo page number from which on there may be more
   */
  static of(
    ranges: Iterable<readonly [pageNumber: number, pages: number, continues: boolean]>,
    knownTo = Number.POSITIVE_INFINITY,
  ): LazyRuns {
    let pageNumbers = new Float64Array(16);
    let pages = new Float64Array(16);
    let length = 0;
    for (const [pageNumber, count, continues] of ranges) {
      if (continues && length > 0) {
        pages[length - 1] = (pages[length - 1] as number) + count;
        continue;
      }
      if (length === pages.length) {
        pageNumbers = widen(pageNumbers);
        pages = widen(pages);
      }
      pageNumbers[length] = pageNumber;
      pages[length++] = count;
    }
    return new LazyRuns(pageNumbers.slice(0, length), pages.slice(0, length), knownTo);
  }

  get length(): number {
    return this.pages.length;
  }

  /** Page number behind a run. */
  endOf(run: number): number {
    return (this.pageNumbers[run] as number) + (this.pages[run] as number);
  }

  /** Index of the first run that ends behind a page. */
  firstEndingAfter(pageNumber: number): number {
    return lowerBound(this.length, (run) => this.endOf(run) <= pageNumber);
  }

  /** Undefined for a page that is in no run. */
  ordinalOf(pageNumber: number): number | undefined {
    const run = this.firstEndingAfter(pageNumber);
    const start = this.pageNumbers[run];
    return start !== undefined && start <= pageNumber ? (this.ordinals[run] as number) + pageNumber - start : undefined;
  }

  /** Runs by descending number of pages. */
  bySize(): Uint32Array {
    const { pages } = this;
    return new Uint32Array(this.length).map((_, i) => i).sort((a, b) => (pages[b] as number) - (pages[a] as number));
  }
}
