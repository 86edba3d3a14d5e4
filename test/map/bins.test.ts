/** Bins: how many there are, which neighbors are joined, and that nothing is lost of the sums. */
import { describe, expect, it } from 'vitest';
import { Bins } from '../../src/map/bins.js';
import { CONTENTS, STATES } from '../../src/map/model.js';

const EAGER = STATES.indexOf('eager');
const LAZY = STATES.indexOf('lazy');
const ZERO = STATES.indexOf('zero');

const listed = (bins: Bins) => [...bins.byArea()];
const summed = (bins: Bins): number[] => {
  const sums = STATES.map(() => 0);
  for (const { bins: all } of bins.byArea()) {
    for (const counts of all) for (const [state, pages] of counts.entries()) sums[state] = (sums[state] ?? 0) + pages;
  }
  return sums;
};

describe('bins', () => {
  it('join neighbors in one state at once', () => {
    const bins = new Bins(10);
    bins.add(0, LAZY, 3);
    bins.add(0, LAZY, 4);
    bins.add(0, EAGER, 1);
    bins.add(1, EAGER, 2);
    expect(listed(bins)).toEqual([
      { area: 0, bins: [[0, 7], [1]], content: [[], []], changed: [0, 0] },
      { area: 1, bins: [[2]], content: [[]], changed: [0] },
    ]);
  });

  it('keep pages of different content apart, and changed ones', () => {
    const bins = new Bins(10);
    const text = CONTENTS.indexOf('text');
    bins.add(0, EAGER, 3, text);
    bins.add(0, EAGER, 1, text);
    bins.add(0, EAGER, 2, text, true);
    bins.add(0, EAGER, 2);
    expect(listed(bins)).toEqual([
      { area: 0, bins: [[4], [2], [2]], content: [[0, 4], [0, 2], []], changed: [0, 2, 0] },
    ]);
  });

  it('stay within twice their limit, with exact sums', () => {
    const bins = new Bins(16);
    const expected = STATES.map(() => 0);
    for (let i = 0; i < 5000; i++) {
      const state = [EAGER, LAZY, ZERO][(i * 7) % 3] as number;
      const pages = 1 + ((i * 13) % 11);
      expected[state] = (expected[state] ?? 0) + pages;
      bins.add(0, state, pages);
    }
    expect(listed(bins)[0]?.bins.length).toBeLessThanOrEqual(32);
    bins.joinTo(16);
    expect(listed(bins)[0]?.bins.length).toBeLessThanOrEqual(16);
    expect(summed(bins)).toEqual(expected);
  });

  it('lose small details before large ones', () => {
    const bins = new Bins(1000);
    bins.add(0, LAZY, 1000);
    for (let i = 0; i < 20; i++) {
      bins.add(0, EAGER, 1);
      bins.add(0, LAZY, 1);
    }
    bins.add(0, ZERO, 1000);
    bins.joinTo(4);
    const [{ bins: left } = { bins: [] }] = listed(bins);
    expect(left[0]?.slice(0, 3)).toEqual([expect.any(Number), expect.any(Number)]);
    expect(left.at(-1)?.[ZERO]).toBe(1000);
    expect(left.at(-1)?.[EAGER] ?? 0).toBeLessThanOrEqual(1);
  });

  it('never join pages of two areas', () => {
    const bins = new Bins(2);
    for (let area = 0; area < 50; area++) {
      bins.add(area, EAGER, 1);
      bins.add(area, LAZY, 1);
    }
    bins.joinTo(2);
    expect(listed(bins).map(({ area, bins: all }) => [area, all])).toEqual(
      Array.from({ length: 50 }, (_, area) => [area, [[1, 1]]]),
    );
  });
});
