/** The sums of a dump in a directory, when one of its images is changed there. */
import { closeSync, openSync, readFileSync, readSync, statSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { SUMS } from '../../dump/names.js';
import { BlockSums, checkSumsSize, compareSums, decodeSums, encodeSums, type FileSums } from '../../dump/sums.js';
import { onFile } from '../../errors.js';
import { AtomicFile } from '../../io/atomic-file.js';

/**
 * Compares an image with its sums before it is changed. The sums are those in its folder.
 * @returns makes new sums of what is then in its place; undefined if it has none
 * @throws {DumpError} WRONG_SUM for an image that is not what the sums say; MALFORMED, SYSTEM
 */
export function sumsOfImage(path: string): (() => void) | undefined {
  const place = join(dirname(path), SUMS);
  const stats = onFile(place, () => statSync(place, { throwIfNoEntry: false }));
  if (!stats?.isFile()) return undefined;
  checkSumsSize(stats.size);
  const sums = decodeSums(onFile(place, () => readFileSync(place)));
  const name = basename(path);
  const expected = sums.get(name);
  if (!expected) return undefined;
  if (onFile(path, () => statSync(path, { throwIfNoEntry: false }))) compareSums(name, expected, sumsOf(path));
  return () => {
    const bytes = encodeSums([...sums.set(name, sumsOf(path))]);
    const file = new AtomicFile(place, { mode: stats.mode & 0o777 });
    try {
      file.write(bytes);
      file.commit();
    } finally {
      file.discard();
    }
  };
}

function sumsOf(path: string): FileSums {
  const sums = new BlockSums();
  const piece = new Uint8Array(PIECE_BYTES);
  const fd = onFile(path, () => openSync(path, 'r'));
  try {
    for (;;) {
      const count = onFile(path, () => readSync(fd, piece));
      if (count === 0) return sums.end();
      sums.add(piece.subarray(0, count));
    }
  } finally {
    closeSync(fd);
  }
}

const PIECE_BYTES = 256 * 1024;
