/**
 * Messages of any type at random, for fast-check, and their bytes: in canonical form, and in other forms that say the same.
 *
 * The bytes are put together here, without the code under test.
 */
import fc, { type GeneratorValue } from 'fast-check';
import { schema } from '../../src/generated/schema.js';
import { type FieldDescriptor, KIND, type MessageDescriptor, type MessageName } from '../../src/protobuf/descriptor.js';
import { anyCharacter } from './any-character.js';

/** What a field holds: a number by its meaning, bytes of text or others, or a message. */
export type Value = bigint | Uint8Array | MessageValue;

export interface MessageValue {
  descriptor: MessageDescriptor;
  fields: { field: FieldDescriptor; values: Value[] }[];
  unknown: UnknownField[];
}

export interface UnknownField {
  number: number;
  wireType: number;
  /** The field without its tag. */
  bytes: Uint8Array;
}

export interface MessageOptions {
  /** Fields that the schema does not have, at any depth. */
  unknown?: boolean;
  /** Only what protobufjs keeps: text that is UTF-8, values of enums that have names. */
  plain?: boolean;
}

/** Messages that may stand in an image. */
export const MESSAGE_NAMES = Object.entries(schema['criu'] ?? {})
  .filter(([, member]) => 'fields' in member)
  .map(([name]) => name as MessageName);

// Random messages.

const UINT32 = [0n, 1n, 127n, 128n, 16383n, 16384n, 2n ** 31n - 1n, 2n ** 31n, 2n ** 32n - 1n];
const INT32 = [0n, 1n, -1n, 127n, 128n, 2n ** 31n - 1n, -(2n ** 31n)];
const UINT64 = [
  ...UINT32,
  ...[2n ** 32n, 2n ** 53n - 1n, 2n ** 53n, 2n ** 53n + 1n, 2n ** 56n, 10n ** 18n, 10n ** 19n],
  ...[2n ** 63n - 1n, 2n ** 63n, 2n ** 64n - 1n, 0xffffffffff600000n],
];
const INT64 = [...INT32, 2n ** 32n, 2n ** 53n, -(2n ** 53n) - 1n, -(2n ** 32n), 2n ** 63n - 1n, -(2n ** 63n)];

const oneOf = (values: bigint[], min: bigint, max: bigint) =>
  fc.oneof(fc.constantFrom(...values), fc.bigInt({ min, max }));

const NUMBERS: Record<number, fc.Arbitrary<bigint>> = {
  [KIND.UINT32]: oneOf(UINT32, 0n, 2n ** 32n - 1n),
  [KIND.FIXED32]: oneOf(UINT32, 0n, 2n ** 32n - 1n),
  [KIND.INT32]: oneOf(INT32, -(2n ** 31n), 2n ** 31n - 1n),
  [KIND.SINT32]: oneOf(INT32, -(2n ** 31n), 2n ** 31n - 1n),
  [KIND.UINT64]: oneOf(UINT64, 0n, 2n ** 64n - 1n),
  [KIND.FIXED64]: oneOf(UINT64, 0n, 2n ** 64n - 1n),
  [KIND.INT64]: oneOf(INT64, -(2n ** 63n), 2n ** 63n - 1n),
  [KIND.SINT64]: oneOf(INT64, -(2n ** 63n), 2n ** 63n - 1n),
  [KIND.BOOL]: fc.constantFrom(0n, 1n),
};

export const VALID_TEXT = fc
  .oneof(
    fc.string({ maxLength: 12 }),
    fc.string({ unit: anyCharacter, maxLength: 12 }),
    fc.constantFrom('', '\0', '"\\/\b\f\n\r\t\x7f\u2028é€😀', '\ufeffBOM', '... <5B>', '__proto__'),
  )
  .map((text) => new Uint8Array(Buffer.from(text)));

