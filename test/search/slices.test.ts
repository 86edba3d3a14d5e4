/** Slices of a search: together they find what a search of everything finds, each match once. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { shareOf } from '../../src/dump/slice.js';
import { matcherOf, type Pattern } from '../../src/search/pattern.js';
import { type ScannedPiece, scan } from '../../src/search/scan.js';
import { type Extent, scanPart } from '../../src/search/slices.js';

const PAGE = 64;

/** Memory without gaps in pieces of some size, as a dump gives it. */
function extentOf(bytes: Buffer, start: number, pieceBytes: number): Extent {
  return {
    start,
    end: start + bytes.length / PAGE,
    *read(pageNumber, pages): Generator<ScannedPiece> {
      const end = (pageNumber - start + pages) * PAGE;
      for (let at = (pageNumber - start) * PAGE; at < end; at += pieceBytes) {
        const piece = bytes.subarray(at, Math.min(end, at + pieceBytes));
        yield { pageNumber: start + at / PAGE, pages: piece.length / PAGE, bytes: piece };
      }
    },
  };
}

interface Hit {
  at: number;
  bytes: string;
  start: number;
  end: number;
}

const hits = (found: ReturnType<typeof scan>): Hit[] =>
  Array.from(found, ({ pageNumber, pageOffset, bytes, start, end }) => ({
    at: pageNumber * PAGE + pageOffset,
    bytes: bytes.toString('latin1'),
    start,
    end,
  }));

const PATTERNS: Pattern[] = [
  { text: 'aa' },
  { text: 'aba' },
  { hex: '61 ?? 61' },
  { regex: 'a+b' },
  { regex: '(?s)a.{0,70}b' },
  { regex: '^a|b$' },
  { regex: '\\bab' },
];

it('matches of all slices are those of all memory', () => {
  fc.assert(
    fc.property(
      fc.record({
        letters: fc.array(fc.constantFrom('a', 'b', ' ', 'aaaa', 'abababab', ' '.repeat(90)), {
          minLength: 1,
          maxLength: 120,
        }),
        pattern: fc.constantFrom(...PATTERNS),
        slices: fc.integer({ min: 1, max: 7 }),
        context: fc.constantFrom(0, 1, 30, 200),
        piecePages: fc.integer({ min: 1, max: 3 }),
      }),
      ({ letters, pattern, slices, context, piecePages }) => {
        const text = letters.join('');
        const bytes = Buffer.from(text.padEnd(Math.ceil(text.length / PAGE) * PAGE, 'a'));
        const extent = extentOf(bytes, 5, piecePages * PAGE);
        const matcher = matcherOf(pattern);
        const options = { pageSize: PAGE, context };
        const whole = hits(scan(extent.read(extent.start, extent.end - extent.start), matcher, options));
        const parts = Array.from({ length: slices }, (_, i) => {
          const { from, to } = shareOf(extent.end - extent.start, { number: i + 1, of: slices });
          return from === to ? [] : hits(scanPart(extent, matcher, { ...options, from: 5 + from, to: 5 + to }));
        });
        expect(parts.flat()).toEqual(whole);
      },
    ),
    { numRuns: 300 },
  );
});

it('a match that goes on for all of memory', () => {
  const bytes = Buffer.alloc(64 * PAGE, 'a');
  const extent = extentOf(bytes, 0, 3 * PAGE);
  const matcher = matcherOf({ text: 'aaaaa' });
  const whole = hits(scan(extent.read(0, 64), matcher, { pageSize: PAGE }));
  const parts = [1, 2, 3].flatMap((number) => {
    const { from, to } = shareOf(64, { number, of: 3 });
    return hits(scanPart(extent, matcher, { pageSize: PAGE, from, to }));
  });
  expect(parts).toEqual(whole);
});

describe('shares', () => {
  it('have everything once, and differ by at most one', () => {
    fc.assert(
      fc.property(fc.maxSafeNat(), fc.integer({ min: 1, max: 50 }), (total, of) => {
        let next = 0;
        for (let number = 1; number <= of; number++) {
          const { from, to } = shareOf(total, { number, of });
          expect(from).toBe(next);
          expect(Math.abs(to - from - total / of)).toBeLessThan(2);
          next = to;
        }
        expect(next).toBe(total);
      }),
    );
  });
});
