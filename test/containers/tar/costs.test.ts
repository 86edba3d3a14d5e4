/** Small archives that would be much work: each is refused or read with little time and memory. */
import { appendFileSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { describe, expect, it } from 'vitest';
import { TarReader } from '../../../src/containers/tar/headers.js';
import { BytesReader } from '../../../src/io/bytes-reader.js';
import { END, filesOf, header, member } from '../../helpers/archives.js';
import { cli } from '../../helpers/cli.js';
import { costs } from '../../helpers/cost.js';
import { ANON, writeDump } from '../../helpers/dump-writer.js';
import { tempDir } from '../../helpers/temp.js';

/** What a small dump costs, and then some: this machine may be busy. */
const CPU_SECONDS = 8;
const MEBIBYTES = 250;

const KIB = 1024;

const costOf = costs();

function images(): Buffer[] {
  const dump = join(tempDir(), 'dump');
  writeDump(dump, { tasks: [{ pid: 7, vmas: [{ start: 0n, end: 1n << 40n, ...ANON }], entries: [] }] });
  return [...filesOf(dump)].map(([name, bytes]) => member(`checkpoint/${name}`, bytes));
}

const record = (key: string, value: string): string => {
  const rest = ` ${key}=${value}\n`;
  const digits = String(rest.length).length;
  const length = rest.length + digits;
  return `${String(length).length === digits ? length : length + 1}${rest}`;
};

const extension = (type: string, text: string): Buffer => member('x', Buffer.from(text), { type });

const data = Buffer.from('x');

/** A header of an old sparse file whose extension blocks have no extents. */
function emptySparse(blocks: number): Buffer {
  const more = Buffer.alloc(512);
  more[504] = 1;
  const first = header('sparse', 0, { type: 'S' });
  first[482] = 1;
  first.write('        ', 148);
  const sum = first.reduce((total, byte) => total + byte, 0);
  first.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148);
  return Buffer.concat([first, ...Array<Buffer>(blocks).fill(more), Buffer.alloc(512)]);
}

const sparse1 = record('GNU.sparse.major', '1') + record('GNU.sparse.realsize', '10');

const TIB = 1024 ** 4;

/** A sparse file that is a hole. */
const hole = (name: string, size: number): Buffer =>
  Buffer.concat([
    extension('x', record('GNU.sparse.size', String(size)) + record('GNU.sparse.map', '')),
    header(name, 0),
  ]);

type Row = [what: string, front: () => Buffer[], error: string | undefined];
const ROWS: Row[] = [
  [
    'a name of slashes',
    () => [extension('x', record('path', `x${'/'.repeat(900 * KIB)}x`)), member('x', data)],
    'IN: expected a name of at most 4096 bytes, found 921602',
  ],
  [
    'a long name of dots and slashes',
    () => [extension('L', `${'.//'.repeat(300 * KIB)}\0`), member('x', data)],
    'IN: expected a name of at most 4096 bytes, found 921600',
  ],
  [
    'a long target',
    () => [extension('K', 'x'.repeat(900 * KIB)), header('x', 0, { type: '2' })],
    'IN: expected a name of at most 4096 bytes, found 921600',
  ],
  [
    'a name as long as it may be, of slashes',
    () => [extension('x', record('path', `x/${'./'.repeat(2000)}`)), member('x', data)],
    `IN: expected a file name inside the dump, found "x/${'./'.repeat(1999)}."`,
  ],
  [
    'extensions without a member',
    () => [...Array<Buffer>(20).fill(extension('x', record('comment', ' '.repeat(500 * KIB)))), member('x', data)],
    'IN: expected extensions of at most 1048576 bytes before a file, found something else',
  ],
  [
    'headers of empty extensions',
    () => [...Array<Buffer>(20_000).fill(header('x', 0, { type: 'x' })), member('x', data)],
    'IN: expected extensions of at most 1048576 bytes before a file, found something else',
  ],
  [
    'a global header of many records, for many members',
    () => [
      extension('g', Array.from({ length: 40_000 }, (_, i) => record(`k${i}`, 'x')).join('')),
      ...Array.from({ length: 5000 }, (_, i) => member(`m${i}`, data)),
    ],
    undefined,
  ],
  [
    'a global header with a long name',
    () => [extension('g', record('path', 'x'.repeat(900 * KIB))), member('x', data)],
    'IN: expected a name of at most 4096 bytes, found 921600',
  ],
  [
    'the pieces of a sparse file, a record each',
    () => [extension('x', record('GNU.sparse.offset', '1').repeat(44_000)), member('x', data)],
    'IN: expected the map of a sparse file, found something else',
  ],
  [
    'blocks of a sparse map without pieces',
    () => [emptySparse(50_000)],
    'IN: expected the map of a sparse file, found something else',
  ],
  [
    'a sparse map of zeros alone',
    () => [extension('x', sparse1), header('x', 10_000 * 512), Buffer.alloc(10_000 * 512)],
    'IN: expected the map of a sparse file, found something else',
  ],
  [
    'many sparse files of many pieces',
    () =>
      Array<Buffer>(11).fill(
        Buffer.concat([
          extension('x', record('GNU.sparse.size', '0') + record('GNU.sparse.map', `0,0${',0,0'.repeat(99_999)}`)),
          header('x', 0),
        ]),
      ),
    'IN: expected at most 1000000 pieces of sparse files in an archive, found more',
  ],
  [
    'an image that is a hole',
    () => [hole('checkpoint/tty.img', 900 * 1024 ** 3)],
    'tty.img: expected at most 1073741824 bytes of holes, found 966367641600',
  ],
  [
    'holes without end',
    () => Array.from({ length: 3 }, (_, i) => hole(`rootfs${i}`, TIB / 2)),
    'IN: expected at most 1099511627776 bytes of holes in an archive, found more',
  ],
  [
    'long names of many members',
    () => [extension('g', record('path', 'x'.repeat(4000))), ...Array<Buffer>(9000).fill(header('x', 0))],
    'IN: expected at most 33554432 bytes of names in an archive, found more',
  ],
];

