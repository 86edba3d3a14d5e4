/** split and merge: each page in one half, and the dump again byte for byte. */
import { mkdirSync, readdirSync, renameSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { cli } from './helpers/cli.js';
import { readLazy } from './helpers/oracle.js';
import { copyFixture, describeTree, FIXTURES, tempDir } from './helpers/temp.js';

async function split(name: string, ...options: string[]) {
  const place = tempDir();
  const dump = copyFixture(name, place);
  // Beside the dump, so that the link to a parent leads there from all of them.
  const [hot, cold, out] = ['hot', 'cold', 'merged'].map((part) => join(dump, '..', part)) as [string, string, string];
  const { code, stderr } = await cli(['split', dump, hot, cold, ...options]);
  expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
  return { dump, hot, cold, out };
}

describe.each(FIXTURES)('%s', (name) => {
  it.each(['auto', 'flags', 'vma'])('is the same again, policy %s', async (policy) => {
    const { dump, hot, cold, out } = await split(name, '--policy', policy);
    const before = describeTree(dump);
    expect((await cli(['merge', hot, cold, out])).code).toBe(0);
    expect(describeTree(out)).toEqual(before);
    expect(describeTree(dump)).toEqual(before);
  });

  it('has each page in one half', async () => {
    const { dump, hot, cold } = await split(name);
    const [all, inHot, inCold] = [dump, hot, cold].map((directory) => readLazy(directory));
    let pages = 0;
    for (const [pagemap, { pages: whole }] of all as NonNullable<typeof all>) {
      const halves = [inHot, inCold].map((half) => half?.get(pagemap)?.pages ?? new Map<bigint, Uint8Array>());
      for (const [address, page] of whole) {
        const holders = halves.filter((half) => half.has(address));
        expect(holders).toHaveLength(1);
        expect(holders[0]?.get(address)).toEqual(page);
        pages++;
      }
      expect((halves[0]?.size ?? 0) + (halves[1]?.size ?? 0)).toBe(whole.size);
    }
    expect(pages).toBeGreaterThan(0);
  });

  it('has in the hot half what make-lazy gives', async () => {
    const { dump, hot } = await split(name);
    const lazy = join(dump, '..', 'lazy');
    expect((await cli(['make-lazy', dump, lazy])).code).toBe(0);
    expect(describeTree(hot)).toEqual(describeTree(lazy));
  });
});

describe('halves that do not belong together', () => {
  it('a hot half for a cold one', async () => {
    const { hot, out } = await split('mosaic-criu-4.2.1');
    const { code, stderr } = await cli(['merge', hot, hot, out]);
    expect({ code, stderr }).toMatchObject({ code: 1, stderr: expect.stringMatching(/expected the cold half/) });
  });

  it('a cold half without its pages', async () => {
    const { hot, cold, out } = await split('mosaic-criu-4.2.1');
    const [pagemap] = readdirSync(cold).filter((file) => /^pagemap-\d+/.test(file));
    // Its own pagemap becomes that of the hot half, which has holes there.
    rmSync(join(cold, pagemap as string));
    const { code, stderr } = await cli(['merge', hot, cold, out]);
    expect({ code, stderr }).toMatchObject({ code: 1, stderr: expect.stringMatching(/expected this image/) });
    expect(readdirSync(join(out, '..'))).not.toContain('merged');
  });

  it('halves of different dumps', async () => {
    const { hot } = await split('mosaic-criu-4.2.1');
    const { cold, out } = await split('family-criu-4.2.1');
    const { code, stderr } = await cli(['merge', hot, cold, out]);
    expect(code).toBe(1);
    expect(stderr).toMatch(/expected this pagemap in the cold half|in neither half/);
  });

  it('refuses the rule of 2016, and a --cold that is no -', async () => {
    const place = tempDir();
    const dump = copyFixture('mosaic-criu-4.2.1', place);
    mkdirSync(join(place, 'elsewhere'));
    renameSync(dump, join(place, 'elsewhere', 'dump'));
    const words = ['split', join(place, 'elsewhere', 'dump'), join(place, 'hot')];
    expect((await cli([...words, join(place, 'cold'), '--policy', 'seed'])).code).toBe(2);
    expect((await cli([...words, '--cold', 'x'])).code).toBe(2);
  });
});
