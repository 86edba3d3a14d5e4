import { execFileSync } from 'node:child_process';
import { cpSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync, symlinkSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { archiveOf } from '../helpers/archives.js';
import { cli } from '../helpers/cli.js';
import { ANON, PE, writeDump } from '../helpers/dump-writer.js';
import { fixture, tempDir } from '../helpers/temp.js';
import { copyOf, linesOf } from '../verify/harness.js';

const LEFT_OUT = 'left out, it is memory that no process of the dump has';
const LEFT = `pagepipe: warning: pagemap-1000.img: ${LEFT_OUT}\npagepipe: warning: pagemap-shmem-1455.img: ${LEFT_OUT}\n`;

const REMAINS = `pagepipe: warning: pagemap-1000.img: no process of the dump has this memory\npagepipe: warning: pagemap-shmem-1455.img: ${LEFT_OUT}\n`;

/** The fixture in an archive, members in the order of their names. */
const archived = (name: string) =>
  archiveOf(fixture('stale'), join(tempDir(), name), ...(name.endsWith('.gz') ? ['-z'] : []));

describe('an archive of such a directory', () => {
  test.each(['stale.tar', 'stale.tar.gz'])('copy leaves its memory out, as from the directory: %s', async (name) => {
    const [out, same] = [join(tempDir(), 'out'), join(tempDir(), 'same')];
    const { code, stderr } = await cli(['copy', archived(name), out]);
    expect([code, stderr]).toEqual([0, LEFT]);
    await cli(['copy', fixture('stale'), same]);
    expect(readdirSync(out)).toEqual(readdirSync(same));
  });

  test('make-lazy reads it from front to back: memory with pages of its own remains', async () => {
    const out = join(tempDir(), 'out');
    const { code, stderr } = await cli(['make-lazy', archived('stale.tar.gz'), out]);
    expect(code).toBe(0);
    // The report follows.
    expect(stderr.match(/^pagepipe: .*\n/gm)?.join('')).toBe(REMAINS);
    expect(linesOf(out).filter((line) => !/LAZY_ONLY|UNUSED/.test(line))).toEqual([]);
  });
});

test('pages that an earlier dump claims first: a command that passes them on says what to do', async () => {
  const dump = copyOf('mosaic-criu-4.2.1').path;
  for (const type of ['pagemap', 'mm']) cpSync(join(dump, `${type}-15.img`), join(dump, `${type}-99.img`));
  const last = ['pagemap-99.img', 'pages-2.img', 'pagemap-15.img'];
  const names = [...readdirSync(dump).filter((name) => !last.includes(name)), ...last];
  const archive = join(tempDir(), 'tar.gz');
  execFileSync('tar', ['-C', dump, '-czf', archive, ...names]);
  const { code, stderr } = await cli(['make-lazy', archive, join(tempDir(), 'out')]);
  expect([code, stderr]).toEqual([
    1,
    'pagepipe: error: pagemap-15.img@0x8: expected a pages_id of its own, found 2, that of pagemap-99.img\n' +
      'pagepipe: hint: if an earlier dump has left one of the two, make a directory first: pagepipe copy DUMP OUT\n',
  ]);
  const out = join(tempDir(), 'out');
  expect(await cli(['copy', archive, out])).toMatchObject({ code: 0 });
  expect(readdirSync(out).filter((name) => name !== 'mm-99.img')).toEqual(readdirSync(fixture('mosaic-criu-4.2.1')));
});

test('the halves of a compressed archive are merged without what an earlier dump has left', async () => {
  const [hot, cold, out, whole] = ['hot', 'cold', 'out', 'whole'].map((name) => join(tempDir(), name)) as [
    string,
    string,
    string,
    string,
  ];
  expect(await cli(['split', archived('stale.tar.gz'), hot, cold])).toMatchObject({ code: 0 });
  expect(readdirSync(cold)).toContain('original-pagemap-1000.img');
  const stderr = `pagepipe: warning: pagemap-1000.img: ${LEFT_OUT}\n`;
  expect(await cli(['merge', hot, cold, out])).toMatchObject({ code: 0, stderr });
  await cli(['copy', fixture('stale'), whole]);
  expect(readdirSync(out)).toEqual(readdirSync(whole));
});

describe('what no command needs', () => {
  const CORE = 'core-7777.img';
  const surplus = () => copyOf('mosaic-criu-4.2.1').write(CORE, 'x').write('pages-99.img', new Uint8Array(4096));

  test.each([
    ['a directory', (path: string) => path],
    ['an archive', (path: string) => archiveOf(path, join(tempDir(), 'tar'))],
    ['a compressed archive', (path: string) => archiveOf(path, join(tempDir(), 'tar.gz'), '-z')],
  ])('a damaged image of no process passes, and pages of no pagemap are left out: %s', async (_, place) => {
    const out = join(tempDir(), 'out');
    const { code, stderr } = await cli(['copy', place(surplus().path), out]);
    expect([code, stderr]).toEqual([
      0,
      'pagepipe: warning: pages-99.img: left out, no pagemap refers to these pages\n',
    ]);
    expect(readFileSync(join(out, CORE), 'utf8')).toBe('x');
    expect(readdirSync(out)).not.toContain('pages-99.img');
    const found = linesOf(surplus().path).filter((line) => !line.includes('warning: '));
    expect(found.map((line) => line.replace(/:.*/, ''))).toEqual([]);
  });

  test('a core that is a link becomes a file', async () => {
    const { path } = copyOf('mosaic-criu-4.2.1');
    renameSync(join(path, 'core-15.img'), join(path, 'elsewhere'));
    symlinkSync('elsewhere', join(path, 'core-15.img'));
    const dir = tempDir();
    const [archive, out] = [join(dir, 'dump.tar.gz'), join(dir, 'out')];
    expect(await cli(['copy', path, archive])).toMatchObject({ code: 0, stderr: '' });
    expect(await cli(['copy', archive, out])).toMatchObject({ code: 0, stderr: '' });
    expect(readFileSync(join(out, 'core-15.img')).equals(readFileSync(join(path, 'elsewhere')))).toBe(true);
  });
});

const ALL_CHECKS = 'pagepipe read: hint: pagepipe verify does all checks; --incomplete reads what can be read';

test.each([
  ['a directory', (path: string) => path],
  ['a compressed archive', (path: string) => archiveOf(path, join(tempDir(), 'tar.gz'), '-z')],
])('the same images must be there for every command: %s', async (_, place) => {
  for (const name of ['files.img', 'ids-15.img', 'fs-15.img', 'mm-15.img', 'pagemap-15.img', 'core-17.img']) {
    const source = place(copyOf('mosaic-criu-4.2.1').remove(name).path);
    const expected = `${name}: expected this image, named by pstree.img, found none`;
    for (const words of [['make-lazy'], ['copy'], ['split', 'cold']]) {
      const [command = '', ...more] = words;
      const out = join(tempDir(), 'out');
      const { code, stderr } = await cli([command, source, out, ...more.map(() => `${out}-cold`)]);
      expect([code, stderr]).toEqual([1, `pagepipe: error: ${expected}\n`]);
    }
    const read = await cli(['read', source]);
    // Some have the hint, and what else is missing without this image may be said before.
    const lines = read.stderr.split('\n').filter((line) => line !== ALL_CHECKS && !line.includes(' warning: '));
    expect([read.code, ...lines]).toEqual([1, `pagepipe read: error: ${expected}`, '']);
  }
});

describe('a directory that an earlier dump was in', () => {
  test.each(['copy', 'make-lazy'])('%s leaves its memory out', async (command) => {
    const out = join(tempDir(), 'out');
    const { code, stderr } = await cli([command, fixture('stale'), out]);
    expect(code).toBe(0);
    expect(stderr.match(/^pagepipe: .*\n/gm)?.join('')).toBe(LEFT);
    expect(readdirSync(out)).not.toContain('pagemap-1000.img');
    expect(readdirSync(out)).toContain('pagemap-1019.img');
    expect(linesOf(out).filter((line) => /PAGEMAP|PAGES/.test(line))).toEqual([]);
  });

  test('verify warns', () => {
    expect(linesOf(fixture('stale'))).toEqual([
      'CORE_UNUSED core-1000.img: warning: expected a process or thread of this id in pstree.img, found none',
      'PAGEMAP_UNUSED pagemap-1000.img: warning: no process of the dump has this memory',
      'PAGEMAP_UNUSED pagemap-shmem-1455.img: warning: no process of the dump has this memory',
      'PAGES_UNUSED pages-2.img: warning: expected a pagemap with pages_id 2, found none',
    ]);
  });

  test('a segment that nobody maps, with the pages of another', () => {
    const copy = copyOf('mosaic-criu-4.2.1');
    const [segment] = readdirSync(copy.path).filter((name) => name.startsWith('pagemap-shmem-')) as [string];
    cpSync(join(copy.path, segment), join(copy.path, 'pagemap-shmem-7777.img'));
    expect(linesOf(copy.path)).toEqual([
      'PAGEMAP_UNUSED pagemap-shmem-7777.img: warning: no process of the dump has this memory',
    ]);
  });
});

test('a parent that was copied into its child is one', async () => {
  const dump = join(tempDir(), 'dump');
  cpSync(fixture('chain/mprotect00/3'), dump, { recursive: true, verbatimSymlinks: true });
  rmSync(join(dump, 'parent'));
  mkdirSync(join(dump, 'parent'));
  cpSync(fixture('chain/mprotect00/2'), join(dump, 'parent'), { recursive: true, verbatimSymlinks: true });
  rmSync(join(dump, 'parent/parent'));
  cpSync(fixture('chain/mprotect00/1'), join(dump, 'parent/parent'), { recursive: true });
  expect(linesOf(dump)).toEqual([]);
  const out = join(tempDir(), 'out');
  expect(await cli(['make-lazy', dump, out])).toMatchObject({ code: 0 });
  // The same pages as from the chain, through the link that the copy has.
  renameSync(join(out, 'parent'), join(out, 'was-parent'));
  expect(linesOf(out).some((line) => line.startsWith('NO_PARENT'))).toBe(true);
  renameSync(join(out, 'was-parent'), join(out, 'parent'));
  expect(linesOf(out).filter((line) => !line.startsWith('LAZY_ONLY'))).toEqual([]);
});

test.each([
  ['a directory', (path: string) => path],
  ['an archive', (path: string) => archiveOf(path, join(tempDir(), 'tar'))],
  ['a compressed archive', (path: string) => archiveOf(path, join(tempDir(), 'tar.gz'), '-z')],
])('two processes with the same pages are refused: %s', async (_, place) => {
  const dump = join(tempDir(), 'dump');
  const entries = [{ vaddr: 0x10000n, pages: 2, flags: PE.PRESENT }];
  const vmas = [{ start: 0x10000n, end: 0x14000n, ...ANON }];
  writeDump(dump, { tasks: [7, 8].map((pid) => ({ pid, vmas, entries, pagesId: 1 })) });
  for (const command of ['copy', 'make-lazy']) {
    expect(await cli([command, place(dump), join(tempDir(), 'out')])).toMatchObject({
      code: 1,
      stderr: 'pagepipe: error: pagemap-8.img@0x8: expected a pages_id of its own, found 1, that of pagemap-7.img\n',
    });
  }
  expect(linesOf(dump).filter((line) => line.startsWith('PAGES_ID_TWICE'))).toHaveLength(1);
});
