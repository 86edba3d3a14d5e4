/**
 * CRC-32 as in gzip. zlib computes some GB/s and is in every Node that is supported. @node-rs/crc32 uses more of the processor
 * and is more than twice as fast: an optional dependency, loaded when much is to be summed.
 */
import { createRequire } from 'node:module';
import { crc32 as zlibCrc32 } from 'node:zlib';

type Crc32 = (bytes: Uint8Array, before?: number) => number;

/** Loading it takes as long as a sum of some MiB. */
const LOAD_AFTER_BYTES = 32 * 1024 * 1024;

let summed = 0;
let current: Crc32 = zlibCrc32;

/** Checksum of `bytes`, continuing from `before`. */
export function crc32(bytes: Uint8Array, before = 0): number {
  if (summed < LOAD_AFTER_BYTES) {
    summed += bytes.length;
    if (summed >= LOAD_AFTER_BYTES) current = fastest();
  }
  return current(bytes, before);
}

/** The fastest that is installed. */
export function fastest(): Crc32 {
  try {
    const { crc32: fast } = createRequire(import.meta.url)('@node-rs/crc32') as { crc32: Crc32 };
    return fast;
  } catch {
    return zlibCrc32;
  }
}
