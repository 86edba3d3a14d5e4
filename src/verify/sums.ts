/** Compares all blocks of a dump with their sums, where it has them. This is the only check that reads pages. */
import { SUM_BLOCK_BYTES } from '../dump/sums.js';
import type { CheckedDump } from './checked-dump.js';

/** @returns how many blocks have sums; undefined for a dump without sums */
export function checkSums(dump: CheckedDump): number | undefined {
  const { files } = dump;
  if (!files.summed) return undefined;
  const block = new Uint8Array(SUM_BLOCK_BYTES);
  for (const [name, blocks] of files.summed.toCompare) {
    for (let i = 0; i < blocks; i++) {
      dump.attempt(name, () => files.readSome(name, block, i * SUM_BLOCK_BYTES));
    }
  }
  return files.summed.blocks;
}
