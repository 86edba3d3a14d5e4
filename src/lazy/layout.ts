/**
 * Where a task has the pages of its dump: at their old addresses, until it moves, drops or unmaps some. Ranges of page numbers,
 * of which each page of the dump is in at most one.
 */
import { lowerBound } from '../columns.js';

/** Pages of the dump that follow each other in the task as well. */
export interface Range {
  /** First page number in the task. */
  at: number;
  /** First page number in the dump. */
  source: number;
  pages: number;
}

/** A range to be filled in: who looks for one page after the other uses the same object. */
export const newRange = (): Range => ({ at: 0, source: 0, pages: 0 });

/** All page numbers there are: an address is a u64. */
const ALL_PAGES = 2 ** 52;

export class Layout {
  /** The same ranges, ascending by either side. */
  private readonly byPlace: Range[];
  private readonly bySource: Range[];

  constructor(ranges: readonly Range[] = [{ at: 0, source: 0, pages: ALL_PAGES }]) {
    this.byPlace = [...ranges].sort((a, b) => a.at - b.at);
    this.bySource = [...ranges].sort((a, b) => a.source - b.source);
  }

  /** A copy, as fork makes one. */
  copy(): Layout {
    return new Layout(this.byPlace);
  }

  /** The part of a range of the task from its first page on that lies in one range; undefined if that page is in none. */
  at(page: number, pages: number, into = newRange()): Range | undefined {
    return part(find(this.byPlace, page, placeOf), page, pages, placeOf, into);
  }

  /** The same for pages of the dump. */
  of(source: number, pages: number, into = newRange()): Range | undefined {
    return part(find(this.bySource, source, sourceOf), source, pages, sourceOf, into);
  }

  /** Takes out a range of the task. Returns what the dump had there. */
  remove(page: number, pages: number): Range[] {
    const end = page + pages;
    const removed: Range[] = [];
    for (let i = lowerBound(this.byPlace.length, (at) => endOf(this.byPlace[at] as Range) <= page); ; ) {
      const range = this.byPlace[i];
      if (!range || range.at >= end) return removed;
      const first = Math.max(range.at, page);
      const last = Math.min(endOf(range), end);
      const rest = [cut(range, range.at, first), cut(range, last, endOf(range))].filter(({ pages }) => pages > 0);
      this.byPlace.splice(i, 1, ...rest);
      this.bySource.splice(indexOf(this.bySource, range.source, sourceOf), 1, ...rest);
      removed.push(cut(range, first, last));
      i += rest.length;
    }
  }

  /**
   * Moves a range of the task. Returns what was at its new place before.
   * @returns ranges that no longer have a place
   */
  move(from: number, to: number, pages: number): Range[] {
    const moved = this.remove(from, pages);
    const lost = this.remove(to, pages);
    for (const range of moved) {
      const placed = { ...range, at: range.at - from + to };
      insert(this.byPlace, placed, placeOf);
      insert(this.bySource, placed, sourceOf);
    }
    return lost;
  }
}

type Side = (range: Range) => number;
const placeOf: Side = ({ at }) => at;
const sourceOf: Side = ({ source }) => source;
const endOf = ({ at, pages }: Range): number => at + pages;

const indexOf = (ranges: readonly Range[], start: number, side: Side): number =>
  lowerBound(ranges.length, (i) => side(ranges[i] as Range) < start);

function insert(ranges: Range[], range: Range, side: Side): void {
  ranges.splice(indexOf(ranges, side(range), side), 0, range);
}

/** The range that has a page on this side. */
function find(ranges: readonly Range[], page: number, side: Side): Range | undefined {
  // Most tasks move nothing.
  const index = ranges.length === 1 ? 0 : lowerBound(ranges.length, (i) => side(ranges[i] as Range) <= page) - 1;
  const range = ranges[index];
  if (range && page < side(range)) return undefined;
  return range && page < side(range) + range.pages ? range : undefined;
}

function part(range: Range | undefined, page: number, pages: number, side: Side, into: Range): Range | undefined {
  if (!range) return undefined;
  const skipped = page - side(range);
  into.at = range.at + skipped;
  into.source = range.source + skipped;
  into.pages = Math.min(pages, range.pages - skipped);
  return into;
}

/** The pages of a range from one place to another. */
const cut = (range: Range, from: number, to: number): Range => ({
  at: from,
  source: range.source + (from - range.at),
  pages: to - from,
});
