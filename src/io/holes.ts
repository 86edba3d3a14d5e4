/** A hole in a file costs nothing to make, but is read byte by byte: who reads a file that may be anything limits them. */
import { DumpError } from '../errors.js';

/** Limit on the holes of a file other than pages, in bytes. No program makes images with holes; `cp --sparse` may. */
export const MAX_HOLE_BYTES = 1024 ** 3;

/**
 * @param sizeBytes with holes
 * @param storedBytes without
 * @throws {DumpError} LIMIT
 */
export function checkHoles(file: string, sizeBytes: number, storedBytes: number): void {
  const holes = sizeBytes - storedBytes;
  if (holes <= MAX_HOLE_BYTES) return;
  throw new DumpError('LIMIT', `expected at most ${MAX_HOLE_BYTES} bytes of holes, found ${holes}`, { file });
}

/** What a file takes on its disk. `blocks` are of 512 bytes, whatever the file system has. */
export const storedBytesOf = ({ blocks }: { blocks: number }): number => 512 * blocks;
