/** `pagepipe diff -o`: the page has the maps of both dumps with the changed pages marked, and nothing is overwritten. */
import { chmodSync, cpSync, existsSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeEach, describe, expect, it } from 'vitest';
import type { MapPage, MemoryMap } from '../../src/map/model.js';
import { image, mm } from '../explore/images.js';
import { cli } from '../helpers/cli.js';
import { STATUS, writeDump } from '../helpers/dump-writer.js';
import { fixture, tempDir } from '../helpers/temp.js';

const CHAIN = fixture('chain/mprotect00');
const FAMILY = fixture('family-criu-4.2.1');

let dir: string;
beforeEach(() => {
  dir = tempDir();
});
const at = (name: string): string => join(dir, name);

const pageIn = (path: string): MapPage => {
  const text = readFileSync(path, 'utf8');
  return JSON.parse(/id="data">(.*?)<\/script>/s.exec(text)?.[1] ?? '') as MapPage;
};

/** Changed pages and states of the areas that have any, by space and start. */
const changedIn = ({ spaces }: MemoryMap) =>
  spaces.flatMap(({ type, id, areas }) =>
    areas
      .filter(({ changed }) => changed?.some((pages) => pages > 0))
      .map(({ start, bins, changed }) => ({ space: `${type} ${id}`, start, bins, changed })),
  );

/** Inverts a byte of each of these pages of a file. */
function change(path: string, ...pages: number[]): void {
  const bytes = readFileSync(path);
  for (const page of pages) {
    const position = page * 4096 + 5;
    bytes.writeUInt8(255 - bytes.readUInt8(position), position);
  }
  chmodSync(path, 0o600);
  writeFileSync(path, bytes);
}

