import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import {
  approximate,
  decimal,
  endOf,
  hex,
  isBelow,
  NumberFields,
  unitsBetween,
  type Word,
} from '../../src/image/number-fields.js';
import { Message } from '../helpers/dump-writer.js';

/** An error with this message, and no other. */
const saying = (message: string) => expect.objectContaining({ message });

const u64 = fc.bigInt(0n, 2n ** 64n - 1n);
const split = (value: bigint): Word => ({ lo: Number(value & 0xffffffffn), hi: Number(value >> 32n) });
const join = ({ lo, hi }: Word): bigint => (BigInt(hi) << 32n) + BigInt(lo);

describe('64-bit numbers in two halves', () => {
  test('are written exactly', () => {
    fc.assert(
      fc.property(u64, (value) => {
        expect(hex(split(value))).toBe(value.toString(16));
        expect(decimal(split(value))).toBe(value.toString());
        expect(approximate(split(value))).toBe(Number(value));
      }),
    );
    expect(hex(split(0xffffffffff600000n))).toBe('ffffffffff600000');
    expect(decimal(split(2n ** 53n + 1n))).toBe('9007199254740993');
  });

  test('compare', () => {
    fc.assert(fc.property(u64, u64, (a, b) => isBelow(split(a), split(b)) === a < b));
    fc.assert(fc.property(u64, (a) => !isBelow(split(a), split(a))));
  });

  test('differ by pages, as shifting right has it', () => {
    fc.assert(
      fc.property(u64, u64, fc.constantFrom(12n, 14n, 16n), (a, b, shift) => {
        expect(unitsBetween(split(a), split(b), Number(1n << shift))).toBe(Number((b - a) >> shift));
      }),
    );
  });

  test('end behind a count of pages, even beyond the address space', () => {
    const end = { lo: 0, hi: 0 };
    fc.assert(
      fc.property(u64, u64, fc.constantFrom(4096n, 65536n), (start, count, size) => {
        endOf(split(start), split(count), Number(size), end);
        expect(join(end)).toBe(start + count * size);
      }),
    );
  });
});

describe('fields of a message', () => {
  const area = () => new NumberFields('vma_entry', ['start', 'pgoff', 'fdflags']);
  const read = (fields: NumberFields<'start' | 'pgoff' | 'fdflags'>, message: Message) => {
    const bytes = message.finish();
    fields.read({ bytes, start: 0, end: bytes.length });
    return fields.fields;
  };

  test('are read among others, and in any order; the last one counts', () => {
    const message = new Message()
      .field(99, 'unknown')
      .int(3, 5)
      .int(2, 9)
      .int(1, 7)
      .fixed32(50, 1)
      .int(1, 2n ** 64n - 1n);
    expect(read(area(), message)).toEqual({
      start: { lo: 0xffffffff, hi: 0xffffffff, present: true },
      pgoff: { lo: 5, hi: 0, present: true },
      fdflags: { lo: 0, hi: 0, present: false },
    });
  });

  test('do not stay from the message before', () => {
    const fields = area();
    read(fields, new Message().int(1, 1).int(3, 1).int(10, 1));
    expect(read(fields, new Message().int(1, 2).int(3, 0)).fdflags).toEqual({ lo: 0, hi: 0, present: false });
  });

  test('must be there if they are required', () => {
    expect(() => read(area(), new Message().int(1, 1))).toThrow(
      saying('expected the required field pgoff of vma_entry, found none'),
    );
  });

  test('of other wire types are none of ours', () => {
    expect(() => read(area(), new Message().int(1, 1).field(3, 'x'))).toThrow(
      saying('expected the required field pgoff of vma_entry, found none'),
    );
  });

  test('must be known', () => {
    expect(() => new NumberFields('vma_entry', ['nothing'])).toThrow(saying('vma_entry has no field nothing'));
  });
});
