/**
 * The protobuf wire format, to the last bit.
 *
 * message := (tag:varint, value)*      tag = field number << 3 | wire type
 *
 * The build has protobufjs make the schema; the bytes are read and written here, since what it drops (unknown fields, the order of
 * fields, the length of varints) has to survive. 64-bit values stay two 32-bit halves: most are never printed as numbers
 * that a double could not hold, and bigints are slow.
 */

/** Damage in a message: `at` is its position in the bytes that were read. */
export class WireError extends Error {
  override readonly name = 'WireError';
  constructor(
    what: string,
    readonly at: number,
  ) {
    super(what);
  }
}

export const WIRE_VARINT = 0;
export const WIRE_FIXED64 = 1;
export const WIRE_BYTES = 2;
const WIRE_START_GROUP = 3;
const WIRE_END_GROUP = 4;
export const WIRE_FIXED32 = 5;

/** Messages in messages; protobuf's own limit. */
export const MAX_MESSAGE_DEPTH = 100;

const NOTHING = new Uint8Array(0);

/** Reads a message; {@link lo} and {@link hi} hold the last value, {@link number} and {@link wireType} the last tag. */
export class WireReader {
  at = 0;
  end = 0;
  number = 0;
  wireType = 0;
  /** Low and high half of the last varint or fixed value, unsigned. */
  lo = 0;
  hi = 0;
  /** Whether the last varint was written in no more bytes than it needs. */
  minimal = true;

  constructor(public bytes: Uint8Array = NOTHING) {
    this.end = bytes.length;
  }

  over(bytes: Uint8Array, start: number, end: number): this {
    this.bytes = bytes;
    this.at = start;
    this.end = end;
    return this;
  }

  /** Reads the tag of the next field; false at the end of the message. */
  nextTag(): boolean {
    const { at } = this;
    if (at >= this.end) return false;
    const byte = this.bytes[at] as number;
    if (byte < 128) {
      this.at = at + 1;
      this.number = byte >>> 3;
      this.wireType = byte & 7;
      this.minimal = true;
    } else {
      this.longTag();
    }
    if (this.number === 0) throw new WireError('expected a field number, found none', at);
    return true;
  }

  private longTag(): void {
    this.longVarint();
    this.number = this.hi === 0 ? this.lo >>> 3 : 0;
    this.wireType = this.lo & 7;
  }

  varint(): void {
    const byte = this.at < this.end ? (this.bytes[this.at] as number) : 128;
    if (byte < 128) {
      this.at++;
      this.lo = byte;
      this.hi = 0;
      this.minimal = true;
    } else {
      this.longVarint();
    }
  }

  private longVarint(): void {
    const { bytes, end, at: start } = this;
    let lo = 0;
    let hi = 0;
    for (let i = 0; i < 10; i++) {
      if (start + i >= end) throw new WireError('expected a varint, found the end of the message', start);
      const byte = bytes[start + i] as number;
      const bits = byte & 127;
      if (i < 4) lo |= bits << (7 * i);
      else if (i === 4) {
        lo |= bits << 28;
        hi = bits >> 4;
      } else hi |= bits << (7 * i - 32);
      if (byte < 128) {
        this.at = start + i + 1;
        this.lo = lo >>> 0;
        this.hi = hi >>> 0;
        this.minimal = byte !== 0 && !(i === 9 && byte > 1);
        return;
      }
    }
    throw new WireError('expected a varint of at most 10 bytes, found a longer one', start);
  }

  /** The length of a bytes field, checked against what is there; returns the position behind the field. */
  length(): number {
    const start = this.at;
    this.varint();
    if (this.hi !== 0 || this.lo > this.end - this.at) {
      throw new WireError(
        `expected a field of at most ${this.end - this.at} bytes, found a length of ${this.hi * 2 ** 32 + this.lo}`,
        start,
      );
    }
    // Without the 0, V8 would take all positions for doubles, each in an object of its own.
    return this.at + (this.lo | 0);
  }