/** Text, and what is none: single bytes of sequences, overlong ones, surrogates. */
export const ANY_TEXT = fc.oneof(
  VALID_TEXT,
  fc.uint8Array({ maxLength: 12 }),
  fc
    .array(
      fc.constantFrom(
        [0x61],
        [0xc3],
        [0xa9],
        [0xc0, 0x80],
        [0xe2, 0x82],
        [0xed, 0xa0, 0x80],
        [0xf0, 0x9f, 0x98, 0x80],
        [0xf5],
      ),
      { maxLength: 8 },
    )
    .map((parts) => Uint8Array.from(parts.flat())),
);

/** What quoted-printable has rules for. */
export const ODD_BYTES = fc.oneof(
  fc.uint8Array({ maxLength: 100 }),
  fc
    .array(fc.constantFrom(0x0a, 0x0d, 0x20, 0x09, 0x2e, 0x3d, 0x41, 0x00, 0xff), { maxLength: 100 })
    .map((bytes) => Uint8Array.from(bytes)),
);

const MAX_DEPTH = 4;

/** A random message; `g` is that of fc.gen(). */
export function randomMessage(
  g: GeneratorValue,
  descriptor: MessageDescriptor,
  options: MessageOptions = {},
  depth = 0,
): MessageValue {
  const optional = descriptor.fields.filter(
    (field) => !field.required && (depth < MAX_DEPTH || field.kind !== KIND.MESSAGE),
  );
  const numbers = optional.map(({ number }) => number);
  const chosen = g(fc.subarray<number>, numbers, { maxLength: Math.min(numbers.length, depth === 0 ? 8 : 3) });
  const fields = descriptor.fields
    .filter((field) => field.required || chosen.includes(field.number))
    .map((field) => {
      const count = field.repeated ? g(fc.integer, { min: 1, max: field.kind === KIND.MESSAGE ? 2 : 5 }) : 1;
      return { field, values: Array.from({ length: count }, () => randomValue(g, field, options, depth)) };
    });
  const isKnown = (number: number, wireType: number) => descriptor.byNumber[number]?.takes(wireType) === true;
  const unknown = options.unknown ? g(unknownFields).filter((raw) => !isKnown(raw.number, raw.wireType)) : [];
  return { descriptor, fields, unknown: unknown.sort((a, b) => a.number - b.number) };
}

function randomValue(g: GeneratorValue, field: FieldDescriptor, options: MessageOptions, depth: number): Value {
  if (field.kind === KIND.MESSAGE) return randomMessage(g, field.message, options, depth + 1);
  if (field.kind === KIND.STRING) return g(options.plain ? validText : anyText);
  if (field.kind === KIND.BYTES) return g(oddBytes);
  const named = Object.keys(field.names ?? {}).map(BigInt);
  return g(numberOf, field.kind, options.plain ? named : [...named, -1n, 1000n, 2n ** 31n - 1n]);
}

// fc.gen() takes functions, and remembers what they return.
const validText = () => VALID_TEXT;
const anyText = () => ANY_TEXT;
const oddBytes = () => ODD_BYTES;
const unknownFields = () => fc.array(UNKNOWN_FIELD, { maxLength: 3 });
const numberOf = (kind: number, named: bigint[]): fc.Arbitrary<bigint> => NUMBERS[kind] ?? fc.constantFrom(...named);

/** A varint of a number of bytes, longer ones than it takes among them. */
const ANY_VARINT = fc
  .tuple(fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }), fc.integer({ min: 0, max: 3 }))
  .map(([value, more]) => varint(value, more));

const VALUES: Record<number, fc.Arbitrary<Uint8Array>> = {
  0: ANY_VARINT,
  1: fc.uint8Array({ minLength: 8, maxLength: 8 }),
  2: fc.uint8Array({ maxLength: 200 }).map((bytes) => concat([varint(BigInt(bytes.length)), bytes])),
  5: fc.uint8Array({ minLength: 4, maxLength: 4 }),
};

