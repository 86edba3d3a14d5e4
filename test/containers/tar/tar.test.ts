/** Archives as GNU tar makes them, in all of its formats: what is beside the dump comes out as it went in. */
import { execFileSync } from 'node:child_process';
import {
  chmodSync,
  closeSync,
  ftruncateSync,
  linkSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterAll, describe, expect, it } from 'vitest';
import { newHeader, resized, TarReader } from '../../../src/containers/tar/headers.js';
import { BytesReader } from '../../../src/io/bytes-reader.js';
import { END, filesOf, header, member, others, plain, tar } from '../../helpers/archives.js';
import { cli } from '../../helpers/cli.js';
import { makePipe } from '../../helpers/pipe.js';
import { copyFixture, describeTree, fixture, openFiles, tempDir } from '../../helpers/temp.js';

const DUMP = 'mosaic-criu-4.2.1';
const LONG = `${'long-name-'.repeat(14)}/${'x'.repeat(120)}`;

/** A file with holes. */
function writeSparse(path: string, extents: readonly [number, string][], size: number): void {
  const fd = openSync(path, 'w');
  for (const [at, text] of extents) writeSync(fd, text, at);
  ftruncateSync(fd, size);
  closeSync(fd);
}

/** What an engine exports: the images under `checkpoint/`, between other things. Returns its members in order. */
function container(folder: string, { long = true, fifo = true } = {}): string[] {
  mkdirSync(folder);
  execFileSync('cp', ['-r', '--sparse=always', fixture(DUMP), join(folder, 'checkpoint')]);
  chmodSync(join(folder, 'checkpoint'), 0o750);
  writeFileSync(join(folder, 'checkpoint/dump.log'), 'a log\n'.repeat(500));
  symlinkSync('dump.log', join(folder, 'checkpoint/latest.log'));
  writeFileSync(join(folder, 'config.dump'), '{"name":"container"}', { mode: 0o640 });
  writeFileSync(join(folder, 'rootfs-diff.tar'), Buffer.alloc(70_000, 'diff'));
  symlinkSync('/outside/of/all', join(folder, 'link'));
  linkSync(join(folder, 'rootfs-diff.tar'), join(folder, 'zz-hard'));
  writeSparse(
    join(folder, 'volume.img'),
    [
      [0, 'begin'],
      [400_000, 'middle'],
      [1_100_000, 'end'],
    ],
    1_200_000,
  );
  writeSparse(join(folder, 'hole'), [], 100_000);
  const many = Array.from({ length: 60 }, (_, i): [number, string] => [i * 10_000, `part ${i}`]);
  writeSparse(join(folder, 'many-holes'), many, 610_000);
  const names = ['config.dump', 'link', 'checkpoint', 'rootfs-diff.tar', 'zz-hard', 'volume.img', 'hole', 'many-holes'];
  if (long) {
    mkdirSync(join(folder, LONG.replace(/\/.*/, '')));
    writeFileSync(join(folder, LONG), 'long');
    symlinkSync(`${LONG}${LONG}`, join(folder, 'zz-long-link'));
    names.push(LONG.replace(/\/.*/, ''), 'zz-long-link');
  }
  if (fifo) {
    makePipe(join(folder, 'fifo'));
    names.push('fifo');
  }
  return names;
}

/** The members of a dump that GNU tar has unpacked. */
function untar(archive: string, into: string): string {
  mkdirSync(into);
  tar(into, '-xf', archive);
  return into;
}

const FORMATS: Record<string, { words: string[]; long?: boolean; fifo?: boolean }> = {
  ustar: { words: ['--format=ustar'], long: false },
  pax: { words: ['--format=pax'] },
  gnu: { words: ['--format=gnu'] },
  v7: { words: ['--format=v7'], long: false, fifo: false },
  'gnu, sparse': { words: ['--format=gnu', '--sparse'] },
  'pax, sparse 0.0': { words: ['--format=pax', '--sparse', '--sparse-version=0.0'] },
  'pax, sparse 0.1': { words: ['--format=pax', '--sparse', '--sparse-version=0.1'] },
  'pax, sparse 1.0': { words: ['--format=pax', '--sparse', '--sparse-version=1.0'] },
  'pax, sparse 1.0, no times': {
    words: ['--format=pax', '--sparse', '--pax-option=delete=mtime,delete=atime,delete=ctime'],
  },
  gzip: { words: ['--format=pax', '--gzip'] },
  zstd: { words: ['--format=pax', '--zstd'] },
  'with a comment and an attribute of bytes': {
    words: ['--format=pax', '--pax-option=comment=global,SCHILY.xattr.user.bytes:=\u00ff\u0001\u00e9'],
  },
};

