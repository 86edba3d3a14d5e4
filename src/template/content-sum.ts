/**
 * The sum of a mapped file: SHA-256 over its pages of 4 KiB that are not all zeros, in order, each after its number as a
 * little-endian u64. So holes cost nothing, and do not change it.
 */
import { createHash } from 'node:crypto';
import { closeSync, readSync } from 'node:fs';
import { readFully } from '../bytes.js';
import { onFile } from '../errors.js';
import { openRegular } from '../io/open-files.js';
import { dataRanges } from './data-ranges.js';

const PAGE_BYTES = 4096;
const PIECE_BYTES = 1024 * 1024;
const ZEROS = Buffer.alloc(PAGE_BYTES);

/**
 * @param name of the file, for errors
 * @param bytes that can have pages: behind them is a hole
 */
export function contentSum(path: string, name: string, bytes: number): string {
  const fd = openRegular(path, name);
  try {
    const hash = createHash('sha256');
    const piece = Buffer.alloc(PIECE_BYTES);
    const header = Buffer.alloc(8);
    for (const { start, end } of dataRanges(fd, name, 0, bytes, PAGE_BYTES)) {
      for (let at = start; at < end; at += PIECE_BYTES) {
        const wanted = piece.subarray(0, Math.min(PIECE_BYTES, end - at));
        wanted.fill(
          0,
          readFully((part, from) => onFile(name, () => readSync(fd, part, 0, part.length, from), from), wanted, at),
        );
        for (let page = 0; page < wanted.length; page += PAGE_BYTES) {
          const bytes = wanted.subarray(page, page + PAGE_BYTES);
          if (bytes.equals(ZEROS.subarray(0, bytes.length))) continue;
          header.writeBigUInt64LE(BigInt((at + page) / PAGE_BYTES));
          hash.update(header).update(bytes);
        }
      }
    }
    return hash.digest('hex');
  } finally {
    onFile(name, () => closeSync(fd));
  }
}
