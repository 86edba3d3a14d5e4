/** The pages that one task still waits for, and where it wants them. Pure bookkeeping: nothing is read or copied here. */
import { invariant } from '../errors.js';
import { Layout, newRange, type Range } from './layout.js';
import type { LazyRuns } from './lazy-runs.js';

export class PendingPages {
  /** Pages that wait. */
  left: number;

  private constructor(
    private runs: LazyRuns,
    private readonly layout: Layout,
    /** A bit for each ordinal: delivered, or no longer wanted. */
    private done: Uint32Array,
    left: number,
    /**
     * Runs in the order of the sweep; undefined for their own, in which they arrive. Where it has come to: a run in this order,
     * and a page in it.
     */
    private readonly order: Uint32Array | undefined,
    private sweptRuns = 0,
    private sweptPages = 0,
    /** A bit for each ordinal: done, or asked for, so that the sweep need not. Only if pages are asked for. */
    private asked: Uint32Array | undefined = undefined,
  ) {
    this.left = left;
  }

  /** @param arrives whether the pages arrive one after the other */
  static of(runs: LazyRuns, arrives = false): PendingPages {
    const done = new Uint32Array(Math.ceil(runs.totalPages / 32));
    return new PendingPages(runs, new Layout(), done, runs.totalPages, arrives ? undefined : runs.bySize());
  }

  /**
   * More is known of a dump that arrives.
   * @param runs the same, and what comes behind
   */
  grow(runs: LazyRuns): void {
    const { layout, runs: known } = this;
    if (runs === known) return;
    invariant(!this.order, 'the pages of a dump that arrives are delivered in their order');
    this.runs = runs;
    const done = new Uint32Array(Math.ceil(runs.totalPages / 32));
    done.set(this.done);
    this.done = done;
    this.left += runs.totalPages - known.totalPages;
    // The last run may have become longer.
    if (this.sweptRuns === known.length) [this.sweptRuns, this.sweptPages] = [Math.max(0, known.length - 1), 0];
    // What the task has unmapped or forgotten meanwhile is not wanted.
    for (let run = Math.max(0, known.length - 1); run < runs.length; run++) {
      for (let page = Math.max(runs.pageNumbers[run] as number, known.knownTo); page < runs.endOf(run); ) {
        const place = layout.of(page, runs.endOf(run) - page);
        if (!place) this.settle(page, 1);
        page += place?.pages ?? 1;
      }
    }
  }

  /** Whether all has been delivered, and nothing can become known any more. */
  get isComplete(): boolean {
    return this.left === 0 && this.runs.knownTo === Number.POSITIVE_INFINITY;
  }

  /** Whether it is known what belongs at a page of the task. */
  isKnown(page: number): boolean {
    return (this.layout.at(page, 1)?.source ?? 0) < this.runs.knownTo;
  }

  /** Whether it is known of a page of the dump whether it is there. */
  isSourceKnown(source: number): boolean {
    return source < this.runs.knownTo;
  }

  /** Those of a child at a fork: the same. */
  fork(): PendingPages {
    const { runs, layout, done, left, order, sweptRuns, sweptPages, asked } = this;
    return new PendingPages(runs, layout.copy(), done.slice(), left, order, sweptRuns, sweptPages, asked?.slice());
  }

  /**
   * The waiting pages from a page of the task on that follow each other, at most `most` of them.
   * @param into is filled in and returned
   * @returns undefined if that page does not wait
   */
  at(page: number, most: number, into = newRange()): Range | undefined {
    const range = this.layout.at(page, most, into);
    return range && this.waiting(range);
  }

  /** The same from a page of the dump on. */
  of(source: number, most: number, into = newRange()): Range | undefined {
    const range = this.layout.of(source, most, into);
    return range && this.waiting(range);
  }

  /** How many pages from a page of the task on, at most `most`, the dump has nothing for: they are zeros. */
  zerosAt(page: number, most: number): number {
    let zeros = 0;
    while (zeros < most && this.isZero(page + zeros)) zeros++;
    return zeros;
  }

  private isZero(page: number): boolean {
    const source = this.layout.at(page, 1)?.source;
    return source === undefined || (source < this.runs.knownTo && this.runs.ordinalOf(source) === undefined);
  }

