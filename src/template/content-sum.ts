/**
 * The sum of a mapped file: SHA-256 over its pages of 4 KiB that are not all zeros, in order, each after its number as a
 * little-endian u64. So holes cost nothing, and do not change it.
 */
import { createHash, type Hash } from 'node:crypto';
import { closeSync, readSync } from 'node:fs';
import { readFully } from '../bytes.js';
import { onFile } from '../errors.js';
import { Breather } from '../io/breathe.js';
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
  const steps = sumSteps(path, name, bytes);
  for (;;) {
    const { value, done } = steps.next();
    if (done) return value;
  }
}

/** The same, with pauses for signals and for what waits for the disk. */
export async function contentSumWithPauses(path: string, name: string, bytes: number): Promise<string> {
  const breather = new Breather();
  const steps = sumSteps(path, name, bytes);
  for (;;) {
    const { value, done } = steps.next();
    if (done) return value;
    await breather.due();
  }
}

/** A step for each piece that is read; in the end the sum. */
function* sumSteps(path: string, name: string, bytes: number): Generator<void, string> {
  const fd = openRegular(path, name);
  try {
    const hash = createHash('sha256');
    const piece = Buffer.alloc(PIECE_BYTES);
    for (const { start, end } of dataRanges(fd, name, 0, bytes, PAGE_BYTES)) {
      for (let at = start; at < end; at += PIECE_BYTES) {
        const wanted = piece.subarray(0, Math.min(PIECE_BYTES, end - at));
        wanted.fill(
          0,
          readFully((part, from) => onFile(name, () => readSync(fd, part, 0, part.length, from), from), wanted, at),
        );
        addPages(hash, wanted, at);
        yield;
      }
    }
    return hash.digest('hex');
  } finally {
    closeSync(fd);
  }
}

function addPages(hash: Hash, pages: Buffer, position: number): void {
  const header = Buffer.alloc(8);
  for (let at = 0; at < pages.length; at += PAGE_BYTES) {
    const page = pages.subarray(at, at + PAGE_BYTES);
    if (page.equals(ZEROS.subarray(0, page.length))) continue;
    header.writeBigUInt64LE(BigInt((position + at) / PAGE_BYTES));
    hash.update(header).update(page);
  }
}
