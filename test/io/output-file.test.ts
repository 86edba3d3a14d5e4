/** A file that is written in pieces of any size has their bytes, and holes where its blocks are zeros. */
import { readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { AtomicDirectory } from '../../src/io/atomic-directory.js';
import { OutputFile } from '../../src/io/output-file.js';
import { tempDir } from '../helpers/temp.js';

const KIB = 1024;
const SIZE = 1024 * KIB;
/** Zeros from 256 KiB to 512 KiB. */
const CONTENT = Buffer.from(Uint8Array.from({ length: SIZE }, (_, i) => (i * 31 + (i >> 12)) % 251)).fill(
  0,
  256 * KIB,
  512 * KIB,
);

describe('a file that is written in pieces', () => {
  test.each([
    [[4096]],
    [[64 * KIB]],
    [[128 * KIB]],
    [[256 * KIB]],
    [[8, 256 * KIB - 8]],
    [[256 * KIB - 8, 8]],
    [[100, 300 * KIB + 1]],
    [[16 * KIB, 128 * KIB]],
    [[5000, 128 * KIB, 20 * KIB, 140 * KIB]],
    [[SIZE]],
  ])('of %j bytes in turn', async (sizes) => {
    const out = join(tempDir(), 'out');
    const directory = new AtomicDirectory(out, {});
    const file = new OutputFile(directory, 'file', 0o600, []);
    const buffer = Buffer.alloc(SIZE);
    for (let at = 0, i = 0; at < SIZE; i++) {
      const piece = CONTENT.subarray(at, at + (sizes[i % sizes.length] as number));
      // A buffer that is used again.
      piece.copy(buffer);
      file.write(buffer.subarray(0, piece.length));
      at += piece.length;
    }
    expect(file.bytes).toBe(SIZE);
    await file.finish();
    await directory.commit(0o700);
    expect(readFileSync(join(out, 'file')).equals(CONTENT)).toBe(true);
    expect(statSync(join(out, 'file')).blocks * 512).toBeLessThan(SIZE);
  });
});
