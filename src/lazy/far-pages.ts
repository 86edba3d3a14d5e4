/**
 * Pages that take long to come, each however few there are, as those in an object store do. So nothing waits for them but who
 * needs them: they are asked for, and delivered when they are here. Those of an order are known before anybody needs them: they
 * are asked for ahead, many at a time, together with the pages in small gaps between them.
 */
import type { PayloadFile } from '../bytes.js';
import { type AddressSpace, storedRange } from '../memory/space.js';
import type { DumpMemory } from '../serve/memory.js';
import type { LazyRuns } from './lazy-runs.js';
import { PageOrder } from './order.js';

/** Pages of the order that are looked at together. */
const BATCH_PAGES = 8192;
/** Asking once more takes as long as so many bytes. */
const GAP_BYTES = 128 * 1024;
/** Bytes that come with one request. */
const PIECE_BYTES = 1024 * 1024;

/** Pages of a task from start to end. */
interface Piece {
  pid: number;
  start: number;
  end: number;
  /** Index in the order of the page that is needed first. */
  first: number;
}

export class FarPages {
  /** Called when something has come. */
  onChange: (() => void) | undefined;
  private preparedTo = 0;
  private readonly awaited = new Set<Promise<void>>();

  /** @param runs the lazy pages of a task */
  constructor(
    private readonly memory: DumpMemory,
    private readonly runs: (pid: number) => LazyRuns | undefined,
  ) {}

  /** The order in which pages are delivered so that they come soonest. */
  gathered(order: PageOrder): PageOrder {
    const gathered = new PageOrder();
    const known = new Map<number, Uint8Array>();
    const add = (pid: number, page: number) => {
      const runs = this.runs(pid);
      const ordinal = runs?.ordinalOf(page);
      if (!runs || ordinal === undefined) return;
      const isKnown = known.get(pid) ?? new Uint8Array(runs.totalPages);
      known.set(pid, isKnown);
      if (isKnown[ordinal] === 0) gathered.push(pid, page);
      isKnown[ordinal] = 1;
    };
    for (let from = 0; from < order.length; from += BATCH_PAGES) {
      for (const { pid, start, end } of this.pieces(order, from)) {
        for (let page = start; page < end; page++) add(pid, page);
      }
    }
    return gathered;
  }

  /** The pages of a batch with small gaps closed, in pieces that come with one request each; what is needed first comes first. */
  private pieces(order: PageOrder, from: number): Piece[] {
    const { pageSize } = this.memory;
    const pieces: Piece[] = [];
    let piece: Piece | undefined;
    for (const { pid, page, index } of order.sorted(from, from + BATCH_PAGES)) {
      const isNear = piece?.pid === pid && (page - piece.end) * pageSize <= GAP_BYTES;
      if (piece && isNear && (page + 1 - piece.start) * pageSize <= PIECE_BYTES) {
        piece.end = page + 1;
        piece.first = Math.min(piece.first, index);
        continue;
      }
      piece = { pid, start: isNear && piece ? piece.end : page, end: page + 1, first: index };
      pieces.push(piece);
    }
    return pieces.sort((a, b) => a.first - b.first);
  }

  /**
   * Has the next pages of an order come, as far as there is room for them.
   * @param order as {@link gathered} has made it
   * @returns index behind them
   */
  announce(order: PageOrder, from: number): number {
    const to = Math.min(order.length, from + BATCH_PAGES);
    for (let index = from; index < to; ) {
      const { pid, page, pages } = order.at(index, to - index);
      index += pages;
      for (const [file, start, end] of this.places(pid, page, pages))
        file.willRead?.(Float64Array.of(start, end - start), true);
    }
    return to;
  }

  /** The same for the beginning, before anybody needs it. {@link begin} says where the rest of it begins. */
  prepare(order: PageOrder): void {
    this.preparedTo = this.announce(order, 0);
  }

  /** Who begins with the order gets what was prepared; only the first one does. */
  begin(): number {
    const { preparedTo } = this;
    this.preparedTo = 0;
    return preparedTo;
  }

  /** Whether pages can be read at once. If not, and if they are needed, they come from now on. */
  areHere(pid: number, page: number, pages: number, areNeeded: boolean): boolean {
    let areHere = true;
    for (const [file, start, end] of this.places(pid, page, pages)) {
      const arrival = file.arrival?.(start, end - start, areNeeded);
      if (!arrival) continue;
      if (!areNeeded) return false;
      areHere = false;
      if (this.awaited.has(arrival)) continue;
      this.awaited.add(arrival);
      void arrival.then(() => {
        this.awaited.delete(arrival);
        this.onChange?.();
      });
    }
    return areHere;
  }

  /** Where the stored ones of some pages are: file, and the bytes from and to. */
  private *places(pid: number, page: number, pages: number): Generator<[PayloadFile, number, number]> {
    const space = this.memory.space(pid) as AddressSpace;
    for (const span of space.locate(page, pages)) {
      const range = storedRange(span, this.memory.pageSize);
      if (range && span.at) yield [span.at.file, ...range];
    }
  }
}
