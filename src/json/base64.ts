/**
 * Base64 that comes in pieces of text, with line breaks anywhere. Buffer decodes it, but skips what is no base64: so every
 * letter is checked first. The encoder is {@link JsonText.base64}.
 */
import { plainBytes } from '../bytes.js';
import { ValueError } from '../protobuf/builder.js';

const SPACE = /[ \t\r\n]+/g;
const NO_LETTER = /[^A-Za-z0-9+/]/;

export class Base64Reader {
  /** The group of four letters that is incomplete, without spaces. */
  private group = '';
  /** Whether padding has completed the last group. */
  private ended = false;

  /** The bytes that a piece completes. Throws {@link ValueError} if it is not base64. */
  push(text: string): Uint8Array {
    const letters = this.group + text.replace(SPACE, '');
    const valid = this.ended ? 0 : validLength(letters);
    if (valid < letters.length) throw this.noBase64(text, valid);
    const whole = letters.length & ~3;
    if (letters.length > 0) this.ended = whole === letters.length && letters.endsWith('=');
    this.group = letters.slice(whole);
    return plainBytes(Buffer.from(letters.slice(0, whole), 'base64'));
  }

  end(): void {
    if (this.group !== '') throw new ValueError('expected base64, found the end in the middle of four characters');
    this.ended = false;
  }

  /** @param valid letters that are valid, from the start of the group */
  private noBase64(text: string, valid: number): ValueError {
    let left = valid - this.group.length;
    const at = [...text].findIndex((letter) => letter.search(SPACE) < 0 && left-- === 0);
    return new ValueError(`expected base64, found ${JSON.stringify(text.slice(at, at + 12))}`);
  }
}

/** How many letters may begin base64: at most two of padding, at the end of a group of four. */
function validLength(letters: string): number {
  const length = letters.search(NO_LETTER);
  if (length < 0) return letters.length;
  const padding = length % 4 < 2 ? '' : '='.repeat(4 - (length % 4));
  let end = length;
  while (end - length < padding.length && letters[end] === '=') end++;
  return end;
}

/** All bytes of a text of base64. */
export function decodeBase64(text: string): Uint8Array {
  const reader = new Base64Reader();
  const bytes = reader.push(text);
  reader.end();
  return bytes;
}
