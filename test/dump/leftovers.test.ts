import { cpSync, mkdirSync, readdirSync, renameSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { cli } from '../helpers/cli.js';
import { fixture, tempDir } from '../helpers/temp.js';
import { copyOf, linesOf } from '../verify/harness.js';

const LEFT = 'pagepipe: warning: pagemap-1000.img: left out, it is memory that no process of the dump has\n';

describe('a directory that an earlier dump was in', () => {
  test.each(['copy', 'make-lazy'])('%s leaves its memory out', async (command) => {
    const out = join(tempDir(), 'out');
    const { code, stderr } = await cli([command, fixture('stale'), out]);
    expect(stderr).toContain(LEFT);
    expect(code).toBe(0);
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
