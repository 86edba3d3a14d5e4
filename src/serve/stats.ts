/** What one client had, for the line at its end and for metrics. */
import { createHistogram, type RecordableHistogram } from 'node:perf_hooks';

export class ClientStats {
  readonly started = performance.now();
  requests = 0;
  pages = 0;
  bytes = 0;
  /** Requests of one page, which a fault makes; all others are the background sweep. */
  faults = 0;
  background = 0;
  /** Nanoseconds from the request to its answer in the hands of the kernel. */
  readonly answerTime: RecordableHistogram = createHistogram();

  add(askedPages: number, pages: number, bytes: number, milliseconds: number): void {
    this.requests++;
    this.pages += pages;
    this.bytes += bytes;
    if (askedPages === 1) this.faults++;
    else this.background++;
    this.answerTime.record(Math.max(1, Math.round(milliseconds * 1e6)));
  }

  /** For programs: sizes in bytes, times in seconds. */
  summary() {
    const seconds = (percentile: number) => (this.requests === 0 ? null : this.answerTime.percentile(percentile) / 1e9);
    return {
      pages: this.pages,
      bytes: this.bytes,
      requests: this.requests,
      faults: this.faults,
      background: this.background,
      seconds: (performance.now() - this.started) / 1000,
      answerP50: seconds(50),
      answerP99: seconds(99),
    };
  }
}
