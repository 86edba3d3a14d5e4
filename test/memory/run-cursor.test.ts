/** A cursor over runs: taken in parts of any size, they are the same runs. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { RunCursor, type RunPart } from '../../src/memory/run-cursor.js';
import {
  CONTINUES,
  HAS_FLAGS,
  PE_LAZY,
  PE_PRESENT,
  type RunBatch,
  RunBuilder,
  type RunDetail,
  storedBytes,
  TAKEN,
} from '../../src/memory/runs.js';

const PAGE = 4096;

interface RunSpec {
  pages: number;
  gap: number;
  bits: number;
  pagesPerBlock: number;
}

const specs: fc.Arbitrary<RunSpec[]> = fc.array(
  fc.record({
    pages: fc.integer({ min: 1, max: 20 }),
    gap: fc.integer({ min: 0, max: 2 }),
    bits: fc.constantFrom(PE_PRESENT, PE_PRESENT | PE_LAZY | HAS_FLAGS, PE_LAZY | HAS_FLAGS, PE_PRESENT | TAKEN),
    pagesPerBlock: fc.constantFrom(0, 0, 1, 4),
  }),
  { maxLength: 30 },
);

const detailOf = ({ pages, pagesPerBlock, bits }: RunSpec): RunDetail | undefined =>
  pagesPerBlock > 0 && bits === PE_PRESENT
    ? {
        compressed: {
          pagesPerBlock,
          blockBytes: Uint32Array.from({ length: Math.ceil(pages / pagesPerBlock) }, (_, i) => 10 + i),
        },
      }
    : undefined;

/** Batches of some runs each, and the runs one by one. */
function batchesOf(all: readonly RunSpec[], perBatch: number): RunBatch[] {
  const batches: RunBatch[] = [];
  let page = 100;
  for (let i = 0; i < all.length; i += perBatch) {
    const out = new RunBuilder(PAGE, 1);
    for (const spec of all.slice(i, i + perBatch)) {
      page += spec.gap;
      out.push(page, spec.pages, spec.bits, detailOf(spec));
      page += spec.pages;
    }
    batches.push(out.finish());
  }
  return batches;
}

describe('a cursor', () => {
  it('gives the same runs in parts of any size, and where the payload of each lies', () => {
    fc.assert(
      fc.property(
        specs,
        fc.integer({ min: 1, max: 9 }),
        fc.infiniteStream(fc.integer({ min: 1, max: 12 })),
        (all, perBatch, sizes) => {
          const batches = batchesOf(all, perBatch);
          const cursor = new RunCursor(batches, PAGE);
          const joined = new RunBuilder(PAGE);
          let position = 0;
          while (!cursor.ended) {
            const { pageNumber, pages } = cursor;
            const wanted = Math.min(pages, sizes.next().value);
            // Inside a block there is no cut: the cursor stays where it is.
            const part: RunPart = cursor.take(wanted) ?? (cursor.take(pages) as RunPart);
            expect(part.pageNumber).toBe(pageNumber);
            expect(part.position).toBe(position);
            const isStored = (part.bits & (PE_PRESENT | TAKEN)) === PE_PRESENT;
            expect(part.payloadBytes).toBe(isStored ? storedBytes(part.detail, part.pages, PAGE) : 0);
            position += part.payloadBytes;
            joined.pushOrExtend(part.pageNumber, part.pages, part.bits, part.detail);
          }
          expect([cursor.pageNumber, cursor.pages]).toEqual([Number.POSITIVE_INFINITY, 0]);
          const whole = new RunBuilder(PAGE);
          for (const batch of batches) whole.append(batch);
          expect(joined.finish()).toEqual(whole.finish());
        },
      ),
      { numRuns: 200 },
    );
  });

  it('refuses a cut inside a block, and says so of all parts but the first that they continue', () => {
    const [batch] = batchesOf([{ pages: 9, gap: 0, bits: PE_PRESENT, pagesPerBlock: 4 }], 1) as [RunBatch];
    const cursor = new RunCursor([batch], PAGE);
    expect(cursor.take(3)).toBeUndefined();
    expect(cursor.take(4)).toMatchObject({ pageNumber: 100, pages: 4, position: 0, payloadBytes: 10 });
    expect(cursor.take(6)).toBeUndefined();
    const rest = cursor.take(5);
    expect(rest).toMatchObject({ pageNumber: 104, pages: 5, position: 10, payloadBytes: 23 });
    expect((rest?.bits ?? 0) & CONTINUES).not.toBe(0);
    expect(cursor.ended).toBe(true);
  });
});
