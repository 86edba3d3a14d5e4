/** What differs between two entries of images, field by field. */

/** A value of an entry: numbers, bigints, text, bytes, lists and messages. */
type Value = unknown;

/** A field that differs. A side is undefined where it has no such field. */
export interface FieldChange {
  /** As jq writes it, from the entry on: `tc.comm`, `vmas[2].flags`. */
  path: string;
  a: unknown;
  b: unknown;
}

/** Messages that are nested deeper are compared as a whole: an image is hostile. */
const MAX_DEPTH = 64;

/** The fields that differ between two values, in the order of their fields. */
export function* changedFields(a: Value, b: Value, path = '', depth = 0): Generator<FieldChange> {
  if (Object.is(a, b)) return;
  if (a instanceof Uint8Array && b instanceof Uint8Array) {
    if (Buffer.compare(a, b) !== 0) yield { path, a, b };
  } else if (Array.isArray(a) && Array.isArray(b) && depth < MAX_DEPTH) {
    for (let i = 0; i < Math.max(a.length, b.length); i++) {
      yield* changedFields(a[i], b[i], `${path}[${i}]`, depth + 1);
    }
  } else if (isMessage(a) && isMessage(b) && depth < MAX_DEPTH) {
    for (const name of new Set([...Object.keys(a), ...Object.keys(b)])) {
      yield* changedFields(a[name], b[name], path === '' ? name : `${path}.${name}`, depth + 1);
    }
  } else {
    yield { path, a, b };
  }
}

const isMessage = (value: Value): value is Record<string, Value> =>
  typeof value === 'object' && value !== null && !Array.isArray(value) && !(value instanceof Uint8Array);

/** A value as JSON has it: bytes in base64, numbers beyond 2^53 as text. Null for a field that is not there. */
export function jsonValue(value: Value): unknown {
  if (value === undefined) return null;
  if (typeof value === 'bigint') return Number.isSafeInteger(Number(value)) ? Number(value) : String(value);
  if (value instanceof Uint8Array) return Buffer.from(value).toString('base64');
  if (Array.isArray(value)) return value.map(jsonValue);
  if (!isMessage(value)) return value;
  return Object.fromEntries(Object.entries(value).map(([name, field]) => [name, jsonValue(field)]));
}
