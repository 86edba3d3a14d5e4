/** Lets signals and timers run in a loop that does its I/O synchronously. */

/** Longest time that such a loop may block the event loop, in ms. */
const MAX_HOLD_MS = 20;

export class Breather {
  private since = Date.now();

  /** @param holdMs the longest time that the event loop may be blocked */
  constructor(private readonly holdMs = MAX_HOLD_MS) {}

  /** A promise to wait for, if it is time to pause. */
  due(): Promise<void> | undefined {
    if (Date.now() - this.since < this.holdMs) return undefined;
    return new Promise((resolve) => {
      setImmediate(() => {
        this.since = Date.now();
        resolve();
      });
    });
  }
}
