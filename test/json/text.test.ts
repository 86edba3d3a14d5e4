/** JSON as Python prints it: strings of any bytes, numbers of 64 bits. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { Base64Lines, JsonText } from '../../src/json/text.js';
import { decodeText, encodeText } from '../../src/protobuf/object.js';
import { Message } from '../helpers/dump-writer.js';
import { collector, imageOf, imageOfJson, toJson } from '../helpers/images.js';
import { ANY_TEXT, VALID_TEXT } from '../helpers/messages.js';

/** What a text writer was told to write. */
function written(write: (text: JsonText) => void, pretty = false): string {
  const { emit, bytes } = collector();
  const text = new JsonText(emit, pretty);
  write(text);
  text.flush();
  return bytes().toString();
}

const halves = (value: bigint): [lo: number, hi: number] => [Number(value & 0xffffffffn), Number(value >> 32n)];

const UINT64 = fc.oneof(
  fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }),
  // On both sides of where digits are cut, and of what a double holds.
  fc
    .tuple(fc.integer({ min: 0, max: 9_007_199 }), fc.constantFrom(-1n, 0n, 1n))
    .map(([billions, more]) => BigInt.asUintN(64, BigInt(billions) * 10n ** 9n + more)),
  fc
    .tuple(fc.integer({ min: 0, max: 63 }), fc.constantFrom(-1n, 0n, 1n))
    .map(([bit, more]) => BigInt.asUintN(64, 2n ** BigInt(bit) + more)),
);

describe('numbers', () => {
  it('have the digits that BigInt gives them', () => {
    fc.assert(
      fc.property(UINT64, (value) => {
        expect(written((text) => text.decimal(...halves(value)))).toBe(value.toString());
        expect(written((text) => text.hex(...halves(value)))).toBe(value.toString(16));
      }),
      { numRuns: 2000 },
    );
  });
});

describe('strings', () => {
  const inJson = (bytes: Uint8Array): string =>
    written((text) => {
      text.quote();
      text.utf8(bytes, 0, bytes.length);
      text.quote();
    });

  it('are ASCII, and say what the bytes say', () => {
    fc.assert(
      fc.property(ANY_TEXT, (bytes) => {
        const json = inJson(bytes);
        expect(json).toMatch(/^[ -~]*$/);
        expect(JSON.parse(json)).toBe(decodeText(bytes));
        expect(Buffer.from(encodeText(JSON.parse(json)) as Uint8Array).toString('hex')).toBe(
          Buffer.from(bytes).toString('hex'),
        );
      }),
      { numRuns: 2000 },
    );
  });

  it('are those of UTF-8 where the bytes are some', () => {
    fc.assert(
      fc.property(VALID_TEXT, (bytes) => {
        expect(decodeText(bytes)).toBe(Buffer.from(bytes).toString());
      }),
    );
  });

  it.each<[bytes: number[], json: string]>([
    [[], '""'],
    [[0x22, 0x5c, 0x2f], String.raw`"\"\\/"`],
    [[8, 9, 10, 12, 13, 0, 31, 127], String.raw`"\b\t\n\f\r\u0000\u001f\u007f"`],
    [[0xc3, 0xa9], String.raw`"\u00e9"`],
    [[0xe2, 0x82, 0xac], String.raw`"\u20ac"`],
    [[0xf0, 0x9f, 0x98, 0x80], String.raw`"\ud83d\ude00"`],
    [[0xf4, 0x8f, 0xbf, 0xbf], String.raw`"\udbff\udfff"`],
    [[0xff, 0x41], String.raw`"\udcffA"`],
    // Cut, overlong, a surrogate, beyond U+10FFFF.
    [[0xe2, 0x82], String.raw`"\udce2\udc82"`],
    [[0xe2, 0x82, 0x41], String.raw`"\udce2\udc82A"`],
    [[0xc0, 0x80], String.raw`"\udcc0\udc80"`],
    [[0xe0, 0x9f, 0xbf], String.raw`"\udce0\udc9f\udcbf"`],
    [[0xf0, 0x8f, 0xbf, 0xbf], String.raw`"\udcf0\udc8f\udcbf\udcbf"`],
    [[0xed, 0xa0, 0x80], String.raw`"\udced\udca0\udc80"`],
    [[0xf4, 0x90, 0x80, 0x80], String.raw`"\udcf4\udc90\udc80\udc80"`],
  ])('%j is %s', (bytes, json) => {
    expect(inJson(Uint8Array.from(bytes))).toBe(json);
  });

  it.each(['\ud800', '\udc00', '\udc7f', '\udd00', 'a\udfffb', '\udc80\ud800'])('%j is no bytes', (text) => {
    expect(encodeText(text)).toBeUndefined();
  });
});

describe('base64', () => {
  it('has lines of 76 characters, in whatever pieces it comes', () => {
    fc.assert(
      fc.property(fc.array(fc.uint8Array({ maxLength: 150 }), { maxLength: 6 }), (pieces) => {
        const json = written((text) => {
          const lines = new Base64Lines(text);
          text.quote();
          for (const piece of pieces) lines.push(piece);
          lines.end();
          text.quote();
        });
        const whole = Buffer.concat(pieces).toString('base64');
        expect(JSON.parse(json)).toBe(whole.replace(/.{1,76}/g, '$&\n'));
      }),
    );
  });
});

describe('what is longer than the buffer', () => {
  const LENGTH = 300_000;

  it.each([
    ['text', 'a'.repeat(LENGTH)],
    ['escapes', '\u0001é'.repeat(LENGTH / 2)],
  ])('passes: %s', (_, name) => {
    const image = imageOf('UTSNS', Buffer.alloc(0), large(Buffer.from(name)));
    for (const pretty of [false, true]) {
      const json = toJson(image, { pretty });
      expect(JSON.parse(json).entries[0].nodename).toBe(name);
      expect(imageOfJson(json).equals(image)).toBe(true);
    }
  });

  it('many small values', () => {
    const image = imageOf(
      'FDINFO',
      ...Array.from({ length: 5000 }, (_, i) => new Message().int(1, i).int(2, 0).int(3, 1).int(4, i)),
    );
    for (const pretty of [false, true]) {
      const json = toJson(image, { pretty });
      expect(JSON.parse(json).entries).toHaveLength(5000);
      expect(imageOfJson(json).equals(image)).toBe(true);
    }
  });

  /** An entry of a long name and a short one. */
  function large(name: Uint8Array): Buffer {
    const head = new Message().int(1, name.length).finish();
    const body = Buffer.concat([Uint8Array.of(0x0a), head.subarray(1), name, new Message().field(2, 'b').finish()]);
    const size = Buffer.alloc(4);
    size.writeUInt32LE(body.length);
    return Buffer.concat([size, body]);
  }
});
