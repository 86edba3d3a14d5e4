/**
 * Fixed bytes, and bytes with wildcards in hex:
 *
 *     pattern := byte*        blanks between bytes are ignored
 *     byte    := digit digit  a digit is 0-9, a-f, A-F, or ? for any
 */
import type { Match, Matcher, View } from './matcher.js';

/** Bytes as they are. */
export class Literal implements Matcher {
  readonly reach: number;

  constructor(private readonly needle: Uint8Array) {
    this.reach = needle.length;
  }

  next({ bytes }: View, from: number, last: number): Match | undefined {
    const start = bytes.subarray(0, last + this.reach).indexOf(this.needle, from);
    return start < 0 ? undefined : { start, end: start + this.reach };
  }
}

/** A byte and the bits of it that count. */
interface MaskedByte {
  value: number;
  mask: number;
}

/** Bytes of which only some bits count. */
export class Masked implements Matcher {
  readonly reach: number;
  private readonly expression: RegExp;

  constructor(pattern: readonly MaskedByte[]) {
    this.reach = pattern.length;
    const classes = pattern.map(({ value, mask }) =>
      byteClass(Array.from({ length: 256 }, (_, byte) => (byte & mask) === value)),
    );
    this.expression = new RegExp(classes.join(''), 'g');
  }

  next(view: View, from: number, last: number): Match | undefined {
    this.expression.lastIndex = from;
    const start = this.expression.exec(view.text)?.index ?? Number.POSITIVE_INFINITY;
    return start > last ? undefined : { start, end: start + this.reach };
  }
}

/**
 * A set of bytes in the syntax of RegExp, for text with a character for each byte. A sequence of such sets needs no more time
 * than its length for each byte, because nothing in it repeats or has an alternative.
 */
export function byteClass(has: readonly boolean[]): string {
  if (has.every(Boolean)) return '[^]';
  const hex = (byte: number) => `\\x${byte.toString(16).padStart(2, '0')}`;
  let ranges = '';
  for (let byte = 0; byte < 256; byte++) {
    if (!has[byte]) continue;
    const start = byte;
    while (has[byte + 1]) byte++;
    ranges += start === byte ? hex(start) : `${hex(start)}-${hex(byte)}`;
  }
  return `[${ranges}]`;
}

/** Hex with wildcards. Throws a RangeError that says what is wrong. */
export function hexMatcher(pattern: string): Matcher {
  const digits = pattern.replace(/\s+/g, '');
  const wrong = /[^0-9a-f?]/i.exec(digits)?.[0];
  if (wrong !== undefined) throw new RangeError(`expected hexadecimal digits or ?, found ${JSON.stringify(wrong)}`);
  if (digits === '' || digits.length % 2 === 1) {
    throw new RangeError(`expected two digits for each byte, found ${digits === '' ? 'none' : digits.length}`);
  }
  const bytes = (digits.match(/../g) ?? []).map((pair) => ({
    value: Number.parseInt(pair.replaceAll('?', '0'), 16),
    mask: Number.parseInt(pair.replace(/[^?]/g, 'f').replaceAll('?', '0'), 16),
  }));
  if (bytes.every(({ mask }) => mask === 0)) throw new RangeError('expected a digit, found only wildcards');
  if (bytes.every(({ mask }) => mask === 0xff)) return new Literal(Uint8Array.from(bytes, ({ value }) => value));
  return new Masked(bytes);
}
