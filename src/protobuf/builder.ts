/**
 * Makes messages in canonical form of fields that come in any order. What is written goes into one buffer; a message
 * whose fields came out of order is put in order when it is closed.
 */
import { closestMatch } from 'leven';
import { writeNumber } from './canonical.js';
import { type FieldDescriptor, KIND, kindName, type MessageDescriptor } from './descriptor.js';
import { type ByteWriter, MAX_MESSAGE_DEPTH, WIRE_BYTES, WireError, WireReader } from './wire.js';

/** A value or a message that cannot be written. */
export class ValueError extends Error {
  override readonly name = 'ValueError';
  /** Of the value, once it is known. */
  path: string | undefined;
}

/** A number as a sign and the two halves of its magnitude. */
export interface Magnitude {
  negative: boolean;
  lo: number;
  hi: number;
}

/** A message under construction. */
interface Frame {
  descriptor: MessageDescriptor;
  /** Of its first byte in the buffer. */
  start: number;
  /** Index of its first field. */
  firstField: number;
  lastRank: number;
  ascending: boolean;
}

export class MessageBuilder {
  private readonly frames: Frame[] = [];
  /** Rank and position of each field of the messages under construction, see {@link Frame.firstField}. */
  private readonly ranks: number[] = [];
  private readonly starts: number[] = [];
  private packedStart = 0;

  constructor(readonly out: ByteWriter) {}

  /** Begins a top-level message. */
  open(descriptor: MessageDescriptor): void {
    this.frames.push({ descriptor, start: this.out.at, firstField: this.ranks.length, lastRank: 0, ascending: true });
  }

  /** Ends the message that was begun last. Throws {@link ValueError} if a field is missing or occurs twice. */
  close(): void {
    const frame = this.frames.pop() as Frame;
    if (!frame.ascending) this.sort(frame);
    this.check(frame);
    // Not by setting the length: V8 would then make new memory for the next message.
    while (this.ranks.length > frame.firstField) {
      this.ranks.pop();
      this.starts.pop();
    }
  }

  /** Begins a message in a field of the current one. */
  openField(field: FieldDescriptor): void {
    if (this.frames.length > MAX_MESSAGE_DEPTH) {
      throw new ValueError(`expected at most ${MAX_MESSAGE_DEPTH} messages in each other`);
    }
    this.tag(field.number, WIRE_BYTES, true);
    this.out.byte(0);
    this.open(field.message);
  }

  closeField(): void {
    const { start } = this.frames.at(-1) as Frame;
    this.close();
    this.out.prefixLength(start - 1);
  }

  /** A number in range of its field. */
  number(field: FieldDescriptor, lo: number, hi: number): void {
    if (!field.packed) this.tag(field.number, field.wireType, true);
    writeNumber(this.out, field.kind, lo, hi);
  }

  /** Text, bytes, or a message that is already made. */
  bytes(field: FieldDescriptor, bytes: Uint8Array): void {
    this.tag(field.number, WIRE_BYTES, true);
    this.out.varint(bytes.length);
    this.out.raw(bytes);
  }

  /** Begins a list of packed numbers. */
  openPacked(field: FieldDescriptor): void {
    this.tag(field.number, WIRE_BYTES, true);
    this.out.byte(0);
    this.packedStart = this.out.at;
  }

  closePacked(): void {
    if (this.out.at > this.packedStart) {
      this.out.prefixLength(this.packedStart - 1);
      return;
    }
    this.out.at = this.starts.pop() as number;
    this.ranks.pop();
  }

  /** Fields that the schema does not know, as they were read. */
  unknown(bytes: Uint8Array): void {
    const { descriptor } = this.frames.at(-1) as Frame;
    const reader = new WireReader(bytes);
    try {
      while (reader.nextTag()) {
        const { number, wireType } = reader;
        const known = descriptor.byNumber[number];
        if (known?.takes(wireType)) {
          throw new ValueError(`expected fields that the schema does not know, found ${known.name}`);
        }
        const from = reader.at;
        reader.skip();
        this.tag(number, wireType, false);
        this.out.raw(bytes.subarray(from, reader.at));
      }
    } catch (error) {
      throw error instanceof WireError ? new ValueError(error.message) : error;
    }
  }

  /** A field of another message, copied with its tag. */
  copy(number: number, known: boolean, bytes: Uint8Array): void {
    this.place(number, known);
    this.out.raw(bytes);
  }

  /** Whether the current message has a field already. */
  has(field: FieldDescriptor): boolean {
    return this.ranks.indexOf(rankOf(field.number, true), this.frames.at(-1)?.firstField) >= 0;
  }

  /** Makes a varint of the current message one of 32 bits of another number; tags take a byte each. */
  renumber(from: FieldDescriptor, to: FieldDescriptor): void {
    const frame = this.frames.at(-1) as Frame;
    const index = this.ranks.indexOf(rankOf(from.number, true), frame.firstField);
    const start = this.starts[index] as number;
    const value = new WireReader().over(this.out.bytes, start + 1, this.out.at);
    value.varint();
    if (value.hi !== 0) throw outOfRange(to, { negative: false, lo: value.lo, hi: value.hi });
    this.ranks[index] = rankOf(to.number, true);
    this.out.bytes[start] = (to.number << 3) | to.wireType;
    frame.ascending = false;
  }