const UNKNOWN_FIELD: fc.Arbitrary<UnknownField> = fc
  .tuple(
    fc.oneof(fc.integer({ min: 1, max: 40 }), fc.constantFrom(15, 16, 2047, 2048, 2 ** 29 - 1)),
    fc.constantFrom(0, 1, 2, 3, 5),
    fc.integer({ min: 0, max: 3 }),
  )
  .chain(([number, wireType, depth]) =>
    valueOfType(number, wireType, depth).map((bytes) => ({ number, wireType, bytes })),
  );

/** The value of an unknown field; a group holds others, to a depth. */
function valueOfType(number: number, wireType: number, depth: number): fc.Arbitrary<Uint8Array> {
  if (wireType !== 3) return VALUES[wireType] as fc.Arbitrary<Uint8Array>;
  const inner = depth === 0 ? 0 : 3;
  return valueOfType(1, inner, depth - 1).map((bytes) => concat([tag(1, inner), bytes, tag(number, 4)]));
}

// Their bytes.

const concat = (parts: readonly Uint8Array[]): Uint8Array => new Uint8Array(Buffer.concat(parts));

/** @param more bytes that it takes beyond those that it needs, up to `most` altogether */
function varint(value: bigint, more = 0, most = 10): Uint8Array {
  const bytes: number[] = [];
  let rest = BigInt.asUintN(64, value);
  for (; rest > 127n; rest >>= 7n) bytes.push(Number(rest & 127n) | 128);
  bytes.push(Number(rest));
  for (let i = 0; i < more && bytes.length < most; i++) {
    bytes[bytes.length - 1] = (bytes.at(-1) as number) | 128;
    bytes.push(0);
  }
  return Uint8Array.from(bytes);
}

const tag = (number: number, wireType: number, more = 0): Uint8Array =>
  varint((BigInt(number) << 3n) | BigInt(wireType), more, 5);

/** What a number is on the wire. */
function onWire(kind: number, value: bigint): Uint8Array {
  if (kind === KIND.FIXED32 || kind === KIND.FIXED64) {
    const size = kind === KIND.FIXED32 ? 4 : 8;
    return Uint8Array.from({ length: size }, (_, i) => Number((value >> BigInt(8 * i)) & 255n));
  }
  const zigzag = kind === KIND.SINT32 || kind === KIND.SINT64;
  return varint(zigzag ? (value < 0n ? -2n * value - 1n : 2n * value) : value);
}

/** A field as bytes, and where it stands among others. */
interface Piece {
  rank: number;
  bytes: Uint8Array;
}

const inOrder = (pieces: Piece[]): Uint8Array =>
  concat([...pieces].sort((a, b) => a.rank - b.rank).map(({ bytes }) => bytes));

const unknownPieces = ({ unknown }: MessageValue): Piece[] =>
  unknown.map(({ number, wireType, bytes }) => ({
    rank: 2 * number + 1,
    bytes: concat([tag(number, wireType), bytes]),
  }));

const withLength = (field: FieldDescriptor, bytes: Uint8Array): Uint8Array =>
  concat([tag(field.number, 2), varint(BigInt(bytes.length)), bytes]);

const lengthOrNumber = (field: FieldDescriptor, value: Value): Uint8Array => {
  if (typeof value === 'bigint') return concat([tag(field.number, field.elementWireType), onWire(field.kind, value)]);
  return withLength(field, value instanceof Uint8Array ? value : canonicalBytes(value));
};

/** A message in canonical form. */
export function canonicalBytes(message: MessageValue): Uint8Array {
  const known = message.fields.flatMap(({ field, values }) => {
    const rank = 2 * field.number;
    if (!field.packed) return values.map((value) => ({ rank, bytes: lengthOrNumber(field, value) }));
    return [{ rank, bytes: withLength(field, concat(values.map((value) => onWire(field.kind, value as bigint)))) }];
  });
  return inOrder([...known, ...unknownPieces(message)]);
}

