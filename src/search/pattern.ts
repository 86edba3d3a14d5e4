/** A pattern as it is given: text, a regular expression, or hex. */
import { hexMatcher, Literal } from './literal.js';
import { AnyOf, type Matcher } from './matcher.js';
import { Regex } from './regex.js';

/** How a pattern is read. */
export type Pattern =
  /** UTF-8. `isWide`: also UTF-16, as Java and Windows programs have it. */
  | { text: string; isWide?: boolean }
  | { bytes: Uint8Array }
  /** Digits and `?`, two for each byte. */
  | { hex: string }
  /** In the syntax of RE2, over bytes. `reach`: bytes of the longest match, by default 4096. */
  | { regex: string; ignoreCase?: boolean; reach?: number };

/** Throws a RangeError that says what is wrong with the pattern. */
export function matcherOf(pattern: Pattern): Matcher {
  if ('hex' in pattern) return hexMatcher(pattern.hex);
  if ('regex' in pattern) return new Regex(pattern.regex, pattern);
  const bytes = 'bytes' in pattern ? pattern.bytes : Buffer.from(pattern.text);
  if (bytes.length === 0) throw new RangeError('expected a pattern, found none');
  const literal = new Literal(bytes);
  if (!('isWide' in pattern && pattern.isWide)) return literal;
  return new AnyOf([literal, new Literal(Buffer.from(pattern.text, 'utf16le'))]);
}
