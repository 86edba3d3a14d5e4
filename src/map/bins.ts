/**
 * Bins, a limited number of them: whenever there are twice as many as there may be, neighbors are joined. Two bins cost what
 * is no longer known of their pages when they are one: nothing if the shares of both are the same, much if large stretches
 * of different states would be mixed. So the borders that remain are those that matter.
 */
import { widen } from '../columns.js';
import { CONTENTS, STATES } from './model.js';

/** Numbers of a bin: pages by state, pages by content, changed pages. */
const CONTENT = STATES.length;
const CHANGED = CONTENT + CONTENTS.length;
const WIDTH = CHANGED + 1;

export class Bins {
  private length = 0;
  private counts = new Float64Array(64 * WIDTH);
  private areas = new Uint32Array(64);
  /** Of each bin and the next one, while they are joined. */
  private losses = new Float64Array(0);
  /** What all pages of the last bin have in common; -1 if they differ. */
  private common = -1;
  /** When there are so many, they are joined. */
  private most: number;

  /** @param limit bins that remain when they are joined */
  constructor(private readonly limit: number) {
    this.most = 2 * limit;
  }

  /**
   * Adds the next pages. `area` is that of the bin before, or greater.
   * @param content of the pages; -1 if they have no bytes, or were not read
   * @param isChanged whether they differ from those of another dump
   * @returns whether they differ from the pages before, so that a run begins
   */
  add(area: number, state: number, pages: number, content = -1, isChanged = false): boolean {
    const common = (state << 8) | ((content + 1) << 1) | Number(isChanged);
    const isSame = common === this.common && this.areas[this.length - 1] === area;
    if (!isSame) this.open(area);
    this.common = common;
    const base = (this.length - 1) * WIDTH;
    this.count(base + state, pages);
    if (content >= 0) this.count(base + CONTENT + content, pages);
    if (isChanged) this.count(base + CHANGED, pages);
    return !isSame;
  }

  private open(area: number): void {
    if (this.length >= this.most) {
      this.joinTo(this.limit);
      // There may be more areas.
      this.most = Math.max(2 * this.limit, 2 * this.length);
    }
    if (this.length === this.areas.length) this.grow();
    const base = this.length * WIDTH;
    this.counts.fill(0, base, base + WIDTH);
    this.areas[this.length++] = area;
  }

  private count(at: number, pages: number): void {
    this.counts[at] = (this.counts[at] as number) + pages;
  }

  /** Takes over new numbers of areas, which ascend as the old ones did. */
  renumber(numbers: Uint32Array): void {
    for (let i = 0; i < this.length; i++) this.areas[i] = numbers[this.areas[i] as number] as number;
  }

  /** Joins neighbors in the same area until there are `target`, or one for each area. */
  joinTo(target: number): void {
    this.common = -1;
    while (this.length > target) {
      this.countLosses();
      const most = smallest(this.losses, this.length, (this.length - target) / this.length);
      if (most === undefined) return;
      this.joinPairs(most);
    }
  }

  /** Of the bins of each area, in order. */
  *byArea(): Generator<{ area: number; bins: number[][]; content: number[][]; changed: number[] }> {
    for (let i = 0; i < this.length; ) {
      const area = this.areas[i] as number;
      const [bins, content, changed]: [number[][], number[][], number[]] = [[], [], []];
      for (; i < this.length && this.areas[i] === area; i++) {
        const base = i * WIDTH;
        bins.push(trimmed(this.counts.subarray(base, base + CONTENT)));
        content.push(trimmed(this.counts.subarray(base + CONTENT, base + CHANGED)));
        changed.push(this.counts[base + CHANGED] as number);
      }
      yield { area, bins, content, changed };
    }
  }

  /** What is lost when a bin and the next one become one; infinite if they are in different areas. */
  private countLosses(): void {
    if (this.losses.length < this.length) this.losses = new Float64Array(this.areas.length);
    const { losses } = this;
    let own = this.disorder(0, 0);
    for (let i = 0; i < this.length; i++) {
      losses[i] = Number.POSITIVE_INFINITY;
      if (i + 1 === this.length) break;
      const next = this.disorder(i + 1, i + 1);
      if (this.areas[i] === this.areas[i + 1]) losses[i] = Math.max(0, this.disorder(i, i + 1) - own - next);
      own = next;
    }
  }

  /** What is not known of the pages of one or two bins: their entropy, in nats. */
  private disorder(first: number, last: number): number {
    const { counts } = this;
    const a = first * WIDTH;
    const b = last * WIDTH;
    const isOne = first === last;
    let disorder = 0;
    let pages = 0;
    let read = 0;
    for (let column = 0; column < WIDTH; column++) {
      const n = (counts[a + column] as number) + (isOne ? 0 : (counts[b + column] as number));
      if (n === 0) continue;
      disorder -= timesLog(n);
      if (column < CONTENT) pages += n;
      else if (column < CHANGED) read += n;
      else disorder -= timesLog(pages - n) - timesLog(pages);
    }
    return disorder + 2 * timesLog(pages) - timesLog(pages - read);
  }

  /** Joins pairs that lose no more than `most`, each bin with one other at most, so that no stretch becomes one bin at once. */
  private joinPairs(most: number): void {
    const { counts, areas, losses } = this;
    let to = 0;
    for (let from = 0; from < this.length; from++, to++) {
      for (let column = 0; to < from && column < WIDTH; column++) {
        counts[to * WIDTH + column] = counts[from * WIDTH + column] as number;
      }
      areas[to] = areas[from] as number;
      const loss = losses[from] as number;
      if (loss > most || loss === Number.POSITIVE_INFINITY) continue;
      from++;
      for (let column = 0; column < WIDTH; column++) {
        this.count(to * WIDTH + column, counts[from * WIDTH + column] as number);
      }
    }
    this.length = to;
  }

  private grow(): void {
    this.areas = widen(this.areas);
    this.counts = widen(this.counts);
  }
}

/** So many numbers are sorted at most. */
const SAMPLE = 2048;

/**
 * A number that about `share` of the first `length` numbers do not exceed, and at least one; undefined if all are infinite.
 */
function smallest(numbers: Float64Array, length: number, share: number): number | undefined {
  let finite = 0;
  for (let i = 0; i < length; i++) if ((numbers[i] as number) < Number.POSITIVE_INFINITY) finite++;
  if (finite === 0) return undefined;
  const every = Math.ceil(finite / SAMPLE);
  const sample: number[] = [];
  for (let i = 0, seen = 0; i < length; i++) {
    const number = numbers[i] as number;
    if (number < Number.POSITIVE_INFINITY && seen++ % every === 0) sample.push(number);
  }
  sample.sort((a, b) => a - b);
  const wanted = Math.floor(((share * length) / finite) * sample.length);
  return sample[Math.min(sample.length, Math.max(1, wanted)) - 1];
}

/** n log n of the numbers that are most often asked for: a logarithm takes most of the time otherwise. */
const TABLE = Float64Array.from({ length: 4096 }, (_, n) => (n > 0 ? n * Math.log(n) : 0));

const timesLog = (n: number): number => (n < TABLE.length ? (TABLE[n] as number) : n * Math.log(n));

/** Without the zeros at its end. */
function trimmed(counts: Float64Array): number[] {
  let length = counts.length;
  while (length > 0 && counts[length - 1] === 0) length--;
  return Array.from(counts.subarray(0, length));
}
