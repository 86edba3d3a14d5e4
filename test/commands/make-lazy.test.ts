/** make-lazy as a command: what it reports, what it takes out, what it warns of. */
import { execFileSync } from 'node:child_process';
import { lstatSync, mkdirSync, readdirSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { cli } from '../helpers/cli.js';
import { GENERATIONS, PE, readMemory, readPagemap, rewriteGeneration } from '../helpers/dump-writer.js';
import { copyFixture, describeTree, dumpAndOut, FIXTURES, fixture, tempDir } from '../helpers/temp.js';

/** Bytes of all regular files of a tree; links are not followed. */
function treeBytes(root: string): number {
  const sizes = readdirSync(root, { withFileTypes: true }).map((entry) => {
    if (entry.isDirectory()) return treeBytes(join(root, entry.name));
    return entry.isFile() ? lstatSync(join(root, entry.name)).size : 0;
  });
  return sizes.reduce((sum, size) => sum + size, 0);
}

/** Pages of a real dump by its own flags: those that it may fetch later, and all others that it holds. */
function flaggedPages(dump: string): { kept: number; taken: number } {
  const pages = { kept: 0, taken: 0 };
  for (const name of readdirSync(dump).filter((file) => file.startsWith('pagemap-'))) {
    for (const entry of readPagemap(join(dump, name)).entries) {
      if ((entry.flags & (PE.PRESENT | PE.PARENT)) !== PE.PRESENT) continue;
      pages[entry.flags & PE.LAZY ? 'taken' : 'kept'] += entry.pages;
    }
  }
  return pages;
}

describe('make-lazy', () => {
  const TOTALS: Record<string, [kept: number, taken: number]> = {
    'mosaic-criu-4.1.1': [33, 168],
    'mosaic-criu-4.2.1': [33, 170],
    'family-criu-4.2.1': [51, 518],
    'chain/mprotect00/3': [6, 4],
    'chain/socket_queues/3': [6, 4],
  };

  it.each(FIXTURES)('--json says what it did to %s, and nothing else', async (name) => {
    const { dump, out } = dumpAndOut(name);
    const { code, stdout, stderr } = await cli(['make-lazy', dump, out, '--json']);
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
    const report = JSON.parse(stdout);
    const [kept, taken] = TOTALS[name] as [number, number];
    expect(flaggedPages(dump)).toEqual({ kept, taken });
    expect(report).toMatchObject({
      dump,
      out,
      policy: 'auto',
      holes: 'flag',
      dryRun: false,
      pageSize: 4096,
      total: {
        kept: { pages: kept, bytes: kept * 4096 },
        taken: { pages: taken, bytes: taken * 4096 },
      },
      zombies: name.startsWith('family') ? [21] : [],
      bytesBefore: treeBytes(dump),
      bytesAfter: treeBytes(out),
    });
    for (const of of ['kept', 'taken'] as const) {
      for (const what of ['pages', 'bytes'] as const) {
        const total = report.total[of][what];
        const sum = (values: number[]) => values.reduce((a, b) => a + b, 0);
        expect(sum(report.spaces.map((space: never) => space[of][what]))).toBe(total);
        const byKind = report.spaces.flatMap(({ kinds }: { kinds: object }) => Object.values(kinds));
        expect(sum(byKind.map((kind: never) => kind[of][what]))).toBe(total);
      }
    }
    expect(flaggedPages(out)).toEqual({ kept, taken: 0 });
  });

  it('names processes and segments', async () => {
    const { dump, out } = dumpAndOut('family-criu-4.2.1');
    const { spaces } = JSON.parse((await cli(['make-lazy', dump, out, '--json'])).stdout);
    expect(spaces.map(({ pid, comm, shmem }: Record<string, unknown>) => pid ?? comm ?? shmem)).toEqual([
      15,
      19,
      20,
      '1188',
    ]);
    expect(spaces[0].comm).toBe('mosaic');
  });

  it.each(FIXTURES)('takes out of %s what it may, and changes no other page', async (name) => {
    const { dump, out } = dumpAndOut(name);
    expect((await cli(['make-lazy', dump, out])).code).toBe(0);
    const before = readMemory(dump);
    const after = readMemory(out);
    expect([...after.keys()].sort()).toEqual([...before.keys()].sort());
    for (const [pagemap, pages] of after) {
      for (const [address, page] of pages) {
        expect(Buffer.compare(page, before.get(pagemap)?.get(address) ?? Buffer.alloc(0))).toBe(0);
      }
    }
    const own = (line: string) => !/^(pagemap-.*|pages-\d+)\.img /.test(line);
    expect(describeTree(out).filter(own)).toEqual(describeTree(dump).filter(own));
  });

  it.each(FIXTURES)('by flags and by areas is the same for %s', async (name) => {
    const { dump, out } = dumpAndOut(name);
    for (const policy of ['auto', 'flags', 'vma']) {
      expect((await cli(['make-lazy', dump, `${out}-${policy}`, '--policy', policy])).code).toBe(0);
    }
    expect(describeTree(`${out}-vma`)).toEqual(describeTree(`${out}-flags`));
    expect(describeTree(`${out}-auto`)).toEqual(describeTree(`${out}-flags`));
  });

  it('--holes flag leaves entries for the pages that were taken out, --holes drop none', async () => {
    const { dump, out } = dumpAndOut('mosaic-criu-4.2.1');
    for (const holes of ['flag', 'drop']) {
      expect((await cli(['make-lazy', dump, `${out}-${holes}`, '--holes', holes])).code).toBe(0);
    }
    const entries = (path: string) => readPagemap(join(path, 'pagemap-15.img')).entries;
    const state = ({ vaddr, pages }: { vaddr: bigint; pages: number }) => ({ vaddr, pages });
    const lazy = entries(dump).filter(({ flags }) => flags === (PE.PRESENT | PE.LAZY));
    expect(lazy.length).toBeGreaterThan(0);
    expect(entries(`${out}-flag`).map(state)).toEqual(entries(dump).map(state));
    expect(
      entries(`${out}-flag`)
        .filter(({ flags }) => flags === PE.LAZY)
        .map(state),
    ).toEqual(lazy.map(state));
    expect(entries(`${out}-drop`)).toEqual(entries(dump).filter(({ flags }) => flags === PE.PRESENT));
  });

  it.each(FIXTURES.flatMap((name) => ['flag', 'drop'].map((holes) => [name, holes] as const)))(
    '--dry-run writes nothing and knows the size: %s, --holes %s',
    async (name, holes) => {
      const { dump, out } = dumpAndOut(name);
      const root = dirname(dump);
      const before = describeTree(root);
      const dry = await cli(['make-lazy', dump, out, '--holes', holes, '--dry-run', '--json']);
      expect({ code: dry.code, stderr: dry.stderr }).toEqual({ code: 0, stderr: '' });
      expect(describeTree(root)).toEqual(before);
      const real = await cli(['make-lazy', dump, out, '--holes', holes, '--json']);
      expect(JSON.parse(dry.stdout)).toEqual({ ...JSON.parse(real.stdout), dryRun: true });
      expect(JSON.parse(dry.stdout).bytesAfter).toBe(treeBytes(out));
    },
  );

  it.each(GENERATIONS)('--dry-run knows the size in the form of %s', async (generation) => {
    const root = tempDir();
    rewriteGeneration(fixture('mosaic-criu-4.2.1'), join(root, 'dump'), generation);
    const words = ['make-lazy', join(root, 'dump'), join(root, 'out'), '--json'];
    const dry = JSON.parse((await cli([...words, '--dry-run'])).stdout);
    expect((await cli(words)).code).toBe(0);
    expect(dry.bytesAfter).toBe(treeBytes(join(root, 'out')));
  });

  it('tells people what to do with it, on stderr', async () => {
    const { dump, out } = dumpAndOut('family-criu-4.2.1');
    const { code, stdout, stderr } = await cli(['make-lazy', dump, out]);
    expect({ code, stdout }).toEqual({ code: 0, stdout: '' });
    const lines = stderr.split('\n');
    const rest = lines.indexOf('');
    const rows = lines.slice(1, rest).map((line) => line.replace(/ +/g, ' '));
    expect(rows.filter((row) => /^(pid|shmem|total|size)/.test(row))).toEqual([
      'pid 15 mosaic 17 pages 68 KiB 168 pages 672 KiB',
      'pid 19 mosaic 9 pages 36 KiB 175 pages 700 KiB',
      'pid 20 mosaic 9 pages 36 KiB 175 pages 700 KiB',
      'shmem 1188 16 pages 64 KiB 0 pages 0 B',
      'pid 21 zombie, no memory',
      'total 51 pages 204 KiB 518 pages 2.02 MiB',
      'size 2.24 MiB before, 217 KiB after',
    ]);
    expect(lines.slice(rest)).toEqual([
      '',
      'restore it with one command:',
      `  pagepipe restore ${dump}`,
      'or with these commands, and the options that the dump was made with (--shell-job, --tcp-established, …):',
      `  criu lazy-pages -D ${dump} -W ${out} -d`,
      `  criu restore --lazy-pages -D ${out} -W ${out} -d`,
      'warning: never restore this directory without --lazy-pages: its lazy pages are not in it, and CRIU would spin forever, or restore a process that computes on zeros',
      '',
    ]);
  });

  it('gives commands that a shell takes, whatever the names', async () => {
    const root = join(tempDir(), "it's $HOME; \n`x`");
    mkdirSync(root);
    const dump = copyFixture('mosaic-criu-4.2.1', root);
    const { stdout } = await cli(['make-lazy', dump, join(root, 'a b'), '--json']);
    const { restore, lazyPages } = JSON.parse(stdout).restore as Record<string, string>;
    const words = (text = '') =>
      execFileSync('sh', ['-c', `set -- ${text}\nprintf '%s\\0' "$@"`])
        .toString()
        .split('\0');
    expect(words(restore)).toEqual([
      ...['criu', 'restore', '--lazy-pages', '-D', join(root, 'a b'), '-W', join(root, 'a b'), '-d', ''],
    ]);
    expect(words(lazyPages)).toEqual([...['criu', 'lazy-pages', '-D', dump, '-W', join(root, 'a b'), '-d', '']]);
  });

  it('warns where the parent is not to be found from OUT', async () => {
    const { dump, out } = dumpAndOut('chain/mprotect00/3');
    mkdirSync(`${out}-far`);
    const far = join(`${out}-far`, 'out');
    const { code, stderr } = await cli(['make-lazy', dump, far, '--quiet']);
    expect(code).toBe(0);
    expect(stderr.split('\n')[0]).toBe(
      `pagepipe: warning: ${far}/parent leads nowhere; put ${far} next to the dump, or the parent dump next to ${far}`,
    );
  });

  it('refuses a pre-dump, which holds memory alone', async () => {
    const out = join(tempDir(), 'out');
    const { code, stderr } = await cli(['make-lazy', fixture('chain/mprotect00/1'), out]);
    expect([code, stderr]).toEqual([
      1,
      `pagepipe: error: ${fixture('chain/mprotect00/1')}: expected a dump, found no pstree.img\n`,
    ]);
  });
});
