/** Copies inside the kernel give the same files as copies through this process, whatever the kernel answers. */
import {
  closeSync,
  ftruncateSync,
  mkdirSync,
  openSync,
  readFileSync,
  statSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { constants } from 'node:os';
import { join } from 'node:path';
import { afterEach, describe, expect, test, vi } from 'vitest';
import { AtomicDirectory } from '../../src/io/atomic-directory.js';
import type { Linux } from '../../src/io/linux.js';
import { OutputFile } from '../../src/io/output-file.js';
import { cli } from '../helpers/cli.js';
import { describeTree, dumpAndOut, tempDir } from '../helpers/temp.js';

const real = (await vi.importActual<typeof import('../../src/io/linux.js')>('../../src/io/linux.js')).linux();
let system: Linux | undefined;
vi.mock('../../src/io/linux.js', () => ({ LOAD_AFTER_BYTES: 0, linux: () => system, enlargePipe: () => {} }));

afterEach(() => {
  system = undefined;
});

const MIB = 1024 * 1024;
const { ENXIO, EXDEV, EINVAL, EIO, EOPNOTSUPP } = constants.errno;

/** A file with data, holes and data: of 4 MiB, ending in a hole. */
function sparseFile(path: string): string {
  const fd = openSync(path, 'w');
  writeSync(fd, Buffer.alloc(MIB / 2, 'front'), 0, MIB / 2, 0);
  writeSync(fd, Buffer.alloc(MIB / 4, 'middle'), 0, MIB / 4, 2 * MIB);
  ftruncateSync(fd, 4 * MIB);
  closeSync(fd);
  return path;
}

/** Writes a head, then a range of a file, then a tail; returns the path and how much the kernel copied. */
async function copied(path: string, position: number, bytes: number): Promise<{ out: string; copied: number }> {
  const out = join(tempDir(), 'out');
  const directory = new AtomicDirectory(out, {});
  const file = new OutputFile(directory, 'file', 0o600, []);
  file.write(Buffer.from('head'));
  const fd = openSync(path, 'r');
  const done = file.copyFrom({ fd, offset: 0 }, position, bytes);
  file.write(readFileSync(path).subarray(position + done, position + bytes));
  closeSync(fd);
  file.write(Buffer.from('tail'));
  await file.finish();
  await directory.commit(0o700);
  return { out: join(out, 'file'), copied: done };
}

const expected = (path: string, position: number, bytes: number): Buffer =>
  Buffer.concat([Buffer.from('head'), readFileSync(path).subarray(position, position + bytes), Buffer.from('tail')]);

/** A system that works, but for what is replaced. */
const systemWith = (replaced: Partial<Linux>): Linux => ({ ...(real as Linux), ...replaced });

describe.skipIf(!real)('a range of a file', () => {
  const ranges = [
    [0, 4 * MIB],
    [4096, 3 * MIB],
    [MIB, MIB],
    [2 * MIB + 100, 8192],
  ] as const;

  test.each(ranges)('from %i on, %i bytes', async (position, bytes) => {
    const path = sparseFile(join(tempDir(), 'from'));
    system = real;
    const { out, copied: done } = await copied(path, position, bytes);
    expect(done).toBe(bytes);
    expect(readFileSync(out).equals(expected(path, position, bytes))).toBe(true);
  });

  test('holes stay holes', async () => {
    const path = sparseFile(join(tempDir(), 'from'));
    system = real;
    const { out } = await copied(path, 0, 4 * MIB);
    expect(statSync(out).blocks * 512).toBeLessThan(MIB);
  });

  test.each<[string, Partial<Linux>]>([
    ['refuses to copy', { copyFileRange: () => -EXDEV }],
    ['ends early', { copyFileRange: () => 0 }],
    ['has no holes to tell of', { seekData: () => -EINVAL, seekHole: () => -EINVAL }],
    ['sees no data', { seekData: () => -ENXIO }],
    [
      'copies little at a time',
      { copyFileRange: (a, b, c, d, bytes) => real?.copyFileRange(a, b, c, d, Math.min(bytes, 5000)) ?? 0 },
    ],
  ])('through a kernel that %s', async (name, replaced) => {
    const path = join(tempDir(), 'from');
    if (name === 'sees no data') {
      writeFileSync(path, '');
      const fd = openSync(path, 'r+');
      ftruncateSync(fd, 4 * MIB);
      closeSync(fd);
    } else {
      sparseFile(path);
    }
    system = systemWith(replaced);
    const { out } = await copied(path, 0, 4 * MIB);
    expect(readFileSync(out).equals(expected(path, 0, 4 * MIB))).toBe(true);
  });

  test('a kernel that fails halfway is not asked again', async () => {
    const path = sparseFile(join(tempDir(), 'from'));
    let calls = 0;
    system = systemWith({
      copyFileRange: (a, b, c, d, bytes) => {
        calls++;
        return calls === 1 ? (real?.copyFileRange(a, b, c, d, Math.min(bytes, 4096)) ?? 0) : -EIO;
      },
    });
    const { out, copied: done } = await copied(path, 0, 4 * MIB);
    expect([done, calls]).toEqual([4096, 2]);
    expect(readFileSync(out).equals(expected(path, 0, 4 * MIB))).toBe(true);
  });

  test.each(['shares blocks', 'has no blocks to share'])('on a file system that %s', async (how) => {
    const path = sparseFile(join(tempDir(), 'from'));
    const clones = vi.fn((from: number, position: number, to: number, toPosition: number, bytes: number) => {
      if (how !== 'shares blocks') return -EOPNOTSUPP;
      const part = readFileSync(path).subarray(position, position + bytes);
      return from >= 0 && writeSync(to, part, 0, bytes, toPosition) === bytes ? 0 : -EIO;
    });
    system = systemWith({ cloneRange: clones });
    const out = join(tempDir(), 'out');
    const directory = new AtomicDirectory(out, {});
    const file = new OutputFile(directory, 'file', 0o600, []);
    const fd = openSync(path, 'r');
    const ends = [2 * MIB, 2 * MIB + 8192, 3 * MIB + 100, 4 * MIB];
    for (const [i, end] of ends.entries()) {
      const start = ends[i - 1] ?? 0;
      expect(file.copyFrom({ fd, offset: 0 }, start, end - start)).toBe(end - start);
    }
    closeSync(fd);
    await file.finish();
    await directory.commit(0o700);
    expect(readFileSync(join(out, 'file')).equals(readFileSync(path))).toBe(true);
    // The last part does not begin at a block, and the end of the third is none.
    expect(clones).toHaveBeenCalledTimes(how === 'shares blocks' ? 3 : 1);
  });

  test('of a file that is shorter, only what is there', async () => {
    const path = sparseFile(join(tempDir(), 'from'));
    system = real;
    const { copied: done } = await copied(path, 3 * MIB, 4 * MIB);
    expect(done).toBe(MIB);
  });
});

describe.skipIf(!real)('a dump', () => {
  test.each(['copy', 'make-lazy'])('%s gives the same with and without', async (command) => {
    const { dump, out } = dumpAndOut('mosaic-criu-4.2.1');
    // A file that is large enough for the kernel.
    mkdirSync(join(dump, 'more'));
    sparseFile(join(dump, 'more/large'));
    const words = (to: string) =>
      command === 'copy' ? [command, dump, to] : [command, dump, to, '--policy', 'seed', '--unsafe-policy'];
    const copies = vi.fn((...args: Parameters<Linux['copyFileRange']>) => (real as Linux).copyFileRange(...args));
    system = systemWith({ copyFileRange: copies });
    expect((await cli(words(out))).code).toBe(0);
    expect(copies).toHaveBeenCalled();
    system = undefined;
    expect((await cli(words(`${out}2`))).code).toBe(0);
    expect(describeTree(out)).toEqual(describeTree(`${out}2`));
  });

  test.each(['works', 'refuses', 'stops halfway'])('copied to an archive by a kernel that %s', async (how) => {
    const { dump, out } = dumpAndOut('mosaic-criu-4.2.1');
    mkdirSync(join(dump, 'more'));
    sparseFile(join(dump, 'more/large'));
    const limit = { works: Number.POSITIVE_INFINITY, refuses: 0, 'stops halfway': 1 }[how] as number;
    const copies = vi.fn((...args: Parameters<Linux['copyFileRange']>) => {
      if (copies.mock.calls.length > limit) return -EXDEV;
      const [from, position, to, toPosition, bytes] = args;
      return (real as Linux).copyFileRange(from, position, to, toPosition, Math.min(bytes, MIB + 1));
    });
    system = systemWith({ copyFileRange: copies });
    expect((await cli(['copy', dump, `${out}.tar`])).code).toBe(0);
    expect(copies.mock.calls.length).toBeGreaterThan(0);
    system = undefined;
    expect((await cli(['copy', dump, `${out}2.tar`])).code).toBe(0);
    expect((await cli(['copy', `${out}.tar`, out])).code).toBe(0);
    // All but the mode of the directory, which is not in the archive.
    expect(describeTree(out).slice(1)).toEqual(describeTree(dump).slice(1));
    expect(readFileSync(`${out}.tar`).length).toBe(readFileSync(`${out}2.tar`).length);
  });
});
