/** Messages as objects: of the generated types, 64-bit numbers as bigint. */
import { canonicalMessage, readNumber } from './canonical.js';
import { type FieldDescriptor, KIND, type MessageDescriptor } from './descriptor.js';
import { WireReader } from './wire.js';

export type MessageObject = Record<string, unknown>;

/** Of fields that the schema does not know: a list of raw fields with their tags. */
export const UNKNOWN_FIELDS = '$unknown';

/**
 * An object of a message in canonical form. Bytes are copies.
 * @param only the names of the fields that it gets; all without it
 */
export const readObject = (
  descriptor: MessageDescriptor,
  bytes: Uint8Array,
  start: number,
  end: number,
  only?: readonly string[],
): MessageObject => readFields(descriptor, new WireReader().over(bytes, start, end), only);

/**
 * An object of a message in any form. Bytes are copies.
 * @param only the names of the fields that it gets; all without it. The whole message is checked
 * @throws {WireError} if it is damaged, or if a required field is missing
 */
export function readAnyObject(
  descriptor: MessageDescriptor,
  bytes: Uint8Array,
  start: number,
  end: number,
  only?: readonly string[],
): MessageObject {
  const message = canonicalMessage(descriptor, bytes, start, end);
  return readObject(descriptor, message.bytes, message.start, message.end, only);
}

function readFields(descriptor: MessageDescriptor, reader: WireReader, only?: readonly string[]): MessageObject {
  const object: MessageObject = {};
  for (let { at } = reader; reader.nextTag(); at = reader.at) {
    const field = descriptor.byNumber[reader.number];
    if (only && !(field && only.includes(field.name))) {
      reader.skip();
    } else if (field?.wireType !== reader.wireType) {
      reader.skip();
      append(object, UNKNOWN_FIELDS, reader.bytes.slice(at, reader.at));
    } else if (field.packed) {
      const end = reader.length();
      while (reader.at < end) append(object, field.name, readValue(field, reader));
    } else if (field.repeated) {
      append(object, field.name, readValue(field, reader));
    } else {
      object[field.name] = readValue(field, reader);
    }
  }
  return object;
}

function append(object: MessageObject, key: string, value: unknown): void {
  const list = object[key] as unknown[] | undefined;
  if (list) list.push(value);
  else object[key] = [value];
}

function readValue(field: FieldDescriptor, reader: WireReader): unknown {
  const { kind } = field;
  if (kind < KIND.STRING) {
    readNumber(kind, reader);
    return numberValue(field, reader.lo, reader.hi);
  }
  const end = reader.length();
  if (kind !== KIND.MESSAGE) {
    const bytes = reader.bytes.slice(reader.at, end);
    reader.at = end;
    return kind === KIND.STRING ? decodeText(bytes) : new Uint8Array(bytes);
  }
  const outer = reader.end;
  reader.end = end;
  const object = readFields(field.message, reader);
  reader.end = outer;
  return object;
}

function numberValue(field: FieldDescriptor, lo: number, hi: number): unknown {
  switch (field.kind) {
    case KIND.BOOL:
      return lo !== 0;
    case KIND.ENUM:
      return field.names?.[lo | 0] ?? lo | 0;
    case KIND.INT32:
      return lo | 0;
    case KIND.SINT32:
      return (lo >>> 1) ^ -(lo & 1);
    case KIND.UINT32:
    case KIND.FIXED32:
      return lo;
    default: {
      const value = (BigInt(hi) << 32n) | BigInt(lo);
      if (field.kind === KIND.SINT64) return (value >> 1n) ^ -(value & 1n);
      return field.kind === KIND.INT64 ? BigInt.asIntN(64, value) : value;
    }
  }
}

let strict: InstanceType<typeof TextDecoder> | undefined;

/** Made once, when it is first used: that takes longer than decoding a name does. */
function strictDecoder(): InstanceType<typeof TextDecoder> {
  strict ??= new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });
  return strict;
}

/** Text of UTF-8; other bytes become U+DC80 to U+DCFF, as Python's surrogateescape has it. */
export function decodeText(bytes: Uint8Array): string {
  try {
    return strictDecoder().decode(bytes);
  } catch {
    return decodeDamagedText(bytes);
  }
}

/** One sequence after the other: rare, and short. */
function decodeDamagedText(bytes: Uint8Array): string {
  let text = '';
  for (let at = 0; at < bytes.length; ) {
    const length = [1, 2, 3, 4].find((count) => isText(bytes.subarray(at, at + count))) ?? 0;
    text +=
      length === 0
        ? String.fromCharCode(0xdc00 | (bytes[at] as number))
        : new TextDecoder('utf-8', { ignoreBOM: true }).decode(bytes.subarray(at, at + length));
    at += Math.max(length, 1);
  }
  return text;
}

function isText(bytes: Uint8Array): boolean {
  try {
    strictDecoder().decode(bytes);
    return true;
  } catch {
    return false;
  }
}

/** The bytes of a text of {@link decodeText}; undefined if it holds other halves of surrogate pairs. */
export function encodeText(text: string): Uint8Array | undefined {
  if (!/[\ud800-\udfff]/.test(text)) return new TextEncoder().encode(text);
  const bytes: number[] = [];
  for (const character of text) {
    const code = character.codePointAt(0) as number;
    if (code >= 0xdc80 && code <= 0xdcff) bytes.push(code & 0xff);
    else if (code >= 0xd800 && code <= 0xdfff) return undefined;
    else bytes.push(...new TextEncoder().encode(character));
  }
  return Uint8Array.from(bytes);
}
