/** Base64 in pieces, against Node's own. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { Base64Reader, decodeBase64 } from '../../src/json/base64.js';

const anyBytes = fc.uint8Array({ maxLength: 200 });
const base64 = (bytes: Uint8Array) => Buffer.from(bytes).toString('base64');
const hex = (bytes: Uint8Array) => Buffer.from(bytes).toString('hex');

/** A text with white space at random places of it. */
const spaced = (bytes: fc.Arbitrary<Uint8Array>) =>
  fc
    .tuple(bytes, fc.array(fc.tuple(fc.nat(300), fc.constantFrom(' ', '\n', '\r\n', '\t')), { maxLength: 5 }))
    .map(([content, spaces]) => ({
      content,
      text: spaces.reduce((text, [at, space]) => text.slice(0, at) + space + text.slice(at), base64(content)),
    }));

describe('base64', () => {
  it('is read as Buffer reads it, with white space anywhere', () => {
    fc.assert(
      fc.property(spaced(anyBytes), ({ content, text }) => {
        expect(hex(decodeBase64(text))).toBe(hex(content));
      }),
    );
  });

  it('is read in pieces of any size, again and again', () => {
    const reader = new Base64Reader();
    fc.assert(
      fc.property(spaced(anyBytes), fc.integer({ min: 1, max: 20 }), ({ content, text }, size) => {
        const pieces: Uint8Array[] = [];
        for (let at = 0; at < text.length; at += size) pieces.push(reader.push(text.slice(at, at + size)));
        reader.end();
        expect(hex(Buffer.concat(pieces))).toBe(hex(content));
      }),
    );
  });

  it.each([
    ['A', 'expected base64, found the end in the middle of four characters'],
    ['AA', 'expected base64, found the end in the middle of four characters'],
    ['AAA', 'expected base64, found the end in the middle of four characters'],
    ['AA=', 'expected base64, found the end in the middle of four characters'],
    ['AAAAA', 'expected base64, found the end in the middle of four characters'],
    ['=', 'expected base64, found "="'],
    ['A===', 'expected base64, found "==="'],
    ['AA=A', 'expected base64, found "A"'],
    ['AA==A', 'expected base64, found "A"'],
    ['AAA==', 'expected base64, found "="'],
    ['AA==AA==', 'expected base64, found "AA=="'],
    ['AA-_', 'expected base64, found "-_"'],
    ['AAé=', 'expected base64, found "é="'],
    ['AA\0A', 'expected base64, found "\\u0000A"'],
    ['... <5B>', 'expected base64, found "... <5B>"'],
  ])('%j is none', (text, error) => {
    // Read letter by letter, the first one that is wrong is all that is known.
    const first = /^expected base64, found "(\\u0000|.)/.exec(error);
    const early = first ? `${first[0]}"` : error;
    expect(() => decodeBase64(text)).toThrow(expect.objectContaining({ message: error }));
    const reader = new Base64Reader();
    expect(() => {
      for (const letter of text) reader.push(letter);
      reader.end();
    }).toThrow(early);
  });
});
