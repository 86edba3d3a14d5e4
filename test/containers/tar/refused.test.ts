/** Archives that are damaged, cut off or hostile: one line that says so, and nothing written. */
import { execFileSync } from 'node:child_process';
import { mkdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { END, filesOf, header, member, packed, rawMembers } from '../../helpers/archives.js';
import { build, TABLES } from '../../helpers/broken-dumps.js';
import { cli } from '../../helpers/cli.js';
import { ANON, writeDump } from '../../helpers/dump-writer.js';
import { describeTree, openFiles, tempDir } from '../../helpers/temp.js';

/** Both ways out refuse it, with this one line; where in the archive is left out. */
async function expectRefused(archive: Uint8Array, error: string, ...options: string[]): Promise<void> {
  const dir = tempDir();
  const path = join(dir, 'in');
  writeFileSync(path, archive);
  const before = describeTree(dir);
  for (const to of ['tar', 'directory']) {
    const run = await cli(['make-lazy', path, join(dir, 'out'), '--to', to, ...options]);
    const [, message] = /^pagepipe: error: ([^\n]*)\n(?:pagepipe: hint: [^\n]*\n)?$/.exec(run.stderr) ?? [];
    const bare = message?.replace(`${dir}/`, '').replace(/@0x[0-9a-f]+:/, ':');
    expect(bare).toBe(error);
    expect(run.code).toBe(1);
    expect(run.stdout).toBe('');
    expect(describeTree(dir)).toEqual(before);
    expect(openFiles(dir)).toEqual([]);
  }
}

/** The smallest dump that is one. */
function smallDump(dir: string): string {
  const dump = join(dir, 'checkpoint');
  const vma = { start: 0x10000n, end: 0x14000n, ...ANON };
  writeDump(dump, { tasks: [{ pid: 7, vmas: [vma], entries: [{ vaddr: 0x10000n, pages: 2 }] }] });
  return dump;
}

/** An archive of it, with members in front and behind. */
function archiveWith({ before = [], behind = [] }: { before?: Buffer[]; behind?: Buffer[] }): Buffer {
  const dump = smallDump(tempDir());
  const members = [...filesOf(dump)].map(([name, bytes]) => member(`checkpoint/${name}`, bytes));
  return Buffer.concat([...before, ...members, ...behind, END]);
}

describe('a damaged archive', () => {
  it('is refused for a wrong checksum', async () => {
    const whole = archiveWith({});
    for (const [i] of rawMembers(whole).entries()) {
      const members = rawMembers(whole);
      const at = members.slice(0, i).reduce((sum, one) => sum + 512 + Math.ceil(one.data.length / 512) * 512, 0);
      const damaged = Buffer.from(whole);
      damaged[at + 110] = 0x39;
      await expectRefused(damaged, 'in: expected a header with its checksum, found something else', '--from', 'tar');
    }
  });

  it('is refused for one byte of a gzip or zstd in disorder', async () => {
    const noise = Buffer.from(Array.from({ length: 50_000 }, (_, i) => (i * i * 31 + (i >> 3)) & 255));
    const whole = archiveWith({ behind: [member('noise', noise)] });
    const gzip = execFileSync('gzip', ['-c'], { input: whole });
    for (const at of [100, gzip.length >> 1, gzip.length - 6, gzip.length - 2]) {
      const damaged = Buffer.from(gzip);
      damaged[at] = (damaged[at] as number) ^ 0x55;
      const what = at === gzip.length - 2 ? 'length' : 'data';
      await expectRefused(
        damaged,
        `in: the gzip data is cut off or damaged after 0 plain bytes: incorrect ${what} check`,
      );
    }
    const zstd = execFileSync('zstd', ['-qc', '--check'], { input: whole });
    const damaged = Buffer.from(zstd);
    damaged[zstd.length - 2] = (damaged[zstd.length - 2] as number) ^ 0x55;
    await expectRefused(
      damaged,
      'in: the zstd data is cut off or damaged after 0 plain bytes: zstd ended with exit code 1',
    );
  });

  it('is refused for PAX records and sparse maps that are none', async () => {
    const pax = (text: string) => member('x', Buffer.from(text), { type: 'x' });
    for (const text of ['99 path=x\n', 'x path=x\n', '10 pathxxx\n', '0 path=x\n']) {
      await expectRefused(
        archiveWith({ behind: [pax(text), member('x', Buffer.from('x'))] }),
        'in: expected PAX records, found something else',
      );
    }
    const map = '22 GNU.sparse.size=10\n23 GNU.sparse.map=5,99\n';
    await expectRefused(
      archiveWith({ behind: [pax(map), member('x', Buffer.from('x'))] }),
      'in: expected the map of a sparse file, found something else',
    );
    const old = header('x', 512, { type: 'S' });
    await expectRefused(
      archiveWith({ behind: [old, Buffer.alloc(512)] }),
      'in: expected the map of a sparse file, found something else',
    );
    const size = Buffer.from('77777777777\0');
    await expectRefused(
      archiveWith({ behind: [header('x', size, { type: 'L' })] }),
      'in: expected extensions of at most 1048576 bytes before a file, found something else',
    );
  });

  it('is refused without an image in it, and without its end', async () => {
    await expectRefused(
      Buffer.concat([member('text', Buffer.from('x')), END]),
      'in: expected a dump, found no image in the archive',
    );
    await expectRefused(
      archiveWith({}).subarray(0, -1024),
      'in: expected the end of the archive, found something else',
    );
  });
});

describe('a hostile archive', () => {
  const data = Buffer.from('x');

  it('with a name that has a NUL, or is no UTF-8', async () => {
    const pax = member('x', Buffer.from('23 path=checkpoint/a\0b\n'), { type: 'x' });
    await expectRefused(
      archiveWith({ behind: [pax, member('x', data)] }),
      'in: expected a file name inside the dump, found "checkpoint/a\\u0000b"',
    );
    const bad = member('checkpoint/\u0001', data);
    bad[11] = 0xff;
    const sum = bad.subarray(0, 512).reduce((total, byte, i) => total + (i >= 148 && i < 156 ? 32 : byte), 0);
    bad.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148);
    await expectRefused(archiveWith({ behind: [bad] }), 'in: expected file names in UTF-8, found "checkpoint/\ufffd"');
  });

  it('with a name twice', async () => {
    for (const name of ['checkpoint/files.img', 'checkpoint/pages-1.img', 'checkpoint/pagemap-7.img']) {
      await expectRefused(archiveWith({ behind: [member(name, data)] }), `${basename(name)}: the name occurs twice`);
    }
    const twice = [member('beside', data), member('./beside', data)];
    await expectRefused(archiveWith({ behind: twice }), '../beside: the name occurs twice');
  });

  it.each([
    ['a device', '3'],
    ['a block device', '4'],
    ['a fifo', '6'],
  ])('with %s among the images', async (_, type) => {
    const special = header('checkpoint/special', 0, { type, target: 'checkpoint/files.img' });
    for (const where of [{ before: [special] }, { behind: [special] }]) {
      await expectRefused(
        archiveWith(where),
        'in: expected files in the dump, found a device or fifo: checkpoint/special',
      );
    }
    // Beside the dump it passes.
    const dir = tempDir();
    writeFileSync(join(dir, 'in.tar'), archiveWith({ behind: [header('special', 0, { type })] }));
    const run = await cli(['make-lazy', join(dir, 'in.tar'), join(dir, 'out.tar')]);
    expect(run.code, run.stderr).toBe(0);
    expect(rawMembers(readFileSync(join(dir, 'out.tar'))).at(-1)?.header).toEqual(header('special', 0, { type }));
  });

  it('with a link that has a NUL in its target', async () => {
    const pax = member('x', Buffer.from('17 linkpath=a\0bc\n'), { type: 'x' });
    const link = header('checkpoint/link', 0, { type: '2' });
    await expectRefused(archiveWith({ behind: [pax, link] }), 'link: the target of the link has a NUL byte');
  });

  it('with a folder that has bytes', async () => {
    for (const name of ['folder', 'checkpoint/folder']) {
      const folder = member(name, data, { type: '5' });
      await expectRefused(archiveWith({ behind: [folder] }), `in: expected a folder without bytes, found 1: ${name}`);
    }
  });

  it.each(['gzip', 'zstd'])('that unpacks to far more, by %s, above --max-bytes', async (program) => {
    const bomb = execFileSync(program, ['-c'], {
      input: archiveWith({ behind: [member('zeros', Buffer.alloc(4_000_000))] }),
    });
    expect(bomb.length).toBeLessThan(100_000);
    await expectRefused(bomb, 'in: expected at most 1000000 plain bytes, found more', '--max-bytes', '1000000');
  });

  it('that holds something else, compressed', async () => {
    for (const program of ['gzip', 'zstd']) {
      const other = execFileSync(program, ['-c'], { input: Buffer.alloc(3_000_000, 'no dump ') });
      await expectRefused(other, 'in: expected a dump directory, tar, shards or a page stream, found none of them');
    }
  });
});

