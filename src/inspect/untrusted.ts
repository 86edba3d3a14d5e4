/** Values in JSON that somebody else has written: each is looked at before it is believed. */

/** Of a text, in characters. */
const MAX_TEXT = 4096;
/** Of a list or an object, in elements. */
const MAX_ELEMENTS = 4096;

/** What is at a place in an object; undefined if the way there is not one of objects. */
export function at(value: unknown, ...keys: string[]): unknown {
  let found = value;
  for (const key of keys) {
    if (typeof found !== 'object' || found === null || !Object.hasOwn(found, key)) return undefined;
    found = (found as Record<string, unknown>)[key];
  }
  return found;
}

/** A text that is not empty, cut where it is very long; null for anything else. */
export function textAt(value: unknown, ...keys: string[]): string | null {
  const found = at(value, ...keys);
  return typeof found === 'string' && found !== '' ? found.slice(0, MAX_TEXT) : null;
}

export const booleanAt = (value: unknown, ...keys: string[]): boolean => at(value, ...keys) === true;

export function listAt(value: unknown, ...keys: string[]): unknown[] {
  const found = at(value, ...keys);
  return Array.isArray(found) ? found.slice(0, MAX_ELEMENTS) : [];
}

export const textsAt = (value: unknown, ...keys: string[]): string[] =>
  listAt(value, ...keys).flatMap((each) => (typeof each === 'string' ? [each.slice(0, MAX_TEXT)] : []));

export function entriesAt(value: unknown, ...keys: string[]): [string, unknown][] {
  const found = at(value, ...keys);
  if (typeof found !== 'object' || found === null || Array.isArray(found)) return [];
  return Object.entries(found).slice(0, MAX_ELEMENTS);
}

/** The texts of an object by their keys. */
export const textMapAt = (value: unknown, ...keys: string[]): Record<string, string> =>
  Object.fromEntries(
    entriesAt(value, ...keys).flatMap(([key, text]) =>
      typeof text === 'string' ? [[key.slice(0, MAX_TEXT), text.slice(0, MAX_TEXT)]] : [],
    ),
  );

/** A time as RFC 3339 has it, without the fraction; null for the zero time of Go and for what is no time. */
export function timeAt(value: unknown, ...keys: string[]): string | null {
  const text = textAt(value, ...keys);
  const time = text === null ? Number.NaN : Date.parse(text);
  return Number.isNaN(time) || time <= 0 ? null : `${new Date(time).toISOString().slice(0, 19)}Z`;
}

/** A JSON text inside of JSON; undefined if it is none. */
export function innerJson(text: string | null): unknown {
  try {
    return text === null ? undefined : JSON.parse(text);
  } catch {
    return undefined;
  }
}
