import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { Range } from '../../src/lazy/layout.js';
import { LazyRuns } from '../../src/lazy/lazy-runs.js';
import { PendingPages } from '../../src/lazy/pending.js';

/** Pages of the dump, and of the task. */
const PAGES = 200;

/** The same, as plain as can be: for each page of the task the page of the dump that belongs there, and what waits. */
class Model {
  constructor(
    readonly places: Map<number, number>,
    readonly waiting: Set<number>,
  ) {}

  copy(): Model {
    return new Model(new Map(this.places), new Set(this.waiting));
  }

  remove(page: number, pages: number): void {
    for (let at = page; at < page + pages; at++) {
      this.waiting.delete(this.places.get(at) ?? -1);
      this.places.delete(at);
    }
  }

  move(from: number, to: number, pages: number): void {
    const moved = Array.from({ length: pages }, (_, i) => this.places.get(from + i));
    for (let at = from; at < from + pages; at++) this.places.delete(at);
    this.remove(to, pages);
    moved.forEach((source, i) => {
      if (source !== undefined) this.places.set(to + i, source);
    });
  }

  /** The waiting pages from a page on that follow each other on both sides, within one run. */
  at(page: number, most: number, runEnd: (source: number) => number): Range | undefined {
    const source = this.places.get(page);
    if (source === undefined || !this.waiting.has(source)) return undefined;
    let pages = 1;
    while (
      pages < most &&
      source + pages < runEnd(source) &&
      this.places.get(page + pages) === source + pages &&
      this.waiting.has(source + pages)
    ) {
      pages++;
    }
    return { at: page, source, pages };
  }
}

const RUNS = fc
  .array(fc.tuple(fc.integer({ min: 1, max: 12 }), fc.integer({ min: 0, max: 6 })), { minLength: 1, maxLength: 16 })
  .map((rows) => {
    const runs: [number, number, boolean][] = [];
    let at = 3;
    for (const [pages, gap] of rows) {
      runs.push([at, pages, false]);
      at += pages + gap;
    }
    return runs;
  });

const PAGE = fc.integer({ min: 0, max: PAGES });
const COUNT = fc.integer({ min: 1, max: 40 });
const ACTIONS = fc.array(
  fc.oneof(
    fc.record({ do: fc.constant('copy' as const), page: PAGE, pages: COUNT }),
    fc.record({ do: fc.constant('remove' as const), page: PAGE, pages: COUNT }),
    fc.record({
      do: fc.constant('move' as const),
      page: PAGE,
      to: fc.integer({ min: 0, max: 2 * PAGES }),
      pages: COUNT,
    }),
    fc.record({ do: fc.constant('sweep' as const), most: COUNT }),
    fc.record({ do: fc.constant('fork' as const) }),
    fc.record({ do: fc.constant('arrive' as const), runs: fc.integer({ min: 1, max: 4 }) }),
  ),
  { maxLength: 40 },
);

function expectSame(pending: PendingPages, model: Model, runs: readonly [number, number, boolean][]): void {
  const runEnd = (source: number) => {
    const [start, pages] = runs.find(([from, count]) => from <= source && source < from + count) ?? [source, 0];
    return start + pages;
  };
  const known = new Set(runs.flatMap(([start, pages]) => Array.from({ length: pages }, (_, i) => start + i)));
  const placeOf = new Map([...model.places].map(([at, source]) => [source, at]));
  const pages = Array.from({ length: 2 * PAGES }, (_, page) => page);
  expect(pending.left).toBe(model.waiting.size);
  const found = pages.map((page) => ({
    isZero: pending.zerosAt(page, 1) === 1,
    at: pending.at(page, 7),
    of: pending.of(page, 7),
  }));
  expect(found).toEqual(
    pages.map((page, i) => {
      const source = model.places.get(page);
      const place = placeOf.get(page);
      return {
        isZero: source === undefined || !known.has(source),
        at: upTo(found[i]?.at, model.at(page, 7, runEnd)),
        of: upTo(found[i]?.of, place === undefined ? undefined : model.at(place, 7, runEnd)),
      };
    }),
  );
}