describe('an archive by GNU tar', () => {
  const root = mkdtempSync(join(tmpdir(), 'pagepipe-test-'));
  afterAll(() => rmSync(root, { recursive: true }));

  /** A container to be archived, and what there is to know of it, once for all formats. */
  async function made(contents: { long?: boolean; fifo?: boolean }) {
    const folder = join(root, JSON.stringify(contents));
    const names = container(folder, contents);
    const lazy = `${folder} lazy`;
    const run = await cli(['make-lazy', join(folder, 'checkpoint'), lazy]);
    expect(run.code, run.stderr).toBe(0);
    return {
      folder,
      names,
      tree: describeTree(folder),
      dump: describeTree(join(folder, 'checkpoint')),
      lazy: describeTree(lazy),
    };
  }
  const known = new Map<string, ReturnType<typeof made>>();

  function madeOnce(contents: { long?: boolean; fifo?: boolean }) {
    const key = JSON.stringify(contents);
    const promise = known.get(key) ?? made(contents);
    known.set(key, promise);
    return promise;
  }

  it.each(Object.keys(FORMATS))(
    '%s: make-lazy makes one of it that differs in its memory alone, and read | write gives its dump',
    async (format) => {
      const { words, ...contents } = FORMATS[format] as (typeof FORMATS)[string];
      const dir = tempDir();
      const { folder, names, ...expected } = await madeOnce(contents);
      tar(folder, '-cf', join(dir, 'in.tar'), ...words, ...names);
      const run = await cli(['make-lazy', join(dir, 'in.tar'), join(dir, 'out.tar')]);
      expect(run.code, run.stderr).toBe(0);
      expect(others(plain(join(dir, 'out.tar')))).toEqual(others(plain(join(dir, 'in.tar'))));

      const out = untar(join(dir, 'out.tar'), join(dir, 'out'));
      expect(describeTree(join(out, 'checkpoint'))).toEqual(expected.lazy);
      const beside = (tree: readonly string[]) => tree.filter((line) => !line.startsWith('checkpoint/'));
      expect(beside(describeTree(out))).toEqual(beside(expected.tree));

      const read = await cli(['read', join(dir, 'in.tar')], { stdout: join(dir, 'stream') });
      expect(read.code, read.stderr).toBe(0);
      expect((await cli(['write', join(dir, 'written')], { stdin: join(dir, 'stream') })).code).toBe(0);
      // The folder of the images is a member of the archive like others, and its mode is not that of the dump.
      expect(describeTree(join(dir, 'written')).slice(1)).toEqual(expected.dump.slice(1));
    },
  );

  it('at the top of the archive, with and without ./, from stdin to stdout', async () => {
    const dir = tempDir();
    const dump = copyFixture(DUMP, dir);
    await cli(['make-lazy', dump, join(dir, 'lazy')]);
    for (const [i, words] of [['.'], readdirSync(dump)].entries()) {
      const out = join(dir, `out${i}`);
      const stdin = join(dir, 'in.tar');
      writeFileSync(stdin, tar(dump, '-c', ...words));
      const run = await cli(['make-lazy', '-', out, '--to', 'directory'], { stdin });
      expect(run.code, run.stderr).toBe(0);
      expect(describeTree(out).slice(1)).toEqual(describeTree(join(dir, 'lazy')).slice(1));
      writeFileSync(stdin, tar(dump, '-cz', ...words));
      const archive = await cli(['make-lazy', '-', '-', '--to', 'tar'], { stdin, stdout: join(dir, 'out.tar') });
      expect(archive.code, archive.stderr).toBe(0);
      const untarred = untar(join(dir, 'out.tar'), join(dir, `untarred${i}`));
      expect(filesOf(untarred)).toEqual(filesOf(join(dir, 'lazy')));
    }
  });

  it('in any order, spilled or not', async () => {
    const dir = tempDir();
    const dump = copyFixture('family-criu-4.2.1', dir);
    const names = readdirSync(dump);
    let count = 0;
    await fc.assert(
      fc.asyncProperty(
        fc.shuffledSubarray(names, { minLength: names.length }),
        fc.constantFrom('0', '64'),
        fc.constantFrom('flags', 'vma'),
        async (order, buffer, policy) => {
          const out = join(dir, `out${count}`);
          tar(dump, '-cf', join(dir, 'in.tar'), ...order);
          const words = ['--buffer', buffer, '--policy', policy, '--spill-dir', dir];
          const run = await cli(['make-lazy', join(dir, 'in.tar'), out, '--to', 'directory', ...words]);
          expect(run.code, run.stderr).toBe(0);
          const expected = join(dir, `expected${count++}`);
          await cli(['make-lazy', dump, expected, '--policy', policy]);
          expect(describeTree(out).slice(1)).toEqual(describeTree(expected).slice(1));
          const archive = join(dir, `out${count}.tar`);
          expect((await cli(['make-lazy', join(dir, 'in.tar'), archive, ...words])).code).toBe(0);
          expect(filesOf(untar(archive, join(dir, `untarred${count}`)))).toEqual(filesOf(expected));
        },
      ),
      { numRuns: 4 },
    );
    expect(openFiles(dir)).toEqual([]);
  });

  it('of a directory by --to tar, which gives the directory again', async () => {
    const dir = tempDir();
    const dump = copyFixture(DUMP, dir);
    const run = await cli(['make-lazy', dump, join(dir, 'out.tar'), '--to', 'tar']);
    expect(run.code, run.stderr).toBe(0);
    await cli(['make-lazy', dump, join(dir, 'lazy')]);
    const out = untar(join(dir, 'out.tar'), join(dir, 'out'));
    expect(describeTree(out).slice(1)).toEqual(describeTree(join(dir, 'lazy')).slice(1));
  });

  it('that is large and comes before the images', async () => {
    const dir = tempDir();
    const names = container(join(dir, 'in'));
    writeFileSync(join(dir, 'in/aaa'), Buffer.alloc(4_000_000, 'large'));
    writeFileSync(join(dir, 'in/checkpoint/aaa-not-an-image'), Buffer.alloc(3_000_000, 'first'));
    tar(join(dir, 'in'), '-cf', join(dir, 'in.tar'), '--sparse', 'aaa', 'volume.img', ...names);
    const out = ['make-lazy', join(dir, 'in.tar'), join(dir, 'out.tar'), '--buffer', '1', '--spill-dir', dir];
    // A member twice is refused, by whichever name.
    expect((await cli(out)).stderr).toBe('pagepipe: error: ../volume.img: the name occurs twice\n');
    tar(join(dir, 'in'), '-cf', join(dir, 'in.tar'), '--sparse', 'aaa', ...names);
    const run = await cli(out);
    expect(run.code, run.stderr).toBe(0);
    expect(others(readFileSync(join(dir, 'out.tar')))).toEqual(others(readFileSync(join(dir, 'in.tar'))));
  });
});

