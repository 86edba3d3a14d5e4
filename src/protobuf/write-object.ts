/** Objects of the generated types to messages. */
import {
  buildNumber,
  fieldOf,
  type Magnitude,
  MessageBuilder,
  shorten,
  unexpectedValue,
  ValueError,
} from './builder.js';
import { type FieldDescriptor, KIND, type MessageDescriptor } from './descriptor.js';
import { encodeText, type MessageObject, UNKNOWN_FIELDS } from './object.js';
import { ByteWriter } from './wire.js';

/**
 * Writes the fields of an object into the message that was opened last. Absent and undefined are the same.
 * @param path of the object, for errors
 * @throws {ValueError} with the path of what cannot be written
 */
export function writeObject(
  builder: MessageBuilder,
  descriptor: MessageDescriptor,
  object: MessageObject,
  path: string,
): void {
  for (const [key, value] of Object.entries(object)) {
    if (value === undefined) continue;
    if (key === UNKNOWN_FIELDS) {
      located(`${path}.${key}`, () => writeUnknown(builder, value));
      continue;
    }
    const place = `${path}.${key}`;
    located(place, () => writeField(builder, fieldOf(descriptor, key), value, place));
  }
}

/** The bytes of a message in canonical form. Throws {@link ValueError} as {@link writeObject} does. */
export function encodeObject(descriptor: MessageDescriptor, object: MessageObject): Uint8Array {
  const builder = new MessageBuilder(new ByteWriter());
  builder.open(descriptor);
  writeObject(builder, descriptor, object, descriptor.name);
  builder.close();
  return builder.out.view();
}

/** Adds the path to a {@link ValueError}; only the innermost one is kept. */
export function located<T>(path: string, action: () => T): T {
  try {
    return action();
  } catch (error) {
    if (error instanceof ValueError) error.path ??= path;
    throw error;
  }
}

function writeUnknown(builder: MessageBuilder, value: unknown): void {
  if (!Array.isArray(value) || !value.every((field) => field instanceof Uint8Array)) {
    throw new ValueError('expected a list of Uint8Array, each a field with its tag');
  }
  for (const field of value) builder.unknown(field);
}

function writeField(builder: MessageBuilder, field: FieldDescriptor, value: unknown, path: string): void {
  if (!field.repeated) {
    writeValue(builder, field, value, path);
    return;
  }
  if (!Array.isArray(value)) throw unexpected(field, value, true);
  if (field.packed) builder.openPacked(field);
  for (const [i, element] of value.entries()) {
    const place = `${path}[${i}]`;
    located(place, () => writeValue(builder, field, element, place));
  }
  if (field.packed) builder.closePacked();
}

function writeValue(builder: MessageBuilder, field: FieldDescriptor, value: unknown, path: string): void {
  if (field.kind === KIND.MESSAGE) {
    if (typeof value !== 'object' || value === null) throw unexpected(field, value);
    builder.openField(field);
    writeObject(builder, field.message, value as MessageObject, path);
    builder.closeField();
  } else if (field.kind === KIND.STRING) {
    const bytes = typeof value === 'string' ? encodeText(value) : undefined;
    if (!bytes) throw unexpected(field, value);
    builder.bytes(field, bytes);
  } else if (field.kind === KIND.BYTES) {
    if (!(value instanceof Uint8Array)) throw unexpected(field, value);
    builder.bytes(field, value);
  } else {
    buildNumber(builder, field, magnitudeOf(field, value));
  }
}

function magnitudeOf(field: FieldDescriptor, value: unknown): Magnitude {
  const named = typeof value === 'string' ? field.numbers?.[value] : value;
  const isNumber =
    typeof named === 'bigint' ||
    (typeof named === 'number' && Number.isSafeInteger(named)) ||
    (typeof named === 'boolean' && field.kind === KIND.BOOL);
  if (!isNumber) throw unexpected(field, value);
  const signed = BigInt(named);
  const magnitude = signed < 0n ? -signed : signed;
  if (magnitude >= 1n << 64n) throw unexpected(field, value);
  return { negative: signed < 0n, lo: Number(magnitude & 0xffffffffn), hi: Number(magnitude >> 32n) };
}

const unexpected = (field: FieldDescriptor, value: unknown, wantsList = false): ValueError =>
  unexpectedValue(field, wantsList, wordsFor(value));

/** A value of any type for an error. */
function wordsFor(value: unknown): string {
  if (typeof value === 'string') return JSON.stringify(shorten(value));
  if (typeof value === 'object' && value !== null) return value.constructor?.name ?? 'an object';
  return typeof value === 'function' ? 'a function' : String(value);
}
