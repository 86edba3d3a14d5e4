/**
 * Slices: the parts of a dump that several machines look at, each at one. Slice K of N gets the Kth of N equal parts of
 * whatever is counted, such as the pages in the order of spaces and addresses. So all together have everything exactly once.
 * Their reports can be joined only if they are of the same dump, which its fingerprint says.
 */
import { createHash } from 'node:crypto';
import { DumpError } from '../errors.js';
import { type DumpFiles, pieces } from './files.js';
import { isPagesName, OUTSIDE } from './names.js';

export interface Slice {
  /** From 1. */
  readonly number: number;
  readonly of: number;
}

/** Nobody has more machines for one dump. */
export const MAX_SLICES = 10_000;

/** The part of `total` things that is in a slice: from the first, without the last. */
export function shareOf(total: number, { number, of }: Slice): { from: number; to: number } {
  const border = (before: number) => Number((BigInt(total) * BigInt(before)) / BigInt(of));
  return { from: border(number - 1), to: border(number) };
}

const PIECE_BYTES = 256 * 1024;
/** Half of a SHA-256 is enough to tell dumps apart. */
const FINGERPRINT_DIGITS = 32;

/**
 * Tells a dump from others by its images, and by the names and sizes of its pages files, but not by their bytes: that would
 * take as long as all the rest. It is the same in every container that can be read at random.
 */
export function fingerprintOf(files: DumpFiles): string {
  const hash = createHash('sha256');
  const seen = new Set<string>();
  for (let at: DumpFiles | undefined = files; at && !seen.has(at.path); at = at.parent()) {
    seen.add(at.path);
    const entries = [...at.entries()].filter(({ name, kind }) => kind === 'regular' && !name.startsWith(OUTSIDE));
    for (const { name, size } of entries.sort((a, b) => (a.name < b.name ? -1 : 1))) {
      hash.update(`${JSON.stringify(name)} ${size}\n`);
      if (isPagesName(name)) continue;
      try {
        for (const piece of pieces(at, name, PIECE_BYTES, size)) hash.update(piece);
      } catch (error) {
        // That it is damaged is found by each slice, and told by one.
        if (!(error instanceof DumpError) || error.temporary) throw error;
        hash.update(error.code);
      }
    }
    hash.update('\n');
  }
  return hash.digest('hex').slice(0, FINGERPRINT_DIGITS);
}
