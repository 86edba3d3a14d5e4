/**
 * Regular expressions over bytes. The engine knows characters, and memory is bytes: each is seen as the character of its
 * number. Text in a pattern is UTF-8 in memory, so its other characters become groups of bytes. What would match parts of
 * characters, or characters that are no bytes, is refused.
 */

/**
 * A pattern of text as one of bytes.
 * @throws {RangeError} that says what cannot be expressed
 */
export function bytePattern(pattern: string): string {
  let out = '';
  let isInClass = false;
  for (let i = 0; i < pattern.length; ) {
    const character = String.fromCodePoint(pattern.codePointAt(i) as number);
    const length = character === '\\' ? escapeLength(pattern, i) : character.length;
    const piece = pattern.slice(i, i + length);
    i += length;
    if (character === '\\') {
      out += isInClass ? piece : withoutFolding(piece);
    } else if (character > '\u007f') {
      if (isInClass) {
        throw new RangeError(
          `expected ASCII or \\xHH in [...], found ${JSON.stringify(character)}: it is several bytes`,
        );
      }
      out += `(?-i:${[...Buffer.from(character)].map((byte) => `\\x${byte.toString(16)}`).join('')})`;
    } else {
      // The first ] of a class is one of its characters, and [:alpha:] has brackets of its own.
      const posix = isInClass ? /^\[:\^?\w+:\]/.exec(pattern.slice(i - 1))?.[0] : undefined;
      const first = !isInClass && character === '[' ? /^\[\^?\]?/.exec(pattern.slice(i - 1))?.[0] : undefined;
      const taken = posix ?? first ?? piece;
      out += taken;
      i += taken.length - 1;
      if (first !== undefined) isInClass = true;
      else if (character === ']') isInClass = false;
    }
  }
  return out;
}

/** Length of the escape at a position: `\xHH`, `\x{HH}`, or a character after the backslash. */
function escapeLength(pattern: string, at: number): number {
  const rest = pattern.slice(at);
  const kind = String.fromCodePoint(rest.codePointAt(1) ?? 0);
  if (kind === 'Q' || kind === 'p' || kind === 'P') {
    throw new RangeError(`\\${kind} is about characters, and memory is searched as bytes`);
  }
  if (kind === 'A' || kind === 'z') throw new RangeError(`\\${kind} has no meaning in memory; ^ and $ are about lines`);
  if (kind > '\u007f') throw new RangeError(`expected ASCII after a backslash, found ${JSON.stringify(kind)}`);
  const code = /^\\x\{([0-9a-f]+)\}/i.exec(rest);
  if (code?.[1] && Number.parseInt(code[1], 16) > 0xff) {
    throw new RangeError(`expected a byte, found ${code[0]}: write the character itself, or its bytes`);
  }
  return (code ?? /^\\x[0-9a-f]{2}/i.exec(rest))?.[0].length ?? 2;
}

/** The engine would find both cases of a letter of Latin-1; a byte has none. */
function withoutFolding(escaped: string): string {
  const hex = /^\\x\{?([0-9a-f]+)/i.exec(escaped)?.[1];
  return hex !== undefined && Number.parseInt(hex, 16) > 0x7f ? `(?-i:${escaped})` : escaped;
}
