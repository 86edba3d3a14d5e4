/**
 * A hole costs nothing to make, but is read byte by byte. So holes are limited in files of unknown content, and in pages that
 * have to wait.
 */
import { DumpError } from '../errors.js';

/** Limit on such holes, in bytes. CRIU makes no images with holes, but `cp --sparse` may. */
export const MAX_HOLE_BYTES = 1024 ** 3;

/**
 * @param sizeBytes with holes
 * @param storedBytes without
 * @throws {DumpError} LIMIT
 */
export function checkHoles(file: string, sizeBytes: number, storedBytes: number, hint?: string): void {
  const holes = sizeBytes - storedBytes;
  if (holes <= MAX_HOLE_BYTES) return;
  throw new DumpError('LIMIT', `expected at most ${MAX_HOLE_BYTES} bytes of holes, found ${holes}`, {
    file,
    ...(hint === undefined ? {} : { hint }),
  });
}

/** Bytes that a file takes on disk. `blocks` are always of 512 bytes. */
export const storedBytesOf = ({ blocks }: { blocks: number }): number => 512 * blocks;
