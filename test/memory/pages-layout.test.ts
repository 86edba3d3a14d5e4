/** Where payload is in a pages file: the layout, what writes it, what reads it in sequence, against a loop over the runs. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { PagesWalk } from '../../src/arrival/pages-walk.js';
import { PagesPlacer } from '../../src/containers/pages-placer.js';
import type { ExtentsRecord } from '../../src/dump/records.js';
import { firstBeyond, PagesLayout } from '../../src/memory/pages-layout.js';
import { RunCursor } from '../../src/memory/run-cursor.js';
import {
  HAS_FIELD_5,
  HAS_FLAGS,
  PAYLOAD_ALIGNED,
  PE_LAZY,
  PE_PRESENT,
  type RunBatch,
  RunBuilder,
  type RunDetail,
} from '../../src/memory/runs.js';

const PAGE = 4096;
const FORM = HAS_FLAGS | HAS_FIELD_5;
const HOLE = FORM | PE_LAZY;
const HERE = FORM | PE_PRESENT;
const ALIGNED = HERE | PAYLOAD_ALIGNED;

type Run = readonly [pages: number, bits: number, sizes?: readonly number[]];

/** Runs that follow each other, in batches of so many. */
function batchesOf(runs: readonly Run[], perBatch: number): RunBatch[] {
  const batches: RunBatch[] = [];
  let page = 1;
  for (let i = 0; i < runs.length; i += perBatch) {
    const builder = new RunBuilder(PAGE);
    for (const [pages, bits, sizes] of runs.slice(i, i + perBatch)) {
      const detail: RunDetail | undefined = sizes && {
        compressed: { blockBytes: Uint32Array.from(sizes), pagesPerBlock: 1 },
      };
      builder.push(page, pages, bits, detail);
      page += pages;
    }
    batches.push(builder.finish());
  }
  return batches;
}

const anyRun: fc.Arbitrary<Run> = fc
  .record({
    pages: fc.integer({ min: 1, max: 3 }),
    bits: fc.constantFrom(HOLE, HERE, ALIGNED, ALIGNED),
    sizes: fc.option(fc.array(fc.constantFrom(0, 0, 1, 100, 4095, 4096), { minLength: 3, maxLength: 3 })),
  })
  .map(({ pages, bits, sizes }) => (sizes && bits & PE_PRESENT ? [pages, bits, sizes.slice(0, pages)] : [pages, bits]));

/** The pages file and the payload of these runs; payload has no zeros, so that padding differs from it. */
function expected(runs: readonly Run[]): { file: Buffer; payload: Buffer } {
  const file: Buffer[] = [];
  const payload: Buffer[] = [];
  let end = 0;
  for (const [i, [pages, bits, sizes]] of runs.entries()) {
    if (!(bits & PE_PRESENT)) continue;
    const padding = bits & PAYLOAD_ALIGNED ? (PAGE - (end % PAGE)) % PAGE : 0;
    const bytes = Buffer.alloc(sizes ? sizes.reduce((a, b) => a + b) : pages * PAGE, 1 + (i % 255));
    file.push(Buffer.alloc(padding), bytes);
    payload.push(bytes);
    end += padding + bytes.length;
  }
  return { file: Buffer.concat(file), payload: Buffer.concat(payload) };
}

