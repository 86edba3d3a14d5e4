/** Files that arrive in turn, held within a budget and past it, and read anywhere. */
import { readdirSync } from 'node:fs';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { BLOCK_BYTES, type MemoryBudget } from '../../src/io/byte-queue.js';
import { HoldStore } from '../../src/io/hold-store.js';
import { openFiles, tempDir } from '../helpers/temp.js';

const budgetOf = (bytes: number): MemoryBudget => ({ bytes, directory: tempDir() });

/** Bytes that say which file they are of, and where in it. */
const bytesOf = (file: number, from: number, count: number): Uint8Array =>
  Uint8Array.from({ length: count }, (_, i) => (file * 89 + (from + i) * 7 + ((from + i) >> 8)) & 255);

describe('held bytes', () => {
  it('are what was pushed, wherever they are read', () => {
    const push = fc.record({ file: fc.nat(3), bytes: fc.oneof(fc.nat(3), fc.nat(5000), fc.nat(300_000)) });
    const read = fc.record({ file: fc.nat(3), at: fc.nat(400_000), bytes: fc.nat(70_000) });
    const budgets = fc.constantFrom(0, BLOCK_BYTES, 2 * BLOCK_BYTES, 2 ** 30);
    fc.assert(
      fc.property(
        fc.array(push, { maxLength: 12 }),
        fc.array(read, { maxLength: 12 }),
        budgets,
        (pushes, reads, limit) => {
          const budget = budgetOf(limit);
          const held = new HoldStore(budget);
          const files = Array.from({ length: 4 }, () => held.file());
          const sizes = files.map(() => 0);
          for (const { file, bytes } of pushes) {
            files[file]?.push(bytesOf(file, sizes[file] as number, bytes));
            sizes[file] = (sizes[file] as number) + bytes;
          }
          expect(files.map(({ size }) => size)).toEqual(sizes);
          for (const { file, at, bytes } of reads) {
            const buffer = new Uint8Array(bytes);
            const count = files[file]?.readSome(buffer, at) ?? 0;
            expect(count).toBe(Math.max(0, Math.min(bytes, (sizes[file] as number) - at)));
            expect(Buffer.compare(buffer.subarray(0, count), bytesOf(file, at, count))).toBe(0);
          }
          held.close();
          expect(budget.bytes).toBe(limit);
          expect(openFiles(budget.directory)).toEqual([]);
        },
      ),
      { numRuns: 40 },
    );
  });

  it('take no more memory than the budget, and no name on the disk', () => {
    const budget = budgetOf(BLOCK_BYTES);
    const held = new HoldStore(budget);
    const file = held.file();
    file.push(bytesOf(1, 0, BLOCK_BYTES));
    expect(openFiles(budget.directory)).toEqual([]);
    expect(budget.bytes).toBe(0);
    file.push(bytesOf(1, BLOCK_BYTES, 10));
    expect(openFiles(budget.directory)).toHaveLength(1);
    expect(readdirSync(budget.directory)).toEqual([]);
    held.close();
    expect(openFiles(budget.directory)).toEqual([]);
  });

  it('of many small files share blocks', () => {
    const budget = budgetOf(2 ** 24);
    const held = new HoldStore(budget);
    const files = Array.from({ length: 1000 }, (_, i) => {
      const file = held.file();
      file.push(bytesOf(i, 0, 700));
      return file;
    });
    expect(2 ** 24 - budget.bytes).toBe(4 * BLOCK_BYTES);
    const buffer = new Uint8Array(701);
    for (const [i, file] of files.entries()) {
      expect(file.readSome(buffer, 0)).toBe(700);
      expect(Buffer.compare(buffer.subarray(0, 700), bytesOf(i, 0, 700))).toBe(0);
    }
    held.close();
  });

  it('cost little beside themselves, in however small pieces two files come in turn', () => {
    const budget = budgetOf(2 ** 24);
    const held = new HoldStore(budget);
    const [one, other] = [held.file(), held.file()];
    const piece = bytesOf(0, 0, 1);
    for (let i = 0; i < 200_000; i++) {
      one.push(piece);
      other.push(piece);
    }
    // Extents double up to the size of the files.
    expect(2 ** 24 - budget.bytes).toBeLessThanOrEqual(2 ** 20 + BLOCK_BYTES);
    held.close();
  });
});