describe('the page of diff', () => {
  it('marks changed pages of a process, of parents and of shared memory, as many as the report counts', async () => {
    cpSync(CHAIN, at('chain'), { recursive: true, verbatimSymlinks: true });
    change(at('chain/3/pages-2.img'), 0, 2);
    change(at('chain/3/pages-1.img'), 0);
    change(at('chain/1/pages-1.img'), 5, 6);
    const [a, b] = [join(CHAIN, '3'), at('chain/3')];
    const stdout = at('report');
    const { code, stderr } = await cli(['diff', a, b, '--json', '-o', at('diff.html')], { stdout });
    expect([code, stderr]).toEqual([1, '']);
    expect(statSync(at('diff.html')).mode & 0o777).toBe(0o600);

    const { maps } = pageIn(at('diff.html'));
    expect(maps.map(({ name }) => name)).toEqual(['A: 3', 'B: 3']);
    const [inA, inB] = maps.map(({ map }) => changedIn(map));
    expect(inB).toEqual(inA);
    const report = readFileSync(stdout, 'utf8')
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line));
    const counted = report.flatMap(({ change: what, pid, start, segment, changed }) => {
      if (what === 'pages') return [[`task ${pid}`, start, changed]];
      return what === 'segment' ? [[`shmem ${segment}`, '0x0', changed]] : [];
    });
    const marked = inA?.map(({ space, start, changed }) => [space, start, changed?.reduce((sum, n) => sum + n)]);
    expect(marked).toEqual(counted);
    expect(counted.length).toBeGreaterThan(1);
  });

  it('shows the places of changed pages, and processes and segments that only one has', async () => {
    const areas = [{ start: 0x10000n, end: 0x18000n, status: STATUS.REGULAR | STATUS.ANON_PRIVATE }];
    const entries = [{ vaddr: 0x10000n, pages: 8 }];
    const hostile = '</script><b>\x1b';
    writeDump(at('<img>'), { tasks: [{ pid: 7, comm: hostile, entries }] });
    writeDump(at('b'), {
      tasks: [
        { pid: 7, entries },
        { pid: 8, comm: 'new', entries },
      ],
      shmem: [{ id: 44, entries: [{ vaddr: 0n, pages: 2 }] }],
    });
    for (const image7 of ['<img>/mm-7.img', 'b/mm-7.img', 'b/mm-8.img']) {
      writeFileSync(at(image7), image('MM', [mm(1, areas)]));
    }
    const pages = readdirSync(at('b')).filter((name) => /^pages-\d+\.img$/.test(name));
    change(join(at('b'), pages[0] as string), 2, 3, 7);
    expect(
      await cli(['diff', at('<img>'), at('b'), '--memory', '-o', at('d.html')], { stdout: at('out') }),
    ).toMatchObject({
      code: 1,
      stderr: '',
    });
    const [a, b] = pageIn(at('d.html')).maps.map(({ map }) => map) as [MemoryMap, MemoryMap];
    expect(a.spaces.map(({ type, id, name }) => [type, id, name])).toEqual([['task', 7, hostile]]);
    expect(b.spaces.map(({ type, id }) => [type, id])).toEqual([
      ['task', 7],
      ['task', 8],
      ['shmem', 44],
    ]);
    expect(a.spaces[0]?.areas[0]?.changed).toEqual([0, 2, 0, 1]);
    expect(changedIn(b)).toEqual(changedIn(a));
    expect(b.spaces[1]?.areas[0]?.changed).toEqual([0]);
    const html = readFileSync(at('d.html'), 'utf8');
    expect(html.match(/<script/g)).toHaveLength(2);
    for (const text of ['<img', '<b>', '\x1b']) expect(html).not.toContain(text);
  });

  it('has for equal dumps the maps that map draws', async () => {
    expect(await cli(['diff', FAMILY, FAMILY, '-o', at('d.html')])).toEqual({ code: 0, stdout: '', stderr: '' });
    const { stdout } = await cli(['map', FAMILY, '--json']);
    const { runs: _, ...expected } = JSON.parse(stdout) as MemoryMap;
    for (const { map } of pageIn(at('d.html')).maps) {
      const { runs: __, ...found } = map;
      expect(changedIn(map)).toEqual([]);
      for (const { areas } of found.spaces) for (const area of areas) delete area.changed;
      expect(found).toEqual(expected);
    }
  });

  it.each([
    [['--images', '-o', 'd.html'], '-o draws memory, which --images leaves out'],
    [['-o', 'd.svg'], '-o: expected a name that ends in .html, found "d.svg"'],
    [['-o', '-'], '-o: expected a name that ends in .html, found "-"'],
  ])('refuses %j', async (options, message) => {
    const { code, stderr } = await cli(['diff', FAMILY, FAMILY, ...options]);
    expect(code).toBe(2);
    expect(stderr).toContain(message);
  });

  it('replaces nothing without --force, writes into neither dump, and leaves nothing when it fails', async () => {
    cpSync(FAMILY, at('dump'), { recursive: true });
    writeFileSync(at('d.html'), 'old');
    const again = await cli(['diff', FAMILY, FAMILY, '-o', at('d.html')]);
    expect([again.code, readFileSync(at('d.html'), 'utf8')]).toEqual([1, 'old']);
    expect(again.stderr).toContain('use --force to replace it');
    expect(await cli(['diff', FAMILY, FAMILY, '-o', at('d.html'), '--force'])).toMatchObject({ code: 0, stderr: '' });
    expect(pageIn(at('d.html')).maps).toHaveLength(2);
    for (const pair of [
      [FAMILY, at('dump')],
      [at('dump'), FAMILY],
    ]) {
      const inside = await cli(['diff', ...pair, '-o', at('dump/d.html')]);
      expect([inside.code, existsSync(at('dump/d.html'))]).toEqual([1, false]);
      expect(inside.stderr).toContain('the output must be outside of what is read');
    }
    writeFileSync(at('dump/pagemap-15.img'), 'damaged');
    expect((await cli(['diff', FAMILY, at('dump'), '-o', at('new.html')])).code).toBe(1);
    expect(readdirSync(dir).sort()).toEqual(['d.html', 'dump']);
  });
});