  /** Skips the value of a field, by default that of the last tag; a group is skipped to its end. */
  skip(wireType = this.wireType, depth = 0): void {
    const start = this.at;
    if (wireType === WIRE_VARINT) this.varint();
    else if (wireType === WIRE_BYTES) this.at = this.length();
    else if (wireType === WIRE_FIXED64) this.fixed(8);
    else if (wireType === WIRE_FIXED32) this.fixed(4);
    else if (wireType === WIRE_START_GROUP) {
      if (depth === MAX_MESSAGE_DEPTH) throw new WireError(`expected at most ${depth} groups in each other`, start);
      do {
        this.varint();
        wireType = this.lo & 7;
        if (wireType !== WIRE_END_GROUP) this.skip(wireType, depth + 1);
      } while (wireType !== WIRE_END_GROUP);
    } else {
      throw new WireError(`expected a wire type from 0 to 5, found ${wireType}`, start);
    }
  }

  /** A little-endian value of 4 or 8 bytes. */
  fixed(size: 4 | 8): void {
    const { bytes, at } = this;
    if (this.end - at < size) throw new WireError(`expected ${size} bytes, found ${this.end - at}`, at);
    this.lo = word(bytes, at);
    this.hi = size === 8 ? word(bytes, at + 4) : 0;
    this.at = at + size;
    this.minimal = true;
  }
}

/** A u32, little endian. */
export const word = (bytes: Uint8Array, at: number): number =>
  ((bytes[at] as number) |
    ((bytes[at + 1] as number) << 8) |
    ((bytes[at + 2] as number) << 16) |
    ((bytes[at + 3] as number) << 24)) >>>
  0;

/** A varint of 64 bits takes at most as many bytes. */
export const MAX_VARINT_BYTES = 10;

/** Writes a varint to where there is room for {@link MAX_VARINT_BYTES}; returns the position behind it. */
export function putVarint(bytes: Uint8Array, at: number, lo: number, hi: number): number {
  while (hi !== 0 || lo > 127) {
    bytes[at++] = (lo & 127) | 128;
    lo = ((lo >>> 7) | (hi << 25)) >>> 0;
    hi >>>= 7;
  }
  bytes[at++] = lo;
  return at;
}

/** Bytes that grow at their end. */
export class ByteWriter {
  bytes = new Uint8Array(4096);
  at = 0;

  reserve(more: number): void {
    if (this.at + more <= this.bytes.length) return;
    const grown = new Uint8Array(Math.max(this.bytes.length * 2, this.at + more));
    grown.set(this.bytes.subarray(0, this.at));
    this.bytes = grown;
  }

  raw(bytes: Uint8Array): void {
    this.reserve(bytes.length);
    this.bytes.set(bytes, this.at);
    this.at += bytes.length;
  }

  byte(value: number): void {
    this.reserve(1);
    this.bytes[this.at++] = value;
  }

  varint(lo: number, hi = 0): void {
    this.reserve(MAX_VARINT_BYTES);
    this.at = putVarint(this.bytes, this.at, lo, hi);
  }

  u32(value: number): void {
    this.reserve(4);
    this.setU32(this.at, value);
    this.at += 4;
  }

  setU32(at: number, value: number): void {
    const { bytes } = this;
    bytes[at] = value;
    bytes[at + 1] = value >>> 8;
    bytes[at + 2] = value >>> 16;
    bytes[at + 3] = value >>> 24;
  }

  /** Completes a field with a length: `start` is the one byte that was reserved for it. Longer contents move up. */
  prefixLength(start: number): void {
    const length = this.at - start - 1;
    if (length > 127) {
      let room = 1;
      for (let rest = length >>> 7; rest > 0; rest >>>= 7) room++;
      this.reserve(room - 1);
      this.bytes.copyWithin(start + room, start + 1, this.at);
    }
    this.at = start;
    this.varint(length);
    this.at += length;
  }

  /** What was written, as a view that the next write may change. */
  view(): Uint8Array {
    return this.bytes.subarray(0, this.at);
  }
}
