/** Pages that threads wait for, and since when: columns, so that a fault makes no object. */
import { widen } from '../columns.js';

export class FaultQueue {
  length = 0;
  /** Page numbers, and when they were asked for, in ms. */
  pages = new Float64Array(16);
  times = new Float64Array(16);

  push(page: number, since: number): void {
    if (this.length === this.pages.length) {
      this.pages = widen(this.pages);
      this.times = widen(this.times);
    }
    this.pages[this.length] = page;
    this.times[this.length++] = since;
  }

  has(page: number): boolean {
    return this.pages.subarray(0, this.length).includes(page);
  }

  /** Drops those for which the function is false. */
  keep(isKept: (page: number, since: number) => boolean): void {
    const { pages, times, length } = this;
    this.length = 0;
    for (let i = 0; i < length; i++) {
      const [page, since] = [pages[i] as number, times[i] as number];
      if (isKept(page, since)) this.push(page, since);
    }
  }
}
