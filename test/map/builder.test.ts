/** Maps from what they are told: totals, and areas that become groups. */
import { describe, expect, it } from 'vitest';
import { MapBuilder } from '../../src/map/builder.js';
import { sumOf } from '../../src/map/model.js';
import { sizeInPage } from '../../src/map/size.js';
import { expectFits } from '../helpers/json-schema.js';
import { sampleMap } from '../helpers/maps.js';

describe('a map', () => {
  it('has areas with their pages by state', () => {
    const builder = new MapBuilder({ pageSize: 4096 });
    builder.space('task', 7, 'cat');
    builder.newArea({ start: 16, end: 20, kind: 'file-private', flags: 'r-xp', file: '/bin/cat', offset: 2 });
    builder.pages('file', 3);
    builder.pages('eager', 1);
    builder.space('shmem', 9, null);
    builder.newArea({ start: 0, end: 2, kind: 'shmem', flags: '' });
    builder.pages('eager', 2);
    const map = builder.map();
    expectFits('map', JSON.parse(JSON.stringify(map)));
    expect(map.spaces[0]?.areas).toEqual([
      {
        areas: 1,
        start: '0x10000',
        end: '0x14000',
        pages: 4,
        kind: 'file-private',
        flags: 'r-xp',
        file: '/bin/cat',
        offset: '0x2000',
        segment: null,
        bins: [[0, 0, 0, 0, 0, 0, 3], [1]],
      },
    ]);
    expect(map.totals.kinds).toEqual({ 'file-private': { pages: 4, stored: 1 }, shmem: { pages: 2, stored: 2 } });
    expect(map).toMatchObject({ areas: 2, runs: 3, totals: { pages: 6, states: { eager: 3, file: 3, lazy: 0 } } });
  });

  it('counts shared pages once, where their segment is', () => {
    const builder = new MapBuilder({ pageSize: 4096 });
    for (const pid of [1, 2]) {
      builder.space('task', pid, null);
      builder.newArea({ start: 1, end: 9, kind: 'anon-shared', flags: 'rw-s', segment: 3 });
      builder.pages('shared', 8);
    }
    builder.space('shmem', 3, null);
    builder.newArea({ start: 0, end: 8, kind: 'shmem', flags: '' });
    builder.pages('eager', 8);
    expect(builder.map()).toMatchObject({ totals: { pages: 8 }, spaces: [{ pages: 8 }, { pages: 8 }, { pages: 8 }] });
  });

  it('joins the smallest areas to groups, those of one kind first', () => {
    const builder = new MapBuilder({ pageSize: 4096, limits: { areas: 4, bins: 100 } });
    builder.space('task', 1, null);
    const area = (start: number, pages: number, kind: 'anon' | 'heap') => {
      builder.newArea({ start, end: start + pages, kind, flags: 'rw-p' });
      builder.pages('lazy', pages);
    };
    area(0, 1000, 'anon');
    for (let i = 0; i < 4; i++) area(2000 + 10 * i, 1, 'anon');
    area(3000, 1, 'heap');
    area(4000, 1000, 'anon');
    const [space] = builder.map().spaces;
    expect(space?.areas.map(({ areas, start, end, pages, kind }) => [areas, start, end, pages, kind])).toEqual([
      [1, '0x0', '0x3e8000', 1000, 'anon'],
      [4, '0x7d0000', '0x7ef000', 4, 'anon'],
      [1, '0xbb8000', '0xbb9000', 1, 'heap'],
      [1, '0xfa0000', '0x1388000', 1000, 'anon'],
    ]);
  });

  it('keeps to its size, however many processes and however long names there are', () => {
    const limits = { spaces: 20, areas: 60, bins: 200, bytes: 30_000 };
    const builder = new MapBuilder({ pageSize: 4096, limits });
    for (let pid = 1; pid <= 25; pid++) {
      builder.space('task', pid, '<'.repeat(5000));
      for (let i = 0; i < 3; i++) {
        const file = `${String.fromCharCode(1).repeat(2000)}${pid}/${i}`;
        builder.newArea({ start: i * 100, end: i * 100 + pid, kind: 'file-private', flags: 'rw-p', file });
        builder.pages('lazy', pid);
      }
    }
    const map = builder.map();
    expect(sizeInPage(map)).toBeLessThan(limits.bytes);
    expect(map).toMatchObject({ processes: 25, areas: 75 });
    expect(map.spaces).toHaveLength(21);
    expect(map.spaces[0]).toMatchObject({ id: 1, name: 'and 4 more', areas: [], pages: 3 * (1 + 2 + 3 + 4 + 5) });
    expect(map.spaces[1]).toMatchObject({ id: 6, pages: 3 * 6 });
    expect(map.spaces.reduce((sum, { pages }) => sum + pages, 0)).toBe(map.totals.pages);
    expect(map.spaces[1]?.areas.length).toBeGreaterThan(0);
  });

  it('keeps to its limits however large the dump is, and its sums exact', () => {
    const limits = { areas: 40, bins: 100 };
    const whole = sampleMap({ processes: 3, runs: 3000 });
    const small = sampleMap({ processes: 3, runs: 3000, limits });
    const areas = small.spaces.flatMap((space) => space.areas);
    expect(areas.length).toBeLessThanOrEqual(limits.areas);
    expect(sumOf(areas.map(({ bins }) => bins.length))).toBeLessThanOrEqual(limits.bins);
    expect(sumOf(areas.map((area) => area.areas))).toBe(whole.areas);
    expect(small.totals).toEqual(whole.totals);
    expect(sumOf(areas.flatMap(({ bins }) => bins.flat()))).toBe(sumOf(areas.map(({ pages }) => pages)));
  });
});