  private tag(number: number, wireType: number, known: boolean): void {
    this.place(number, known);
    this.out.varint(((number << 3) | wireType) >>> 0);
  }

  /** Notes that a field begins here. */
  private place(number: number, known: boolean): void {
    const frame = this.frames.at(-1) as Frame;
    const rank = rankOf(number, known);
    if (rank < frame.lastRank) frame.ascending = false;
    frame.lastRank = rank;
    this.ranks.push(rank);
    this.starts.push(this.out.at);
  }

  private sort(frame: Frame): void {
    const { ranks, starts, out } = this;
    const copy = out.bytes.slice(frame.start, out.at);
    const fields = ranks.slice(frame.firstField).map((rank, i) => {
      const index = frame.firstField + i;
      return { rank, start: starts[index] as number, end: starts[index + 1] ?? out.at };
    });
    fields.sort((a, b) => a.rank - b.rank);
    out.at = frame.start;
    for (const [i, { rank, start, end }] of fields.entries()) {
      ranks[frame.firstField + i] = rank;
      starts[frame.firstField + i] = out.at;
      out.raw(copy.subarray(start - frame.start, end - frame.start));
    }
  }

  private check({ descriptor, firstField }: Frame): void {
    const { ranks } = this;
    let required = 0;
    for (let i = firstField; i < ranks.length; i++) {
      const rank = ranks[i] as number;
      if ((rank & 1) !== 0) continue;
      const field = descriptor.byNumber[rank >>> 1] as FieldDescriptor;
      if (field.required) required++;
      if (i > firstField && ranks[i - 1] === rank && !field.repeated) {
        throw new ValueError(`expected ${field.name} once, found it twice`);
      }
    }
    if (required === descriptor.requiredFields.length) return;
    const present = new Set(ranks.slice(firstField));
    const missing = descriptor.requiredFields.find(({ number }) => !present.has(rankOf(number, true)));
    throw new ValueError(`expected the required field ${missing?.name} of ${descriptor.name}, found none`);
  }
}

const rankOf = (number: number, known: boolean): number => 2 * number + (known ? 0 : 1);

const outOfRange = ({ kind }: FieldDescriptor, { negative, lo, hi }: Magnitude): ValueError => {
  const value = (BigInt(hi) << 32n) | BigInt(lo);
  return new ValueError(`expected ${withArticle(kindName(kind))}, found ${negative ? -value : value}`);
};

/** The name of a type, with its article. */
export const withArticle = (name: string): string =>
  name === 'bytes' ? name : `${/^([aeiou](?!int)|mm_)/i.test(name) ? 'an' : 'a'} ${name}`;

/** Writes a number into a field. Throws {@link ValueError} if it is beyond what the field holds. */
export function buildNumber(builder: MessageBuilder, field: FieldDescriptor, value: Magnitude): void {
  const { negative } = value;
  let { lo, hi } = value;
  const zero = lo === 0 && hi === 0;
  switch (field.kind) {
    case KIND.UINT32:
    case KIND.FIXED32:
      if (hi !== 0 || (negative && !zero)) throw outOfRange(field, value);
      break;
    case KIND.UINT64:
    case KIND.FIXED64:
      if (negative && !zero) throw outOfRange(field, value);
      break;
    case KIND.INT32:
    case KIND.ENUM:
    case KIND.SINT32:
      if (hi !== 0 || lo > (negative ? 0x80000000 : 0x7fffffff)) throw outOfRange(field, value);
      break;
    case KIND.INT64:
    case KIND.SINT64:
      if (hi > 0x80000000 || (hi === 0x80000000 && (!negative || lo !== 0))) throw outOfRange(field, value);
      break;
    default:
      if (hi !== 0 || lo > 1 || (negative && !zero)) throw outOfRange(field, value);
  }
  if (field.kind === KIND.SINT32 || field.kind === KIND.SINT64) {
    // 2n, or 2(-n) - 1.
    hi = ((hi << 1) | (lo >>> 31)) >>> 0;
    lo = (lo << 1) >>> 0;
    if (negative && !zero) {
      if (lo === 0) hi = (hi - 1) >>> 0;
      lo = (lo - 1) >>> 0;
    }
  } else if (negative && !zero) {
    lo = -lo >>> 0;
    hi = (~hi + (lo === 0 ? 1 : 0)) >>> 0;
  }
  builder.number(field, lo, field.kind === KIND.SINT32 ? 0 : hi);
}

/** The field of a name. Throws {@link ValueError} if there is none. */
export function fieldOf(descriptor: MessageDescriptor, name: string): FieldDescriptor {
  const field = descriptor.byName.get(name);
  if (field) return field;
  const maxDistance = Math.min(3, Math.floor(name.length / 2));
  const close = closestMatch(name, [...descriptor.byName.keys()], { maxDistance });
  throw new ValueError(
    `expected a field of ${descriptor.name}, found none of this name${close ? `; did you mean ${close}?` : ''}`,
  );
}

/** The error for a value of the wrong type. */
export function unexpectedValue(field: FieldDescriptor, wantsList: boolean, found: string): ValueError {
  const name = field.kind === KIND.MESSAGE ? field.message.name : kindName(field.kind);
  return new ValueError(`expected ${wantsList ? `a list of ${name}` : withArticle(name)}, found ${found}`);
}

/** A text for an error. */
export const shorten = (text: string): string => (text.length > 40 ? `${text.slice(0, 40)}…` : text);
