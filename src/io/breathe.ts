/** Lets signals and timers have their turn in a loop that does its I/O synchronously. */

/** How long such a loop may keep the event loop waiting, in ms. */
const MAX_HOLD_MS = 20;

export class Breather {
  private since = Date.now();

  /** A promise to wait for, if it is time. */
  due(): Promise<void> | undefined {
    if (Date.now() - this.since < MAX_HOLD_MS) return undefined;
    return new Promise((resolve) => {
      setImmediate(() => {
        this.since = Date.now();
        resolve();
      });
    });
  }
}