const archive = (front: readonly Buffer[]): Buffer => Buffer.concat([...front, ...images(), END]);

/** Runs `x ps` on bytes in a file; no more than so much may be needed for it. */
async function cheap(bytes: Uint8Array, maxMebibytes = MEBIBYTES): Promise<{ code: number; stderr: string }> {
  const path = join(tempDir(), 'in');
  writeFileSync(path, bytes);
  const { code, stderr, cpuSeconds, mebibytes } = await costOf(['x', path, 'ps']);
  expect(cpuSeconds).toBeLessThan(CPU_SECONDS);
  expect(mebibytes).toBeLessThan(maxMebibytes);
  // Where in the archive is left out.
  return { code, stderr: stderr.replace(/\/\S+\/in@0x[0-9a-f]+:/, 'IN:') };
}

describe('an archive costs little', () => {
  it.each(ROWS)('with %s', async (_, front, error) => {
    const { code, stderr } = await cheap(gzipSync(archive(front()), { level: 1 }));
    expect(stderr).toBe(error ? `pagepipe: error: ${error}\n` : '');
    expect(code).toBe(error ? 1 : 0);
  });

  it('with many members before the first image, plain and compressed', async () => {
    const members = Array.from({ length: 20_000 }, (_, i) => Buffer.concat([header(`m${i}`, 1), Buffer.alloc(512)]));
    const bytes = archive(members);
    expect(await cheap(bytes)).toEqual({ code: 0, stderr: '' });
    expect(await cheap(gzipSync(bytes, { level: 1 }))).toEqual({ code: 0, stderr: '' });
  });

  it('with pages that are a hole of another size than their pagemap says', async () => {
    const others = images().filter((bytes) => !bytes.subarray(0, 100).includes('pages-'));
    const path = join(tempDir(), 'in');
    const huge = hole('checkpoint/pages-1.img', 900 * 1024 ** 3);
    writeFileSync(path, gzipSync(Buffer.concat([...others, huge, END])));
    const { code, stderr, cpuSeconds } = await costOf(['copy', path, join(tempDir(), 'out')]);
    expect([code, stderr]).toEqual([
      1,
      'pagepipe: error: pages-1.img: the file has 966367641600 bytes more than pagemap-7.img says\n',
    ]);
    expect(cpuSeconds).toBeLessThan(CPU_SECONDS);
  });

  it('with pages that are a hole and come before their pagemap', async () => {
    const huge = hole('checkpoint/pages-1.img', 900 * 1024 ** 3);
    const path = join(tempDir(), 'in');
    writeFileSync(path, gzipSync(Buffer.concat([huge, ...images(), END])));
    const { code, stderr, cpuSeconds } = await costOf(['make-lazy', path, join(tempDir(), 'out')]);
    expect([code, stderr]).toEqual([
      1,
      'pagepipe: error: pages-1.img: expected at most 1073741824 bytes of holes, found 966367641600\n' +
        'pagepipe: hint: put the pagemaps in front of their pages: tar --sort=name\n',
    ]);
    expect(cpuSeconds).toBeLessThan(CPU_SECONDS);
  });

  it('with more members than any dump has', async () => {
    async function* blocks() {
      const many = Buffer.concat(Array<Buffer>(1000).fill(header('m', 0)));
      for (;;) yield many;
    }
    const tar = new TarReader(new BytesReader(blocks()), 'in.tar');
    for (let i = 0; i < 250_000; i++) await tar.next();
    await expect(tar.next()).rejects.toThrow(
      'in.tar@0x7a12000: expected at most 250000 files in an archive, found more',
    );
  });
});

describe('an archive is read as GNU tar reads it', () => {
  it.each(['8', 'N', 'A', 'y'])('a file of the unknown type %s is regular', async (type) => {
    const dir = tempDir();
    writeFileSync(join(dir, 'in.tar'), archive([]).subarray(0, -1024));
    const odd = Buffer.concat([member('checkpoint/odd', data, { type }), END]);
    const path = join(dir, 'in.tar');
    appendFileSync(path, odd);
    for (const source of [path, compressed(path)]) {
      const out = join(tempDir(), 'out');
      expect((await cli(['copy', source, out])).code).toBe(0);
      expect(readFileSync(join(out, 'odd'), 'utf8')).toBe('x');
    }
  });

  it('of two extensions of one type the last counts', async () => {
    const first = extension('x', record('path', 'checkpoint/first'));
    const other = extension('x', record('comment', 'x'));
    const solaris = extension('X', record('path', 'checkpoint/solaris'));
    const dir = tempDir();
    const path = join(dir, 'in.tar');
    const odd = [first, other, member('checkpoint/second', data), solaris, member('checkpoint/x', data)];
    writeFileSync(path, Buffer.concat([...images(), ...odd, END]));
    for (const source of [path, compressed(path)]) {
      const out = join(tempDir(), 'out');
      expect((await cli(['copy', source, out])).code).toBe(0);
      expect(readdirSync(out).filter((name) => !name.endsWith('.img'))).toEqual(['second', 'solaris']);
    }
  });
});

function compressed(path: string): string {
  writeFileSync(`${path}.gz`, gzipSync(readFileSync(path)));
  return `${path}.gz`;
}
