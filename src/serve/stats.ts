/** What one client had, for the line at its end and for metrics. */

/** Buckets for each doubling of a time: a percentile is at most 9 % too large. */
const STEPS = 8;
/** Doublings from a nanosecond: up to 18 minutes. */
const DOUBLINGS = 40;

/** Times in buckets. A histogram of `node:perf_hooks` takes 200 KiB, and many short connections have one each. */
export class Times {
  private count = 0;
  private readonly buckets = new Uint32Array(STEPS * DOUBLINGS);

  add(nanoseconds: number): void {
    const bucket = Math.floor(Math.log2(Math.max(1, nanoseconds)) * STEPS);
    const last = this.buckets.length - 1;
    this.buckets[Math.min(bucket, last)] = (this.buckets[Math.min(bucket, last)] as number) + 1;
    this.count++;
  }

  /** The value in nanoseconds that this percentage of all times does not exceed. */
  percentile(percent: number): number {
    let left = (this.count * percent) / 100;
    const bucket = this.buckets.findIndex((count) => {
      left -= count;
      return left <= 0;
    });
    return 2 ** ((bucket + 1) / STEPS);
  }
}

export class ClientStats {
  readonly started = performance.now();
  requests = 0;
  pages = 0;
  bytes = 0;
  /** Requests of one page, which a fault makes; all others are the background sweep. */
  faults = 0;
  background = 0;
  /** From a request until the kernel has its answer. */
  private answerTimes: Times | undefined;

  add(askedPages: number, pages: number, bytes: number, milliseconds: number): void {
    this.requests++;
    this.pages += pages;
    this.bytes += bytes;
    if (askedPages === 1) this.faults++;
    else this.background++;
    this.answerTimes ??= new Times();
    this.answerTimes.add(milliseconds * 1e6);
  }

  /** For programs: sizes in bytes, times in seconds. */
  summary() {
    const seconds = (percent: number) => (this.answerTimes ? this.answerTimes.percentile(percent) / 1e9 : null);
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
