/** A queue that gives out its first element at a constant cost. `Array.shift` moves all the others, which is quadratic. */

/** Elements that have been taken stay in the array until so many of them are in front. */
const MIN_TAKEN = 1024;

export class Fifo<T> {
  private items: (T | undefined)[] = [];
  private taken = 0;

  get isEmpty(): boolean {
    return this.taken === this.items.length;
  }

  push(item: T): void {
    this.items.push(item);
  }

  /** Takes out the first element; undefined if there is none. */
  take(): T | undefined {
    if (this.isEmpty) return undefined;
    const item = this.items[this.taken];
    this.items[this.taken++] = undefined;
    if (this.taken >= MIN_TAKEN && 2 * this.taken >= this.items.length) {
      this.items = this.items.slice(this.taken);
      this.taken = 0;
    }
    return item;
  }
}