/** What is expected, or less of it: pages that were moved one after the other may be found one after the other. */
const upTo = (found: Range | undefined, expected: Range | undefined): Range | undefined =>
  found && expected && found.pages > 0 && found.pages < expected.pages ? { ...expected, pages: found.pages } : expected;

describe('PendingPages', () => {
  it('knows after copies, moves, removals and forks in any order what waits, and where; also while it arrives', () => {
    fc.assert(
      fc.property(RUNS, ACTIONS, fc.nat({ max: 16 }), (runs, actions, first) => {
        let arrived = Math.min(first, runs.length);
        const knownTo = () => runs[arrived]?.[0] ?? Number.POSITIVE_INFINITY;
        const known = () => LazyRuns.of(runs.slice(0, arrived), knownTo());
        const arrives = arrived < runs.length;
        const places = new Map(Array.from({ length: 2 * PAGES }, (_, page) => [page, page]));
        const waiting = new Set(runs.flatMap(([start, pages]) => Array.from({ length: pages }, (_, i) => start + i)));
        const tasks = [{ pending: PendingPages.of(known(), arrives), model: new Model(places, waiting) }];
        const arrive = (more: number) => {
          arrived = Math.min(arrived + more, runs.length);
          const all = known();
          for (const { pending } of tasks) if (arrives) pending.grow(all);
        };
        actions.forEach((action, i) => {
          const task = tasks[i % tasks.length] as (typeof tasks)[0];
          const { pending, model } = task;
          switch (action.do) {
            case 'copy': {
              let settled = 0;
              for (let source = action.page; source < action.page + action.pages; source++) {
                if (source < knownTo() && model.waiting.delete(source)) settled++;
              }
              expect(pending.settle(action.page, action.pages)).toBe(settled);
              break;
            }
            case 'remove':
              pending.remove(action.page, action.pages);
              model.remove(action.page, action.pages);
              break;
            case 'move':
              pending.move(action.page, action.to, action.pages);
              model.move(action.page, action.to, action.pages);
              break;
            case 'sweep': {
              const range = pending.next(action.most);
              expect(range === undefined).toBe([...model.waiting].every((source) => source >= knownTo()));
              if (!range) break;
              for (let i = 0; i < range.pages; i++) {
                expect(model.places.get(range.at + i)).toBe(range.source + i);
                expect(model.waiting.delete(range.source + i)).toBe(true);
              }
              pending.settle(range.source, range.pages);
              break;
            }
            case 'fork':
              tasks.push({ pending: pending.fork(), model: model.copy() });
              break;
            case 'arrive':
              arrive(action.runs);
              break;
          }
        });
        arrive(runs.length);
        for (const { pending, model } of tasks) expectSame(pending, model, runs);
      }),
      { numRuns: 200 },
    );
  });

  it('takes no page for zeros that is not known yet', () => {
    const pending = PendingPages.of(LazyRuns.of([[10, 2, false]], 12), true);
    pending.remove(30, 5);
    expect([9, 10, 12, 29, 30, 35].map((page) => pending.zerosAt(page, 2))).toEqual([1, 0, 0, 0, 2, 0]);
    expect([9, 10, 12, 30].map((page) => pending.isKnown(page))).toEqual([true, true, false, true]);
  });

  it('sweeps the largest run first', () => {
    const pending = PendingPages.of(
      LazyRuns.of([
        [10, 2, false],
        [20, 9, false],
        [40, 3, false],
      ]),
    );
    const order: number[] = [];
    for (let range = pending.next(4); range; range = pending.next(4)) {
      order.push(range.at);
      pending.settle(range.source, range.pages);
    }
    expect(order).toEqual([20, 24, 28, 40, 10]);
  });

  it('joins ranges that continue each other', () => {
    const runs = LazyRuns.of([
      [10, 2, false],
      [12, 3, true],
      [15, 1, false],
    ]);
    expect([...runs.pageNumbers]).toEqual([10, 15]);
    expect([...runs.pages]).toEqual([5, 1]);
    expect(runs.totalPages).toBe(6);
  });
});
