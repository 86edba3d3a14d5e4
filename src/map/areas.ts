/**
 * Areas, a limited number of them: whenever there are twice as many as there may be, neighbors in one space are joined to
 * groups, the smallest first, and those of one kind before others.
 */
import type { Kind } from '../memory/vma.js';

/** An area, or a group. Page numbers; what differs in a group is undefined. */
export interface AreaRow {
  space: number;
  areas: number;
  start: number;
  end: number;
  pages: number;
  kind: Kind | undefined;
  flags: string | undefined;
  file: string | undefined;
  /** Pages. */
  offset: number | undefined;
  segment: number | undefined;
}

export class AreaRows {
  rows: AreaRow[] = [];
  private most: number;

  /** @param limit areas that remain when they are joined */
  constructor(private readonly limit: number) {
    this.most = 2 * limit;
  }

  /**
   * Adds the next area of the last space, or the first one of a new space.
   * @returns its number, and if areas were joined the new numbers of the others
   */
  add(row: AreaRow): { number: number; renumbered: Uint32Array | undefined } {
    let renumbered: Uint32Array | undefined;
    if (this.rows.length >= this.most) {
      renumbered = this.joinTo(this.limit);
      // There may be more spaces.
      this.most = Math.max(2 * this.limit, 2 * this.rows.length);
    }
    return { number: this.rows.push(row) - 1, renumbered };
  }

  /** Joins neighbors until there are `target`, or one for each space. Returns the new numbers. */
  joinTo(target: number): Uint32Array {
    const numbers = Uint32Array.from(this.rows.keys());
    while (this.rows.length > target) {
      const costs = Float64Array.from(this.rows, (row, i) => joinCost(row, this.rows[i + 1]));
      const most = costs.slice().sort()[this.rows.length - target - 1] as number;
      const joined: AreaRow[] = [];
      const next = new Uint32Array(this.rows.length);
      for (let i = 0; i < this.rows.length; i++) {
        next[i] = joined.length;
        const row = this.rows[i] as AreaRow;
        const cost = costs[i] as number;
        if (cost <= most && cost < Number.POSITIVE_INFINITY) {
          next[++i] = joined.length;
          joined.push(join(row, this.rows[i] as AreaRow));
        } else joined.push(row);
      }
      if (joined.length === this.rows.length) break;
      for (const [i, number] of numbers.entries()) numbers[i] = next[number] as number;
      this.rows = joined;
    }
    return numbers;
  }
}

/** Areas of one kind, and parts of one file, belong together. */
const OTHER_KIND = 8;
const OTHER_FILE = 2;

function joinCost(a: AreaRow, b: AreaRow | undefined): number {
  if (b === undefined || a.space !== b.space) return Number.POSITIVE_INFINITY;
  return (a.pages + b.pages) * (a.kind === b.kind ? 1 : OTHER_KIND) * (a.file === b.file ? 1 : OTHER_FILE);
}

function join(a: AreaRow, b: AreaRow): AreaRow {
  const same = <K extends keyof AreaRow>(key: K): AreaRow[K] | undefined => (a[key] === b[key] ? a[key] : undefined);
  return {
    space: a.space,
    areas: a.areas + b.areas,
    start: a.start,
    end: b.end,
    pages: a.pages + b.pages,
    kind: same('kind'),
    flags: same('flags'),
    file: same('file'),
    offset: undefined,
    segment: same('segment'),
  };
}
