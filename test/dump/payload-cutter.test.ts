/** Payload cut in two: nothing is lost, whatever it is in. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { payloadLength, splitPayload } from '../../src/dump/payload-cutter.js';
import type { PayloadFile, PayloadRecord } from '../../src/dump/records.js';

const FILE: PayloadFile = { name: 'f', size: 1000, read: () => {} };

/** Positions of the bytes of a piece of payload. */
function bytesOf(record: PayloadRecord): number[] {
  if (record.type === 'bytes') return [...record.bytes];
  const positions: number[] = [];
  for (let i = 0; i < record.extents.length; i += 2) {
    const position = record.extents[i] as number;
    for (let at = 0; at < (record.extents[i + 1] as number); at++) positions.push(position + at);
  }
  return positions;
}

describe('payload', () => {
  it('is the same in parts', () => {
    const records = fc.oneof(
      fc.uint8Array({ minLength: 1, maxLength: 50 }).map((bytes): PayloadRecord => ({ type: 'bytes', bytes })),
      fc
        .array(fc.tuple(fc.integer({ min: 0, max: 900 }), fc.integer({ min: 1, max: 20 })), {
          minLength: 1,
          maxLength: 5,
        })
        .map((extents): PayloadRecord => ({ type: 'extents', file: FILE, extents: Float64Array.from(extents.flat()) })),
    );
    fc.assert(
      fc.property(records, fc.integer({ min: 1, max: 110 }), (record, bytes) => {
        const [part, rest] = splitPayload(record, bytes);
        expect(payloadLength(record)).toBe(bytesOf(record).length);
        expect(payloadLength(part)).toBe(Math.min(bytes, payloadLength(record)));
        expect(rest === undefined).toBe(bytes >= payloadLength(record));
        expect([...bytesOf(part), ...(rest ? bytesOf(rest) : [])]).toEqual(bytesOf(record));
      }),
    );
  });
});
