/** copy: a dump from anything into anything, unchanged, or nothing at all. */
import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import {
  closeSync,
  existsSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  statSync,
  symlinkSync,
  truncateSync,
  watch,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { describe, expect, it } from 'vitest';
import { END, filesOf, header, member, putAll, sha256Of, tar, writeShards } from '../helpers/archives.js';
import { BIN, cli, type InProcessOptions, runProcess } from '../helpers/cli.js';
import { ANON, writeDump } from '../helpers/dump-writer.js';
import { expectError } from '../helpers/expect-error.js';
import { copyFixture, describeTree, FIXTURES, fixture, openFiles, tempDir } from '../helpers/temp.js';

const STREAMER = fixture('streamer');
const DUMP = 'mosaic-criu-4.2.1';

/** Copies, and says what was written to stderr. */
async function copy(words: readonly string[], options: InProcessOptions = {}): Promise<string> {
  const { code, stderr } = await cli(['copy', ...words], options);
  expect(code, stderr).toBe(0);
  return stderr;
}

/** One line of an error, and nothing that was not there before. */
async function refused(dir: string, words: readonly string[], error: string, code = 1): Promise<void> {
  const before = describeTree(dir);
  const run = await cli(['copy', ...words]);
  const [, message] = /^pagepipe: (?:error: )?([^\n]*)\n(?:pagepipe: hint: [^\n]*\n)?$/.exec(run.stderr) ?? [];
  expect([run.code, message?.replaceAll(`${dir}/`, '')]).toEqual([code, error]);
  expect(describeTree(dir)).toEqual(before);
  expect(openFiles(dir)).toEqual([]);
}

/** What stands in a dump; of the folder itself, the mode is private. */
const contents = (path: string): string[] => describeTree(path).slice(1);

describe('a dump of a machine with several page sizes', () => {
  /** In an archive that arrives. */
  function packed(pageSize: number, change: (dump: string) => void = () => {}): string {
    const dump = join(tempDir(), 'dump');
    const vmas = [{ start: 0x100000n, end: 0x200000n, ...ANON }];
    const tasks = [7, 8].map((pid) => ({ pid, vmas, entries: [{ vaddr: 0x100000n, pages: pid }] }));
    writeDump(dump, { tasks, march: 3, pageSize });
    change(dump);
    tar(dump, '-czf', `${dump}.tar.gz`, '--sort=name', '.');
    return `${dump}.tar.gz`;
  }

  it.each([4096, 16384, 65536])('needs no --page-size: %i', async (pageSize) => {
    const out = join(tempDir(), 'out');
    await copy([packed(pageSize), out]);
    expect(statSync(join(out, 'pages-1.img')).size).toBe(7 * pageSize);
  });

  it('is refused if its pages files do not agree', async () => {
    const dump = packed(16384, (path) => truncateSync(join(path, 'pages-2.img'), 8 * 4096));
    await refused(tempDir(), [dump, 'out'], 'pages-2.img: the file has 98304 bytes fewer than pagemap-8.img says');
  });

  it('is refused by what must know its pages, with the machine and the usual size', async () => {
    const dump = packed(4096);
    expectError(
      await cli(['make-lazy', dump, join(tempDir(), 'out')]),
      `${dump}: AArch64 machines have several page sizes`,
      'give the page size with --page-size; 4096 is usual',
    );
  });
});

describe('captures of criu-image-streamer', () => {
  it('become the files that it extracted', async () => {
    const dir = tempDir();
    await copy([join(STREAMER, 'single.stream'), join(dir, 'out')]);
    const expected = readFileSync(join(STREAMER, 'single.extracted.sha256'), 'utf8')
      .split('\n')
      .filter((line) => line !== '')
      .map((line) => line.replace(/ {2}(.*\/)?/, '  '))
      .sort();
    expect(sha256Of(filesOf(join(dir, 'out')))).toEqual(expected);
    expect(contents(join(dir, 'out')).every((line) => line.includes(' 600 '))).toBe(true);
    expect(describeTree(join(dir, 'out'))[0]).toBe('. 700');
  });

  it('become what read and write make of them, in any order, by name and by descriptor', async () => {
    const dir = tempDir();
    const shard = (i: number) => join(STREAMER, `shard${i}`);
    const names = [2, 0, 1].map(shard).join(',');
    expect((await cli(['read', names, '--from', 'shards'], { stdout: join(dir, 'stream') })).code).toBe(0);
    expect((await cli(['write', join(dir, 'written')], { stdin: join(dir, 'stream') })).code).toBe(0);
    await copy([names, join(dir, 'a'), '--from', 'shards']);
    const fds = [1, 2, 0].map((i) => openSync(shard(i), 'r'));
    await copy(['-', join(dir, 'b'), '--shard-fds', fds.join(',')]);
    for (const fd of fds) closeSync(fd);
    expect(describeTree(join(dir, 'a'))).toEqual(describeTree(join(dir, 'written')));
    expect(describeTree(join(dir, 'b'))).toEqual(describeTree(join(dir, 'written')));
  });
});

describe('archives', () => {
  it.each(FIXTURES)('of %s become it, plain, through a pipe and compressed', async (name) => {
    const dir = tempDir();
    const dump = copyFixture(name, dir);
    // What unpacks them does not look at what is in them.
    const compressed = name === DUMP ? [['--gzip'], ['--zstd']] : [];
    for (const [i, words] of [[], ...compressed].entries()) {
      const archive = join(dir, `${i}.tar`);
      tar(dump, '-cf', archive, ...words, '.');
      await copy([archive, join(dir, `file${i}`)]);
      await copy(['-', join(dir, `stdin${i}`)], { stdin: archive });
      expect(contents(join(dir, `file${i}`))).toEqual(contents(dump));
      expect(contents(join(dir, `stdin${i}`))).toEqual(contents(dump));
    }
  });

  it('give their dump alone, with its folders, links and modes', async () => {
    const dir = tempDir();
    const dump = copyFixture('mosaic-criu-4.2.1', dir);
    execFileSync('chmod', ['640', join(dump, 'files.img')]);
    mkdirSync(join(dump, 'folder'), { mode: 0o750 });
    writeFileSync(join(dump, 'folder/note'), 'hello', { mode: 0o400 });
    symlinkSync('note', join(dump, 'folder/link'));
    writeFileSync(join(dir, 'beside'), 'beside');
    tar(dir, '-cf', join(dir, 'in.tar'), '--transform', 's,^dump,checkpoint,', 'beside', 'dump');
    await copy([join(dir, 'in.tar'), join(dir, 'out')]);
    expect(contents(join(dir, 'out'))).toEqual(contents(dump));
  });

  it('keep the holes of sparse images', async () => {
    const dir = tempDir();
    const dump = copyFixture('mosaic-criu-4.2.1', dir);
    const log = join(dump, 'sparse.log');
    writeFileSync(log, 'begin');
    truncateSync(log, 4_000_000);
    for (const format of ['gnu', 'pax']) {
      tar(dump, '-cSf', join(dir, 'in.tar'), `--format=${format}`, '.');
      for (const stdin of [undefined, join(dir, 'in.tar')]) {
        const out = join(dir, `${format}${stdin === undefined}`);
        await (stdin === undefined ? copy([join(dir, 'in.tar'), out]) : copy(['-', out], { stdin }));
        expect(contents(out)).toEqual(contents(dump));
        expect(statSync(join(out, 'sparse.log')).blocks * 512).toBeLessThan(100_000);
      }
    }
  });

  it('become archives with all that is in them, in another compression or none', async () => {
    const dir = tempDir();
    const dump = copyFixture(DUMP, dir);
    writeFileSync(join(dir, 'beside'), 'beside');
    tar(dir, '-cf', join(dir, 'a.tar'), '--sort=name', 'beside', 'dump');
    await copy([join(dir, 'a.tar'), join(dir, 'b'), '--to', 'tar', '--compress', 'zstd']);
    await copy([join(dir, 'b'), join(dir, 'c'), '--to', 'tar', '--compress', 'gzip']);
    await copy([join(dir, 'c'), join(dir, 'd'), '--to', 'tar']);
    const plain = readFileSync(join(dir, 'd'));
    for (const [name, program] of Object.entries({ b: 'zstd', c: 'gzip' })) {
      expect(execFileSync(program, ['-dc', join(dir, name)], { maxBuffer: 2 ** 28 }).equals(plain)).toBe(true);
    }
    tar(dir, '-xf', join(dir, 'd'), '--one-top-level=unpacked');
    expect(contents(join(dir, 'unpacked/dump'))).toEqual(contents(dump));
    expect(readFileSync(join(dir, 'unpacked/beside'), 'utf8')).toBe('beside');
    const words = [join(dir, 'a.tar'), join(dir, 'e'), '--to', 'tar', '--prefix', 'checkpoint'];
    await refused(dir, words, '--prefix: the source is an archive, whose files keep their folders', 2);
  });
});

describe('a copy', () => {
  it('comes back the same from one container after another', async () => {
    const dir = tempDir();
    const dump = copyFixture(DUMP, dir);
    const at = (name: string) => join(dir, name);
    await copy([dump, at('a'), '--to', 'shards']);
    await copy([at('a'), at('b'), '--to', 'tar', '--compress', 'zstd', '--prefix', 'checkpoint']);
    await copy([at('b'), [at('c0'), at('c1')].join(','), '--to', 'shards']);
    await copy([[at('c1'), at('c0')].join(','), at('d'), '--from', 'shards']);
    await copy([at('d'), '-', '--to', 'tar'], { stdout: at('e.tar') });
    await copy(['-', at('f')], { stdin: at('e.tar') });
    expect(contents(at('f')).map((line) => line.replace(/ 6\d\d /, ' '))).toEqual(
      contents(dump).map((line) => line.replace(/ 6\d\d /, ' ')),
    );
  });

  it('of a page stream is checked against its checksums', async () => {
    const dir = tempDir();
    expect((await cli(['read', fixture(DUMP)], { stdout: join(dir, 'stream') })).code).toBe(0);
    await copy([join(dir, 'stream'), join(dir, 'out')]);
    expect(contents(join(dir, 'out'))).toEqual(contents(fixture(DUMP)));
    const bytes = readFileSync(join(dir, 'stream'));
    bytes[bytes.length >> 1] = (bytes[bytes.length >> 1] as number) ^ 1;
    writeFileSync(join(dir, 'damaged'), bytes);
    await refused(
      dir,
      [join(dir, 'damaged'), join(dir, 'out2')],
      'pages-2.img: the payload does not match its checksum',
    );
  });

  it('of a lazy dump, or away from its parent, says so', async () => {
    const dir = tempDir();
    const dump = copyFixture('chain/mprotect00/3', dir);
    expect((await cli(['make-lazy', fixture(DUMP), join(dir, 'lazy')])).code).toBe(0);
    tar(dump, '-cf', join(dir, 'chain.tar'), '.');
    tar(join(dir, 'lazy'), '-cf', join(dir, 'lazy.tar'), '.');
    for (const source of [dump, join(dir, 'chain.tar')]) {
      const said = await copy([source, join(dir, 'away'), '--force']);
      const away = join(dir, 'away');
      expect(said).toBe(
        `pagepipe: warning: ${away}/parent leads nowhere; put ${away} next to the dump, or the parent dump next to ${away}\n`,
      );
    }
    for (const source of [join(dir, 'lazy'), join(dir, 'lazy.tar')]) {
      const said = await copy([source, join(dir, 'copied'), '--force']);
      expect(said).toBe(
        `pagepipe: warning: ${join(dir, 'copied')}: never restore this directory without --lazy-pages: its lazy pages are not in ` +
          'it, and CRIU would spin forever, or restore a process that computes on zeros\n',
      );
    }
    const others = { 'copied.tar': 'this archive', 'copied.oci.tar': 'this image' };
    for (const [name, what] of Object.entries(others)) {
      const said = await copy([join(dir, 'lazy'), join(dir, name)]);
      expect(said).toBe(
        `pagepipe: warning: ${join(dir, name)}: never restore ${what} without --lazy-pages: its lazy pages are not in it, ` +
          'and CRIU would spin forever, or restore a process that computes on zeros\n',
      );
    }
  });

  it('takes no place that is in use, and not that of its own archive', async () => {
    const dir = tempDir();
    mkdirSync(join(dir, 'out'));
    tar(fixture(DUMP), '-cf', join(dir, 'out/in.tar'), '.');
    await refused(
      dir,
      [join(dir, 'out/in.tar'), join(dir, 'out')],
      'out: the output must not contain what is read: out/in.tar',
    );
    await refused(
      dir,
      [join(dir, 'out/in.tar'), join(dir, 'out'), '--force'],
      'out: the output must not contain what is read: out/in.tar',
    );
    await refused(
      dir,
      [join(dir, 'out/in.tar'), join(dir, 'out/in.tar')],
      'out/in.tar: the output must be outside of what is read: out/in.tar',
    );
    mkdirSync(join(dir, 'old'));
    writeFileSync(join(dir, 'old/inventory.img'), 'old');
    await copy([join(dir, 'out/in.tar'), join(dir, 'old'), '--force']);
    expect(contents(join(dir, 'old'))).toEqual(contents(fixture(DUMP)));
  });

  it('that cannot begin leaves no program behind that waits for it', async () => {
    const dir = tempDir();
    mkdirSync(join(dir, 'full'));
    writeFileSync(join(dir, 'full/file'), 'there');
    tar(fixture(DUMP), '-cf', join(dir, 'in.tar'), '--zstd', '.');
    const full = 'full: expected a new or empty directory, found files in it';
    const inside = 'in.tar: the output must be outside of what is read: in.tar';
    for (const [words, error] of [
      ['copy in.tar full', full],
      ['copy - full < in.tar', full],
      ['make-lazy in.tar in.tar', inside],
    ] as const) {
      const run = await runProcess('bash', ['-c', `"$0" "$1" ${words}`, process.execPath, BIN], { cwd: dir });
      expect([run.code, run.stderr]).toEqual([1, `pagepipe: error: ${error}\n`]);
    }
  });

  it('that is interrupted leaves nothing', async () => {
    const dir = tempDir();
    const parts = putAll(dir, 'shard', writeShards(filesOf(fixture(DUMP))));
    const before = describeTree(dir);
    const aborted = AbortSignal.abort(new Error('enough'));
    const { code } = await cli(['copy', parts.join(','), join(dir, 'out')], { signal: aborted });
    expect(code).not.toBe(0);
    expect(describeTree(dir)).toEqual(before);
    expect(openFiles(dir)).toEqual([]);
  });

  it.each(['goes on', 'ends at the same time'])(
    'waits for a pipe, and hears a signal when the input %s',
    async (input) => {
      const dir = tempDir();
      const [part] = writeShards(filesOf(fixture(DUMP))) as [Buffer];
      // A pipe of the kernel, which cat keeps open.
      const script = 'cat | { "$0" "$1" copy - out <&0 & echo "pid $!"; wait $!; echo "exit code $?"; }';
      const shell = spawn('bash', ['-c', script, process.execPath, BIN], {
        cwd: dir,
        stdio: ['pipe', 'pipe', 'inherit'],
      });
      // cat may still be writing when the reader is gone.
      shell.stdin.on('error', () => {});
      const lines = createInterface(shell.stdout)[Symbol.asyncIterator]();
      const began = new Promise((resolve) => {
        const watcher = watch(dir, (_, name) => name?.startsWith('.out.') && resolve(watcher.close()));
      });
      shell.stdin.write(part.subarray(0, part.length >> 1));
      const pid = /^pid (\d+)$/.exec((await lines.next()).value)?.[1];
      await began;
      process.kill(Number(pid), 'SIGTERM');
      if (input !== 'goes on') shell.stdin.end();
      expect((await lines.next()).value).toBe('exit code 143');
      shell.stdin.end();
      await once(shell, 'close');
      expect(readdirSync(dir)).toEqual([]);
    },
  );
});

describe('refused, with nothing left behind', () => {
  /** A small dump of two tasks, with pages-1.img and pages-2.img. */
  const files = () => {
    const dump = join(tempDir(), 'dump');
    const vmas = [{ start: 0x10000n, end: 0x90000n, ...ANON }];
    const entries = [{ vaddr: 0x10000n, pages: 2 }];
    const tasks = [15, 19].map((pid) => ({ pid, vmas, entries }));
    writeDump(dump, { tasks });
    return filesOf(dump);
  };

  it.each([
    ['pstree.img', 'shard0: expected a dump, found no pstree.img'],
    ['inventory.img', 'shard0: expected a dump, found no inventory.img'],
    ['mm-15.img', 'mm-15.img: expected this image, named by pstree.img, found none'],
    ['core-15.img', 'core-15.img: expected this image, named by pstree.img, found none'],
    ['pagemap-15.img', 'pagemap-15.img: expected this image, named by pstree.img, found none'],
    ['pages-1.img', 'pages-1.img: expected this image, named by pagemap-15.img, found none'],
  ])('a dump without %s', async (image, error) => {
    const dir = tempDir();
    const left = files();
    left.delete(image);
    const [shard] = putAll(dir, 'shard', writeShards(left));
    await refused(dir, [shard as string, join(dir, 'out')], error);
  });

  it.each<[string, string, (image: Buffer) => Buffer, error: string, ofArchive?: string]>([
    [
      'an image with another magic',
      'files.img',
      (image: Buffer) => image.fill(1, 0, 8),
      'files.img@0x0: expected FILES magic 0x54564319, found 0x01010101',
    ],
    [
      'an image that is cut off',
      'core-15.img',
      (image: Buffer) => image.subarray(0, -1),
      'core-15.img@0x8 entry 0: expected an entry of 96 bytes with its size, found 95',
    ],
    [
      'areas that are cut off',
      'mm-15.img',
      (image: Buffer) => image.subarray(0, -1),
      'mm-15.img@0x8 entry 0: expected an entry of 51 bytes with its size, found 50',
    ],
    [
      'a pagemap that is cut off',
      'pagemap-15.img',
      (image: Buffer) => image.subarray(0, -1),
      'pagemap-15.img@0xe entry 0: expected an entry of 14 bytes with its size, found 13',
    ],
    [
      'pages that are too few',
      'pages-2.img',
      (image: Buffer) => image.subarray(0, -4096),
      'pages-2.img: the file has 4096 bytes fewer than pagemap-19.img says',
      'pages-2.img@0x1000: expected at least 8192 bytes of pages by entry 0 of pagemap-19.img, found 4096',
    ],
    [
      'pages that are too many',
      'pages-2.img',
      (image: Buffer) => Buffer.concat([image, image]),
      'pages-2.img: the file has 8192 bytes more than pagemap-19.img says',
      'pages-2.img@0x2000: expected 8192 bytes of pages by pagemap-19.img, found 16384',
    ],
  ])('%s', async (_, name, damage, error, ofArchive = error) => {
    const dir = tempDir();
    const damaged = files();
    damaged.set(name, damage(damaged.get(name) as Buffer));
    const [shard] = putAll(dir, 'shard', writeShards(damaged));
    await refused(dir, [shard as string, join(dir, 'out')], error);
    const archive = Buffer.concat([...[...damaged].map(([one, bytes]) => member(one, bytes)), END]);
    writeFileSync(join(dir, 'in.tar'), archive);
    await refused(dir, [join(dir, 'in.tar'), join(dir, 'out')], ofArchive);
  });

  it('pages of a parent that is not there', async () => {
    const dir = tempDir();
    const [shard] = putAll(dir, 'shard', writeShards(filesOf(fixture('chain/mprotect00/3'))));
    await refused(
      dir,
      [shard as string, join(dir, 'out')],
      'pagemap-62.img: expected a parent dump, which has pages of this one, found no parent link',
    );
  });

  it.each([
    ['a device', header('x', 0, { type: '3' }), 'in.tar@0x7a00: expected files in the dump, found a device or fifo: x'],
    ['a hard link to nothing', header('x', 0, { type: '1', target: 'none' }), 'x: expected a file, found a hard link'],
    [
      'a file in no folder',
      member('folder/x', Buffer.from('x')),
      'folder/x: expected a folder "folder" before this file, found none',
    ],
  ])('an archive with %s', async (_, hostile, error) => {
    const dir = tempDir();
    const members = [...files()].map(([name, bytes]) => member(name, bytes));
    writeFileSync(join(dir, 'in.tar'), Buffer.concat([...members, hostile, END]));
    await refused(dir, [join(dir, 'in.tar'), join(dir, 'out')], error);
  });

  it('a file behind a link', async () => {
    const dir = tempDir();
    const members = [...files()].map(([name, bytes]) => member(name, bytes));
    const link = header('folder', 0, { type: '2', target: '.' });
    writeFileSync(join(dir, 'in.tar'), Buffer.concat([...members, link, member('folder/x', Buffer.from('x')), END]));
    await refused(
      dir,
      [join(dir, 'in.tar'), join(dir, 'out')],
      'folder/x: expected a folder "folder" before this file, found none',
    );
  });

  it.each([
    [
      'pstree.img',
      '@0x4: expected PSTREE magic 0x50273030, found 0x56303138 (FILES)',
      'in.tar: expected a dump, found no pstree.img',
    ],
    ['core-15.img', '@0x4: expected CORE magic 0x55053847, found 0x56303138 (FILES)', undefined],
    ['mm-15.img', '@0x4: expected MM magic 0x57492820, found 0x56303138 (FILES)', undefined],
    ['pagemap-15.img', ': expected an image, found a link', undefined],
    [
      'pages-1.img',
      ': expected an image, found a link',
      'pages-1.img: expected this image, named by pagemap-15.img, found none',
    ],
  ])(
    'a link or a folder in the place of %s',
    async (image, ofLink, ofFolder = `${image}: expected this image, named by pstree.img, found none`) => {
      const dir = tempDir();
      for (const [type, error] of [
        ['2', `${image}${ofLink}`],
        ['5', ofFolder],
      ] as const) {
        const members = [...files()].map(([name, bytes]) =>
          name === image ? header(name, 0, { type, target: 'files.img' }) : member(name, bytes),
        );
        writeFileSync(join(dir, 'in.tar'), Buffer.concat([...members, END]));
        await refused(dir, [join(dir, 'in.tar'), join(dir, 'out')], error);
      }
    },
  );

  it('what cannot be, by the command line', async () => {
    const dir = tempDir();
    const dump = copyFixture('mosaic-criu-4.2.1', dir);
    const out = join(dir, 'out');
    await refused(dir, [dump], 'expected OUT, found nothing', 2);
    await refused(
      dir,
      [dump, out, '--compress', 'zstd'],
      '--compress is for archives; name one (out.tar) or use --to tar',
      2,
    );
    await refused(dir, [dump, out, '--to', 'zip'], '--to: expected directory, tar, oci, shards, found "zip"', 2);
    await refused(dir, [dump, join(dump, 'out')], 'dump/out: the output must be outside of what is read: dump');
    await refused(dir, [join(dir, 'none'), out], 'none: no such file or directory (ENOENT)');
    expect(existsSync(out)).toBe(false);
  });
});
