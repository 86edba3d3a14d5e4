/**
 * The canonical form of a message: what CRIU, like every protobuf library, writes.
 *
 * Fields ascend by number, unknown ones after known ones of the same number; varints take as few bytes as they can and
 * hold no more than their type; singular fields occur once. A message in this form can be printed and made again bit by
 * bit. Others are legal, and turned into this form before anything is made of them.
 */
import { concatBytes } from '../bytes.js';
import { type FieldDescriptor, KIND, type MessageDescriptor } from './descriptor.js';
import { ByteWriter, MAX_MESSAGE_DEPTH, WIRE_BYTES, WireError, WireReader } from './wire.js';

/** Turning a message into this form takes some hundred times its size. */
const MAX_OTHER_BYTES = 1024 * 1024;

const walker = new WireReader();

/** A message in canonical form: `bytes` from `start` to `end`. */
interface CanonicalMessage {
  bytes: Uint8Array;
  start: number;
  end: number;
  /** Whether the message had another form; a view of it. */
  raw: Uint8Array | undefined;
}

/**
 * A message in canonical form: itself, if it has it.
 * @throws {WireError} if it is damaged, or if a required field is missing
 */
export function canonicalMessage(
  descriptor: MessageDescriptor,
  bytes: Uint8Array,
  start: number,
  end: number,
): CanonicalMessage {
  if (isCanonical(descriptor, bytes, start, end)) return { bytes, start, end, raw: undefined };
  let isCopy = false;
  try {
    const canonical = canonicalise(descriptor, bytes, start, end);
    isCopy = Buffer.compare(canonical, bytes.subarray(start, end)) === 0;
    check(descriptor, walker.over(canonical, 0, canonical.length), 0, true);
    return { bytes: canonical, start: 0, end: canonical.length, raw: bytes.subarray(start, end) };
  } catch (error) {
    if (!(error instanceof WireError)) throw error;
    // Other positions are those in some part of it.
    throw new WireError(error.message, isCopy ? start + error.at : start);
  }
}

/**
 * Whether a message has the canonical form.
 * @throws {WireError} if it is damaged, or in canonical form without a required field
 */
export function isCanonical(descriptor: MessageDescriptor, bytes: Uint8Array, start: number, end: number): boolean {
  return check(descriptor, walker.over(bytes, start, end), 0, false);
}

/** The order of fields: unknown fields come after known ones of the same number. */
const rank = (number: number, known: boolean): number => 2 * number + (known ? 0 : 1);

/** @param whole false where a message may come in two parts, either of which may lack a required field */
function check(descriptor: MessageDescriptor, reader: WireReader, depth: number, whole: boolean): boolean {
  const start = reader.at;
  let lastRank = 0;
  let required = 0;
  while (reader.nextTag()) {
    const { number, wireType } = reader;
    if (!reader.minimal) return false;
    const field = descriptor.byNumber[number];
    if (field?.otherWireType === wireType) return false;
    const known = field !== undefined && field.wireType === wireType;
    const here = rank(number, known);
    if (here < lastRank || (here === lastRank && known && (!field.repeated || field.packed))) return false;
    lastRank = here;
    if (!known) reader.skip();
    else if (!checkField(field, reader, depth, whole)) return false;
    else if (field.required) required++;
  }
  if (required === descriptor.requiredFields.length) return true;
  if (!whole && depth > 0) return false;
  throw missing(descriptor, reader, start);
}

function checkField(field: FieldDescriptor, reader: WireReader, depth: number, whole: boolean): boolean {
  if (field.kind === KIND.MESSAGE) {
    const end = reader.length();
    if (!reader.minimal) return false;
    const { end: outer } = reader;
    if (depth === MAX_MESSAGE_DEPTH) throw tooDeep(reader.at);
    reader.end = end;
    const canonical = check(field.message, reader, depth + 1, whole);
    reader.end = outer;
    return canonical;
  }
  if (field.kind >= KIND.STRING) {
    reader.at = reader.length();
    return reader.minimal;
  }
  if (!field.packed) return checkNumber(field.kind, reader);
  const end = reader.length();
  if (!reader.minimal || reader.at === end) return false;
  while (reader.at < end) if (!checkNumber(field.kind, reader)) return false;
  return reader.at === end;
}

function checkNumber(kind: number, reader: WireReader): boolean {
  readNumber(kind, reader);
  const { lo, hi } = reader;
  if (!reader.minimal) return false;
  switch (kind) {
    case KIND.UINT32:
    case KIND.SINT32:
      return hi === 0;
    case KIND.INT32:
    case KIND.ENUM:
      return lo < 0x80000000 ? hi === 0 : hi === 0xffffffff;
    case KIND.BOOL:
      return hi === 0 && lo <= 1;
    default:
      return true;
  }
}

/** Reads a value that is a number on the wire. */
export function readNumber(kind: number, reader: WireReader): void {
  if (kind === KIND.FIXED64) reader.fixed(8);
  else if (kind === KIND.FIXED32) reader.fixed(4);
  else reader.varint();
}

const tooDeep = (at: number) => new WireError(`expected at most ${MAX_MESSAGE_DEPTH} messages in each other`, at);

