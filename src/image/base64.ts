/** Base64 that comes in pieces of text, with line breaks anywhere. */
import { ValueError } from './builder.js';

const SKIP = -2;
const PAD = -3;
const VALUES = new Int8Array(128).fill(-1);
for (const [value, letter] of [...'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/'].entries()) {
  VALUES[letter.charCodeAt(0)] = value;
}
for (const space of ' \t\r\n') VALUES[space.charCodeAt(0)] = SKIP;
VALUES['='.charCodeAt(0)] = PAD;

export class Base64Reader {
  private bits = 0;
  /** Letters of the group of four that is under way, and how many of them were padding. */
  private letters = 0;
  private pads = 0;
  private ended = false;

  /** The bytes that a piece completes. Throws {@link ValueError} at what is no base64. */
  push(text: string): Uint8Array {
    const bytes = new Uint8Array(Math.ceil((text.length * 3) / 4) + 3);
    let length = 0;
    for (let i = 0; i < text.length; i++) {
      const code = text.charCodeAt(i);
      const value = code < 128 ? (VALUES[code] as number) : -1;
      if (value === SKIP) continue;
      if (value === -1 || this.ended || (value === PAD ? this.letters < 2 : this.pads > 0)) {
        throw new ValueError(`expected base64, found ${JSON.stringify(text.slice(i, i + 12))}`);
      }
      if (value === PAD) this.pads++;
      this.bits = (this.bits << 6) | (value === PAD ? 0 : value);
      if (++this.letters < 4) continue;
      bytes[length++] = this.bits >> 16;
      if (this.pads < 2) bytes[length++] = this.bits >> 8;
      if (this.pads < 1) bytes[length++] = this.bits;
      this.ended = this.pads > 0;
      this.letters = 0;
      this.bits = 0;
    }
    return bytes.subarray(0, length);
  }

  end(): void {
    if (this.letters !== 0) throw new ValueError('expected base64, found the end in the middle of four characters');
    this.ended = false;
    this.pads = 0;
  }
}

/** All bytes of a text of base64. */
export function decodeBase64(text: string): Uint8Array {
  const reader = new Base64Reader();
  const bytes = reader.push(text);
  reader.end();
  return bytes;
}