describe('a place for the output', () => {
  it('is not the dump, nor in it, nor a file that is there', async () => {
    const dir = tempDir();
    const dump = smallDump(dir);
    const archive = join(dir, 'in.tar');
    writeFileSync(archive, archiveWith({}));
    writeFileSync(join(dir, 'there.tar'), 'something');
    symlinkSync('in.tar', join(dir, 'link'));
    mkdirSync(join(dir, 'folder'));
    const before = describeTree(dir);
    const refused = async (error: string, ...words: string[]) => {
      const { code, stderr } = await cli(['make-lazy', ...words]);
      expect([code, stderr.split('\n')[0]?.replaceAll(`${dir}/`, '')]).toEqual([1, `pagepipe: error: ${error}`]);
      expect(describeTree(dir)).toEqual(before);
    };
    await refused('in.tar: the output must be outside of what is read: in.tar', archive, archive, '--force');
    await refused('link: the output must be outside of what is read: in.tar', archive, join(dir, 'link'), '--force');
    await refused('there.tar: expected a new file, found a file', archive, join(dir, 'there.tar'));
    await refused(
      'folder: expected a new file, found something else',
      archive,
      join(dir, 'folder'),
      '--to',
      'tar',
      '--force',
    );
    await refused(
      'checkpoint/out.tar: the output must be outside of what is read: checkpoint',
      dump,
      join(dump, 'out.tar'),
      '--to',
      'tar',
    );
    const run = await cli(['make-lazy', archive, join(dir, 'there.tar'), '--force']);
    expect(run.code, run.stderr).toBe(0);
  });
});

describe('make-lazy of an archive refuses what it refuses of a directory', () => {
  for (const [table, rows] of Object.entries(TABLES).filter(([name]) => name.toLowerCase() !== 'places')) {
    it(table.toLowerCase(), async () => {
      for (const row of rows) {
        const { dump, out } = build(row);
        const words = row.options ?? [];
        const directory = await cli(['make-lazy', dump, out, ...words]);
        // What is not in the archive it cannot know.
        if (directory.code !== 1 || directory.stderr.startsWith('pagepipe: error: parent: ')) continue;
        const archive = join(tempDir(), 'in.tar');
        try {
          writeFileSync(archive, packed(dump));
        } catch {
          continue;
        }
        const run = await cli(['make-lazy', archive, join(tempDir(), 'out'), ...words]);
        expect([row.what, run.code, run.stderr.split('\n')[0], directory.stderr.split('\n')[0]]).toEqual([
          row.what,
          1,
          expect.stringMatching(/^pagepipe: error: /),
          expect.anything(),
        ]);
      }
    });
  }
});