/** The first member of an archive. */
async function first(...parts: Uint8Array[]) {
  async function* chunks() {
    yield Buffer.concat(parts);
  }
  const found = await new TarReader(new BytesReader(chunks()), 'archive').next();
  if (!found) throw new Error('no member');
  return found;
}

describe('headers', () => {
  const base256 = (value: bigint) => {
    const bytes = Buffer.alloc(12);
    bytes.writeBigUInt64BE(value, 4);
    bytes[0] = 0x80;
    return bytes;
  };

  it('hold sizes above 8 GiB, in base-256', async () => {
    for (const size of [8n * 2n ** 30n, 2n ** 33n + 5n, 2n ** 45n]) {
      expect((await first(header('pages-1.img', base256(size)))).size).toBe(Number(size));
      expect((await first(newHeader('pages-1.img', 0o600, Number(size), 0))).size).toBe(Number(size));
      const small = await first(header('pages-1.img', 4096));
      const large = await first(resized(small.header, Number(size)));
      expect(large.size).toBe(Number(size));
      expect(resized(large.header, 4096)).toEqual(small.header);
    }
    await expect(first(header('pages-1.img', base256(2n ** 62n)))).rejects.toThrow(
      'archive@0x0: expected a header with a size, found something else',
    );
    await expect(first(header('pages-1.img', Buffer.from('no number 12')))).rejects.toThrow(
      'archive@0x0: expected a header with a size, found something else',
    );
  });

  it('are read by GNU tar as they were meant, above 8 GiB', () => {
    const dir = tempDir();
    const fd = openSync(join(dir, 'large.tar'), 'w');
    const size = 9 * 2 ** 30;
    writeSync(fd, newHeader('pages-1.img', 0o600, size, 0));
    writeSync(fd, END, 0, END.length, 512 + size);
    closeSync(fd);
    expect(tar(dir, '-tvf', join(dir, 'large.tar')).toString()).toMatch(
      new RegExp(`^-rw------- 0/0 +${size} .* pages-1\\.img\n$`),
    );
  });

  it('with a size in a PAX record, which is dropped when the size changes; bytes of others stay', async () => {
    const bytes = Buffer.from([0, 0xff, 0x0a, 0x3d, 0x20, 0xc3]);
    const record = (key: string, value: Uint8Array) => {
      const body = Buffer.concat([Buffer.from(` ${key}=`), value, Buffer.from('\n')]);
      const length = body.length + 2;
      return Buffer.concat([Buffer.from(String(length)), body]);
    };
    const xattr = record('SCHILY.xattr.user.b', bytes);
    const pax = (...records: Buffer[]) => member('PaxHeaders/x', Buffer.concat(records), { type: 'x' });
    const large = await first(pax(record('size', Buffer.from('9000000000')), xattr), header('pages-1.img', 0));
    expect(large.size).toBe(9_000_000_000);
    const small = await first(resized(large.header, 10));
    expect(small.size).toBe(10);
    expect(Buffer.from(small.header).includes(xattr)).toBe(true);
    expect(Buffer.from(small.header).includes('size=')).toBe(false);
    const same = await first(pax(xattr), header('core-1.img', 0));
    expect(resized(same.header, 0)).toEqual(same.header);
  });

  it('with a global record, which the record of a member overrides', async () => {
    const pax = (type: string, text: string) => member('x', Buffer.from(text), { type });
    const global = pax('g', '16 path=outer/a\n');
    const own = pax('x', '16 path=inner/a\n');
    expect((await first(global, header('x', 0))).name).toBe('outer/a');
    expect((await first(own, global, header('x', 0))).name).toBe('inner/a');
    expect((await first(global, own, header('x', 0))).name).toBe('inner/a');
  });
});
