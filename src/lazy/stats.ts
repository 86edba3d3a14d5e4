/** What was delivered to one restore, and how fast. */
import { Times } from '../serve/stats.js';

/** Told of the same as it happens. */
export interface StatsObserver {
  copied(pages: number): void;
  fault(milliseconds: number): void;
}

/** What one restore got; times in seconds. */
export interface RestoreSummary {
  pages: number;
  bytes: number;
  faults: number;
  /** Pages that came by the order, before a task had to wait for them. */
  ordered: number;
  /** Since it connected. */
  seconds: number;
  /** From a fault until its page is there; null if there were none. */
  faultP50: number | null;
  faultP99: number | null;
}

export class LazyStats {
  readonly started = performance.now();
  /** Pages copied from the dump. */
  pages = 0;
  faults = 0;
  /** Pages that came by the order of `--order`, before a task had to wait for them. */
  ordered = 0;
  private readonly times = new Times();

  constructor(private readonly observer?: StatsObserver) {}

  copied(pages: number): void {
    this.pages += pages;
    this.observer?.copied(pages);
  }

  /** @param milliseconds from when the fault was read until its page was there */
  fault(milliseconds: number): void {
    this.faults++;
    this.times.add(milliseconds * 1e6);
    this.observer?.fault(milliseconds);
  }

  /** For programs: times in seconds. */
  summary(pageSize: number): RestoreSummary {
    const seconds = (percent: number) => (this.faults > 0 ? this.times.percentile(percent) / 1e9 : null);
    return {
      pages: this.pages,
      bytes: this.pages * pageSize,
      faults: this.faults,
      ordered: this.ordered,
      seconds: (performance.now() - this.started) / 1000,
      faultP50: seconds(50),
      faultP99: seconds(99),
    };
  }
}
