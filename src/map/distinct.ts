/**
 * Counts different pages in limited memory. Each page has a number made of its bytes, and the numbers are kept in a set. When
 * the set is full, only numbers that end in one more zero bit are kept, so it is a fair sample: each stands for two, four and
 * so on. Until then the count is exact, but for pages that share a number by chance. What is kept depends on the numbers
 * alone and not on their order, so counts of parts can be added up.
 */

const FIRST_SLOTS = 1 << 12;
/** The largest table has 8 MiB, for half as many numbers: those of 2 GiB of pages of 4 KiB. */
const MOST_SLOTS = 1 << 20;

export class DistinctCount {
  /** A slot has a number plus 1, or 0. */
  private slots = new Float64Array(FIRST_SLOTS);
  private size = 0;
  /** Numbers that are kept are multiples of this. */
  private every = 1;

  /** @param mostSlots a power of two */
  constructor(private readonly mostSlots = MOST_SLOTS) {}

  /** @param number below 2^53, whose low bits are as good as random */
  add(number: number): void {
    if (number % this.every !== 0) return;
    this.insert(number);
    while (this.size * 2 > this.slots.length) {
      const isLargest = this.slots.length >= this.mostSlots;
      this.keep(isLargest ? this.every * 2 : this.every, isLargest ? this.slots.length : this.slots.length * 4);
    }
  }

  /** Keeps no more than another count that did not keep all: then the numbers of both can be added. */
  keepEvery(every: number): void {
    if (every > this.every) this.keep(every, this.slots.length);
  }

  private keep(every: number, slots: number): void {
    const old = this.slots;
    this.every = every;
    this.slots = new Float64Array(slots);
    this.size = 0;
    for (const kept of old) if (kept !== 0 && (kept - 1) % every === 0) this.insert(kept - 1);
  }

  /** The numbers that are kept. */
  *numbers(): Generator<number> {
    for (const kept of this.slots) if (kept !== 0) yield kept - 1;
  }

  /** How many numbers each one that is kept stands for. */
  get share(): number {
    return this.every;
  }

  get count(): number {
    return this.size * this.every;
  }

  get isExact(): boolean {
    return this.every === 1;
  }

  private insert(number: number): void {
    const { slots } = this;
    const mask = slots.length - 1;
    // The low bits may be zeros.
    for (let i = Math.floor(number / 2 ** 21) & mask; ; i = (i + 1) & mask) {
      if (slots[i] === number + 1) return;
      if (slots[i] !== 0) continue;
      slots[i] = number + 1;
      this.size++;
      return;
    }
  }
}