  /** The next waiting pages of the sweep, largest run first; undefined if none is left. */
  next(most: number, into = newRange()): Range | undefined {
    const { runs, order } = this;
    for (; this.sweptRuns < runs.length; this.sweptRuns++, this.sweptPages = 0) {
      const run = order ? (order[this.sweptRuns] as number) : this.sweptRuns;
      const pages = runs.pages[run] as number;
      const first = runs.ordinals[run] as number;
      this.sweptPages = this.nextOpen(first + this.sweptPages, first + pages) - first;
      if (this.sweptPages === pages) continue;
      const range = this.of((runs.pageNumbers[run] as number) + this.sweptPages, most, into);
      if (range) range.pages = this.unasked(first + this.sweptPages, range.pages);
      return range;
    }
    return undefined;
  }

  /** A page that waits, for messages. */
  firstWaiting(): Range | undefined {
    const { runs } = this;
    for (let run = 0; run < runs.length; run++) {
      const start = runs.pageNumbers[run] as number;
      for (let page = start; page < runs.endOf(run); page++) {
        const range = this.of(page, 1);
        if (range) return range;
      }
    }
    return undefined;
  }

  /** How many from an ordinal on have not been asked for; the first has not. */
  private unasked(ordinal: number, most: number): number {
    const { asked } = this;
    let pages = 1;
    while (pages < most && !(asked && hasBit(asked, ordinal + pages))) pages++;
    return pages;
  }

  /** These waiting pages of the dump have been asked for: {@link next} leaves them out from now on. */
  ask(source: number, pages: number): void {
    this.asked ??= this.done.slice();
    const first = this.runs.ordinalOf(source) as number;
    for (let ordinal = first; ordinal < first + pages; ordinal++) setBit(this.asked, ordinal);
  }

  /** These pages of the dump have been delivered, or are no longer wanted. Returns how many had waited. */
  settle(source: number, pages: number): number {
    const { runs } = this;
    const end = source + pages;
    let settled = 0;
    for (let run = runs.firstEndingAfter(source); run < runs.length; run++) {
      const start = runs.pageNumbers[run] as number;
      if (start >= end) break;
      const first = (runs.ordinals[run] as number) - start;
      settled += this.set(first + Math.max(start, source), first + Math.min(runs.endOf(run), end));
    }
    this.left -= settled;
    return settled;
  }

  /** Pages of the task became zeros, or are gone. */
  remove(page: number, pages: number): void {
    for (const range of this.layout.remove(page, pages)) this.settle(range.source, range.pages);
  }

  move(from: number, to: number, pages: number): void {
    for (const range of this.layout.move(from, to, pages)) this.settle(range.source, range.pages);
  }

  /** The waiting pages at the start of a range. */
  private waiting(range: Range): Range | undefined {
    const ordinal = this.runs.ordinalOf(range.source);
    if (ordinal === undefined) return undefined;
    const run = this.runs.firstEndingAfter(range.source);
    const end = Math.min(ordinal + range.pages, ordinal + this.runs.endOf(run) - range.source);
    let stop = ordinal;
    while (stop < end && !this.isDone(stop)) stop++;
    range.pages = stop - ordinal;
    return stop === ordinal ? undefined : range;
  }

  private isDone(ordinal: number): boolean {
    return hasBit(this.done, ordinal);
  }

  /** The first ordinal from `from` on, below `to`, whose page waits; `to` if none does. */
  private nextOpen(from: number, to: number): number {
    const { done, asked = done } = this;
    let at = from;
    while (at < to && (hasBit(done, at) || hasBit(asked, at))) {
      // Whole words at once, where all is done.
      at = at % 32 === 0 && done[at / 32] === 0xffffffff ? at + 32 : at + 1;
    }
    return Math.min(at, to);
  }

  private set(from: number, to: number): number {
    let set = 0;
    for (let ordinal = from; ordinal < to; ordinal++) {
      if (this.isDone(ordinal)) continue;
      setBit(this.done, ordinal);
      set++;
    }
    return set;
  }
}

const hasBit = (bits: Uint32Array, i: number): boolean =>
  ((bits[Math.floor(i / 32)] as number) & (1 << (i % 32))) !== 0;

function setBit(bits: Uint32Array, i: number): void {
  const word = Math.floor(i / 32);
  bits[word] = (bits[word] as number) | (1 << (i % 32));
}