describe('a pages file', () => {
  it('is written and read as its runs say, whatever the batches and the pieces', () => {
    fc.assert(
      fc.property(
        fc.array(anyRun, { maxLength: 12 }),
        fc.integer({ min: 1, max: 5 }),
        fc.constantFrom(333, 1000, 4096, 9000),
        (runs, perBatch, pieceBytes) => {
          const { file, payload } = expected(runs);
          const batches = batchesOf(runs, perBatch);
          const layout = new PagesLayout(PAGE);
          const places = batches.map((batch) => layout.place(batch));
          expect(layout.end).toBe(file.length);
          const placed = places.flatMap((extents) =>
            Array.from({ length: extents.length / 2 }, (_, i) =>
              file.subarray(extents[2 * i], (extents[2 * i] as number) + (extents[2 * i + 1] as number)),
            ),
          );
          expect(Buffer.concat(placed).equals(payload)).toBe(true);
          for (const byReference of [false, true]) {
            expect(write(batches, payload, pieceBytes, byReference).equals(file)).toBe(true);
          }
          expect(readInSequence(batches, file, pieceBytes).equals(payload)).toBe(true);
        },
      ),
      { numRuns: 150 },
    );
  });

  it('has its runs where a cursor over them says, also of runs that are cut', () => {
    const runs: Run[] = [
      [2, HERE, [100, 0]],
      [1, HOLE],
      [3, ALIGNED],
      [2, ALIGNED, [5, 4096]],
    ];
    const cursor = new RunCursor(batchesOf(runs, 2), PAGE);
    const offsets: [number, number][] = [];
    while (!cursor.ended) {
      const part = cursor.take(1);
      if (part) offsets.push([part.fileOffset, part.payloadBytes]);
    }
    expect(offsets).toEqual([
      [0, 100],
      [100, 0],
      [100, 0],
      [4096, 4096],
      [8192, 4096],
      [12288, 4096],
      [16384, 5],
      [16389, 4096],
    ]);
  });

  it('may end with padding', () => {
    const runs: Run[] = [
      [1, HERE, [7]],
      [1, ALIGNED, [0]],
    ];
    const batches = batchesOf(runs, 1);
    expect(write(batches, Buffer.alloc(7, 1), 7, false)).toEqual(
      Buffer.concat([Buffer.alloc(7, 1), Buffer.alloc(4089)]),
    );
  });

  it('is too short from the first run on that ends beyond it', () => {
    const [batch] = batchesOf(
      [
        [1, HERE, [7]],
        [1, ALIGNED],
        [1, HOLE],
        [1, HERE],
      ],
      4,
    ) as [RunBatch];
    expect(firstBeyond(batch, 0, 6, PAGE)).toEqual({ index: 0, end: 7 });
    expect(firstBeyond(batch, 0, 7, PAGE)).toEqual({ index: 1, end: 8192 });
    expect(firstBeyond(batch, 0, 8192, PAGE)).toEqual({ index: 3, end: 12288 });
  });
});

/** What a placer makes of payload that comes in pieces. */
function write(batches: readonly RunBatch[], payload: Buffer, pieceBytes: number, byReference: boolean): Buffer {
  const out: Buffer[] = [];
  const placer = new PagesPlacer(PAGE, (zeros) => out.push(Buffer.from(zeros)));
  const file = { name: 'payload', size: payload.length, read: () => {} };
  let at = 0;
  for (const batch of batches) {
    placer.start(batch);
    for (const end = at + batch.payloadBytes; at < end; ) {
      const count = Math.min(pieceBytes, end - at);
      if (byReference) {
        // Two extents, so that one may be cut.
        const extents = Float64Array.of(at, count >> 1, at + (count >> 1), count - (count >> 1));
        const record: ExtentsRecord = { type: 'extents', file, extents };
        for (const { extents: piece } of placer.extents(record)) {
          for (let i = 0; i < piece.length; i += 2) {
            out.push(payload.subarray(piece[i], (piece[i] as number) + (piece[i + 1] as number)));
          }
        }
      } else {
        for (const piece of placer.bytes(payload.subarray(at, at + count))) out.push(Buffer.from(piece));
      }
      at += count;
    }
  }
  placer.end();
  return Buffer.concat(out);
}

/** The payload that is found in a file whose bytes come in pieces. */
function readInSequence(batches: readonly RunBatch[], file: Buffer, pieceBytes: number): Buffer {
  const payload: Buffer[] = [];
  const walk = new PagesWalk(PAGE);
  const waiting = [...batches];
  let at = 0;
  for (let next = waiting.shift(); next; next = waiting.shift()) {
    walk.start(next);
    while (walk.payloadLeft > 0) {
      const step = walk.step(Math.min(pieceBytes, file.length - at));
      expect(step.padding + step.payload).toBeGreaterThan(0);
      payload.push(file.subarray(at + step.padding, at + step.padding + step.payload));
      at += step.padding + step.payload;
    }
    expect(walk.step(pieceBytes)).toEqual({ padding: 0, payload: 0 });
  }
  return Buffer.concat(payload);
}
