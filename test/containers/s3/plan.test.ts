import { describe, expect, it } from 'vitest';
import { planRequests } from '../../../src/containers/s3/plan.js';

const KIB = 1024;
const MIB = 1024 * KIB;
const plan = (extents: readonly [position: number, bytes: number][], size = 2 ** 40): [number, number][] =>
  planRequests(Float64Array.from(extents.flat()), size, 8 * MIB).map(({ start, end }) => [start, end - start]);

describe('planRequests', () => {
  it('fetches what follows each other at once, in requests of about the same size', () => {
    expect(plan([])).toEqual([]);
    expect(plan([[0, 0]])).toEqual([]);
    expect(
      plan([
        [0, 4 * MIB],
        [4 * MIB, 5 * MIB],
      ]),
    ).toEqual([
      [0, 4.5 * MIB],
      [4.5 * MIB, 4.5 * MIB],
    ]);
  });

  it('does not go beyond the end of the object', () => {
    expect(plan([[10, 100]], 50)).toEqual([[10, 40]]);
    expect(plan([[60, 100]], 50)).toEqual([]);
  });

  it('fetches small gaps, at most a twelfth of what is read', () => {
    const runs = Array.from({ length: 100 }, (_, i): [number, number] => [i * MIB, i % 2 ? MIB : MIB - 4 * KIB]);
    expect(plan(runs)).toHaveLength(13);
    const halves = Array.from({ length: 100 }, (_, i): [number, number] => [i * MIB, MIB / 2]);
    expect(plan(halves)).toEqual(halves);
  });

  it('takes the smallest gaps first', () => {
    const runs: [number, number][] = [
      [0, MIB],
      [MIB + 60 * KIB, MIB],
      [2 * MIB + 70 * KIB, MIB],
      [4 * MIB, MIB],
    ];
    expect(plan(runs)).toEqual([
      [0, 3 * MIB + 70 * KIB],
      [4 * MIB, MIB],
    ]);
  });

  it('fetches as much again rather than making very many requests', () => {
    const pages = Array.from({ length: 1000 }, (_, i): [number, number] => [i * 8 * KIB, 4 * KIB]);
    expect(plan(pages)).toHaveLength(1);
    const sparse = Array.from({ length: 1000 }, (_, i): [number, number] => [i * 12 * KIB, 4 * KIB]);
    expect(plan(sparse)).toHaveLength(1000);
  });
});