/** The error for a message in canonical form that lacks required fields. */
function missing(descriptor: MessageDescriptor, reader: WireReader, start: number): WireError {
  const present = new Set<number>();
  const again = new WireReader().over(reader.bytes, start, reader.end);
  while (again.nextTag()) {
    if (descriptor.byNumber[again.number]?.wireType === again.wireType) present.add(again.number);
    again.skip();
  }
  const field = descriptor.requiredFields.find(({ number }) => !present.has(number));
  return new WireError(`expected the required field ${field?.name} of ${descriptor.name}, found none`, start);
}

/** A field as it was read: its value is `bytes`, without the tag. */
interface RawField {
  number: number;
  wireType: number;
  field: FieldDescriptor | undefined;
  value: Uint8Array;
}

/**
 * A message in canonical form, as protobuf's own rules have it: of a singular field the last counts, but messages are merged.
 * @throws {WireError} if it is damaged
 */
export function canonicalise(
  descriptor: MessageDescriptor,
  bytes: Uint8Array,
  start: number,
  end: number,
  depth = 0,
): Uint8Array {
  if (depth > MAX_MESSAGE_DEPTH) throw tooDeep(start);
  if (end - start > MAX_OTHER_BYTES) {
    throw new WireError(
      `expected at most ${MAX_OTHER_BYTES} bytes of a ${descriptor.name} whose fields are out of order, found ${end - start}`,
      start,
    );
  }
  const out = new ByteWriter();
  const groups = new Map<number, RawField[]>();
  const reader = new WireReader().over(bytes, start, end);
  while (reader.nextTag()) {
    const raw = readRaw(descriptor, reader);
    const key = rank(raw.number, raw.field !== undefined);
    const group = groups.get(key);
    if (group) group.push(raw);
    else groups.set(key, [raw]);
  }
  for (const key of [...groups.keys()].sort((a, b) => a - b)) writeGroup(out, groups.get(key) as RawField[], depth);
  return out.view().slice();
}

/** The field whose tag was read last. */
function readRaw(descriptor: MessageDescriptor, reader: WireReader): RawField {
  const { number, wireType, at: from } = reader;
  const candidate = descriptor.byNumber[number];
  const field = candidate?.takes(wireType) ? candidate : undefined;
  reader.skip();
  return { number, wireType, field, value: reader.bytes.subarray(from, reader.at) };
}

/** All fields of one number, of which all or none are known. */
function writeGroup(out: ByteWriter, group: RawField[], depth: number): void {
  const { field } = group[0] as RawField;
  if (!field) {
    for (const raw of group) {
      out.varint(((raw.number << 3) | raw.wireType) >>> 0);
      out.raw(raw.value);
    }
  } else if (field.kind < KIND.STRING) {
    writeNumbers(out, field, group);
  } else if (field.repeated) {
    for (const raw of group) writeBytes(out, field, contents(raw), depth);
  } else if (field.kind === KIND.MESSAGE) {
    writeBytes(out, field, concatBytes(group.map(contents)), depth);
  } else {
    writeBytes(out, field, contents(group.at(-1) as RawField), depth);
  }
}

/** The bytes of a field with a length, without it. */
function contents({ value }: RawField): Uint8Array {
  const reader = new WireReader(value);
  reader.length();
  return value.subarray(reader.at);
}

function writeBytes(out: ByteWriter, field: FieldDescriptor, bytes: Uint8Array, depth: number): void {
  const body = field.kind === KIND.MESSAGE ? canonicalise(field.message, bytes, 0, bytes.length, depth + 1) : bytes;
  out.varint(((field.number << 3) | WIRE_BYTES) >>> 0);
  out.varint(body.length);
  out.raw(body);
}

function writeNumbers(out: ByteWriter, field: FieldDescriptor, group: RawField[]): void {
  const body = new ByteWriter();
  for (const raw of group) {
    const bytes = raw.wireType === WIRE_BYTES ? contents(raw) : raw.value;
    const reader = new WireReader(bytes);
    while (reader.at < bytes.length) {
      readNumber(field.kind, reader);
      if (!field.repeated) body.at = 0;
      if (!field.packed) body.varint(((field.number << 3) | field.wireType) >>> 0);
      writeNumber(body, field.kind, reader.lo, reader.hi);
    }
  }
  if (field.packed && body.at > 0) {
    out.varint(((field.number << 3) | WIRE_BYTES) >>> 0);
    out.varint(body.at);
  }
  out.raw(body.view());
}

/** Writes a number of a kind, cut to what the kind holds. */
export function writeNumber(out: ByteWriter, kind: number, lo: number, hi: number): void {
  switch (kind) {
    case KIND.FIXED32:
      out.u32(lo);
      return;
    case KIND.FIXED64:
      out.u32(lo);
      out.u32(hi);
      return;
    case KIND.UINT32:
    case KIND.SINT32:
      out.varint(lo);
      return;
    case KIND.INT32:
    case KIND.ENUM:
      out.varint(lo, lo >= 0x80000000 ? 0xffffffff : 0);
      return;
    case KIND.BOOL:
      out.varint(lo !== 0 || hi !== 0 ? 1 : 0);
      return;
    default:
      out.varint(lo, hi);
  }
}
