/** Compares all blocks of a dump with their sums, where it has them. This is the only check that reads pages. */
import { SUM_BLOCK_BYTES } from '../dump/sums.js';
import type { CheckedDump } from './checked-dump.js';
import type { VerifiedPart } from './part.js';

/**
 * @param part of a slice: it is told the number of each block, and says whether it is one of its own
 * @returns how many blocks have sums; undefined for a dump without sums
 */
export function checkSums(dump: CheckedDump, part?: VerifiedPart): number | undefined {
  const { files } = dump;
  if (!files.summed) return undefined;
  const block = new Uint8Array(SUM_BLOCK_BYTES);
  let number = 0;
  for (const [name, blocks] of files.summed.toCompare) {
    for (let i = 0; i < blocks; i++) {
      if (part && !part.hasBlock(name, number++)) continue;
      dump.attempt(name, () => files.readSome(name, block, i * SUM_BLOCK_BYTES));
    }
  }
  return files.summed.blocks;
}