/** Ways to write a message that say the same. */
const MUTATIONS = [
  'shuffle',
  'twice',
  'long tag',
  'long varint',
  'high bits',
  'split',
  'unpacked',
  'long length',
] as const;
type Mutation = (typeof MUTATIONS)[number];

/** A message with the same meaning in any form; it may happen to be canonical. */
export function otherBytes(g: GeneratorValue, message: MessageValue): Uint8Array {
  const mutations = new Set(g(fc.subarray<Mutation>, [...MUTATIONS], { minLength: 1 }));
  const pieces = message.fields.flatMap(({ field, values }) => otherPieces(g, mutations, field, values));
  const all = [...pieces, ...unknownPieces(message)];
  if (!mutations.has('shuffle')) return inOrder(all);
  // Fields of one rank keep their order: that is part of what they say.
  const ranks = [...new Set(all.map(({ rank }) => rank))];
  const order = g(fc.shuffledSubarray<number>, ranks, { minLength: ranks.length });
  return concat(order.flatMap((rank) => all.filter((piece) => piece.rank === rank).map(({ bytes }) => bytes)));
}

function otherPieces(g: GeneratorValue, mutations: Set<Mutation>, field: FieldDescriptor, values: Value[]): Piece[] {
  const maybe = (mutation: Mutation) => mutations.has(mutation) && g(fc.boolean);
  const more = (mutation: Mutation) => (maybe(mutation) ? g(fc.integer, { min: 1, max: 4 }) : 0);
  const rank = 2 * field.number;
  const number = (value: bigint): Uint8Array => {
    const { kind } = field;
    if (kind === KIND.FIXED32 || kind === KIND.FIXED64) return onWire(kind, value);
    if (kind === KIND.BOOL && value === 1n && maybe('high bits')) return varint(2n ** 40n);
    const narrow = kind === KIND.UINT32 || kind === KIND.INT32 || kind === KIND.ENUM;
    // int32 in five bytes, or with bits that nobody looks at.
    if (narrow && maybe('high bits')) return varint(BigInt.asUintN(32, value) | (g(fc.boolean) ? 0n : 5n << 32n));
    const bytes = onWire(kind, value);
    return maybe('long varint') && bytes.length < 10
      ? concat([bytes.subarray(0, -1), Uint8Array.of((bytes.at(-1) as number) | 128, 0)])
      : bytes;
  };
  const field2 = (bytes: Uint8Array): Uint8Array =>
    concat([tag(field.number, 2, more('long tag')), varint(BigInt(bytes.length), more('long length')), bytes]);
  const one = (value: Value): Uint8Array[] => {
    if (typeof value === 'bigint')
      return [concat([tag(field.number, field.elementWireType, more('long tag')), number(value)])];
    if (value instanceof Uint8Array) return [field2(value)];
    if (field.repeated || !maybe('split')) return [field2(otherBytes(g, value))];
    return split(value).map((part) => field2(otherBytes(g, part)));
  };

  if (field.repeated && field.kind < KIND.STRING && (field.packed ? maybe('unpacked') : false)) {
    return values.map((value) => ({ rank, bytes: one(value).at(0) as Uint8Array }));
  }
  if (field.repeated && field.kind < KIND.STRING && (field.packed || maybe('unpacked'))) {
    return [{ rank, bytes: field2(concat(values.map((value) => number(value as bigint)))) }];
  }
  const pieces = values.flatMap(one);
  // The last one counts; of messages the first would be merged.
  if (!field.repeated && field.kind !== KIND.MESSAGE && maybe('twice')) pieces.unshift(pieces[0] as Uint8Array);
  return pieces.map((bytes) => ({ rank, bytes }));
}

/** A message as two that are merged when they are read. */
function split({ descriptor, fields, unknown }: MessageValue): MessageValue[] {
  const half = Math.ceil(fields.length / 2);
  return [
    { descriptor, fields: fields.slice(0, half), unknown: [] },
    { descriptor, fields: fields.slice(half), unknown },
  ];
}
