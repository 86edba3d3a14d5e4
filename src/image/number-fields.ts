/**
 * 64-bit numbers as two 32-bit halves, and some fields of a message as such. A process may have a million areas and ten
 * million pagemap entries: what is asked of each is read into the same few places, and no object is made.
 */

import { type MessageName, messageDescriptor } from '../protobuf/descriptor.js';
import { WIRE_VARINT, WireError, WireReader } from '../protobuf/wire.js';
import type { RawMessage } from './decoder.js';

const TWO_32 = 2 ** 32;

/** An unsigned number of 64 bits: both halves unsigned. */
export interface Word {
  lo: number;
  hi: number;
}

/** The value of a field that was read last. */
export interface Field extends Word {
  present: boolean;
}

/** Hexadecimal digits, without prefix. */
export const hex = ({ lo, hi }: Word): string =>
  hi === 0 ? lo.toString(16) : hi.toString(16) + lo.toString(16).padStart(8, '0');

/** Decimal digits: exact beyond 2^53, too. */
export const decimal = ({ lo, hi }: Word): string =>
  hi < 2 ** 21 ? String(hi * TWO_32 + lo) : ((BigInt(hi) << 32n) | BigInt(lo)).toString();

/** As a double: exact up to 2^53, and for multiples of 4096. */
export const approximate = ({ lo, hi }: Word): number => hi * TWO_32 + lo;

/** Whether `a` is less than `b`. */
export const isBelow = (a: Word, b: Word): boolean => a.hi < b.hi || (a.hi === b.hi && a.lo < b.lo);

/** Whole units of `size` bytes, a power of 2, from `start` to `end`; rounded down, and negative if `end` comes first. */
export const unitsBetween = (start: Word, end: Word, size: number): number =>
  (end.hi - start.hi) * (TWO_32 / size) + Math.floor((end.lo - start.lo) / size);

/**
 * Where `count` units of `size` bytes end that begin at `start`. The high half may go beyond 32 bits: the end of what
 * leaves the address space still compares as it should.
 */
export function endOf(start: Word, count: Word, size: number, end: Word): void {
  const low = start.lo + count.lo * size;
  end.lo = low % TWO_32;
  end.hi = start.hi + count.hi * size + Math.floor(low / TWO_32);
}

/** Reads the fields of one message type that are asked for; all must be varints. */
export class NumberFields<Name extends string> {
  readonly fields: Record<Name, Field>;
  private readonly byNumber: (Field | undefined)[] = [];
  private readonly slots: Field[] = [];
  private readonly required: { name: string; field: Field }[] = [];
  private readonly reader = new WireReader();

  constructor(
    private readonly message: MessageName,
    names: readonly Name[],
  ) {
    const descriptor = messageDescriptor(message);
    this.fields = {} as Record<Name, Field>;
    for (const name of names) {
      const field = { lo: 0, hi: 0, present: false };
      this.fields[name] = field;
      this.slots.push(field);
      const known = descriptor.byName.get(name);
      if (!known) throw new TypeError(`${message} has no field ${name}`);
      this.byNumber[known.number] = field;
      if (known.required) this.required.push({ name, field });
    }
  }

  /**
   * Reads a message. If a field occurs twice, the last one counts; an absent one is 0.
   * @throws {WireError} if the message is damaged, or if a required field that is asked for is missing
   */
  read({ bytes, start, end }: Pick<RawMessage, 'bytes' | 'start' | 'end'>): void {
    for (const slot of this.slots) {
      slot.lo = 0;
      slot.hi = 0;
      slot.present = false;
    }
    const reader = this.reader.over(bytes, start, end);
    while (reader.nextTag()) {
      const slot = this.byNumber[reader.number];
      if (!slot || reader.wireType !== WIRE_VARINT) {
        reader.skip();
        continue;
      }
      reader.varint();
      slot.lo = reader.lo;
      slot.hi = reader.hi;
      slot.present = true;
    }
    for (const { name, field } of this.required) {
      if (!field.present) {
        throw new WireError(`expected the required field ${name} of ${this.message}, found none`, start);
      }
    }
  }
}
