/** CRC-32 (as in gzip) by zlib: several GB/s, and in every Node that is supported. */
import { crc32 as zlibCrc32 } from 'node:zlib';

/** Checksum of `bytes`, continuing from `before`. */
export const crc32 = (bytes: Uint8Array, before = 0): number => zlibCrc32(bytes, before);
