/** What else encode takes: other words for the same, keys in any order, and what is large. */
import { describe, expect, it } from 'vitest';
import { JsonImageReader } from '../../src/json/from-json.js';
import { Message } from '../helpers/dump-writer.js';
import { noise, pipeData, sampleOf } from '../helpers/image-samples.js';
import { dumpErrorOf, fromJson, imageOf, imageOfJson, sortKeys, toJson } from '../helpers/images.js';

const MIB = 1024 * 1024;
const hex = (bytes: Uint8Array) => Buffer.from(bytes).toString('hex');
const UTS = imageOf('UTSNS', new Message().field(1, 'host').field(2, 'b'));

describe('the same in other words', () => {
  it.each([
    ['spaces', ' {\t"magic" : "UTSNS" ,\r\n"entries" : [ { "nodename" : "host" , "domainname" : "b" } ] } \n'],
    ['no spaces', '{"magic":"UTSNS","entries":[{"nodename":"host","domainname":"b"}]}'],
    ['fields in another order', '{"magic": "UTSNS", "entries": [{"domainname": "b", "nodename": "host"}]}'],
    ['the magic at the end', '{"entries": [{"nodename": "host", "domainname": "b"}], "magic": "UTSNS"}'],
    ['escapes', String.raw`{"magic": "UTS\u004eS", "entries": [{"node\u006eame": "\u0068ost", "domainname": "b"}]}`],
    ['a byte order mark', '\ufeff{"magic": "UTSNS", "entries": [{"nodename": "host", "domainname": "b"}]}'],
    [
      'unknown fields that are none',
      '{"magic": "UTSNS", "entries": [{"nodename": "host", "domainname": "b", "@unknown": ""}]}',
    ],
    [
      'padding that is none',
      '{"magic": "UTSNS", "entries": [{"nodename": "host", "domainname": "b", "@padding": ""}]}',
    ],
    [
      'the usual header',
      '{"magic": "UTSNS", "@header": "GUNWVAMyR1Q=", "entries": [{"nodename": "host", "domainname": "b"}]}',
    ],
  ])('%s', (_, json) => {
    expect(hex(imageOfJson(json))).toBe(hex(UTS));
    expect(hex(imageOfJson(json, 1))).toBe(hex(UTS));
  });

  it.each(['255', '"255"', '"0xff"', '"0xFF"', '"0o377"', '"0b11111111"', '"0x00000000000000000000ff"'])(
    '%s is 255',
    (text) => {
      const json = `{"magic": "RLIMIT", "entries": [{"cur": ${text}, "max": 1}]}`;
      expect(hex(imageOfJson(json))).toBe(hex(imageOf('RLIMIT', new Message().int(1, 255).int(2, 1))));
    },
  );

  it.each([
    ['"O_RDWR | O_APPEND"', 0o2002],
    ['" O_APPEND|O_RDWR "', 0o2002],
    ['"0x402"', 0o2002],
    ['"1026"', 0o2002],
    ['1026', 0o2002],
    ['""', 0],
    ['-0', 0],
  ])('flags: %s', (text, flags) => {
    const entry = `{"id": 1, "flags": ${text}, "pos": 0, "fown": {"uid": 0, "euid": 0, "signum": 0, "pid_type": 0, "pid": 0}, "name": "x"}`;
    const fown = new Message().int(1, 0).int(2, 0).int(3, 0).int(4, 0).int(5, 0);
    const image = imageOf('REG_FILES', new Message().int(1, 1).int(2, flags).int(3, 0).field(5, fown).field(6, 'x'));
    expect(hex(imageOfJson(`{"magic": "REG_FILES", "entries": [${entry}]}`))).toBe(hex(image));
  });

  it.each([
    ['"REG"', 1],
    ['"UND"', 0],
    ['1', 1],
    ['"1"', 1],
    ['77', 77],
    ['-1', -1n],
  ])('enums: %s', (text, number) => {
    const image = imageOf('FDINFO', new Message().int(1, 1).int(2, 0).int(3, number).int(4, 0));
    const json = `{"magic": "FDINFO", "entries": [{"id": 1, "flags": 0, "type": ${text}, "fd": 0}]}`;
    expect(hex(imageOfJson(json))).toBe(hex(image));
  });

  it('true, false, 0 and 1 are what a bool is', () => {
    for (const [text, value] of [
      ['true', true],
      ['false', false],
      ['1', true],
      ['0', false],
    ] as const) {
      const json = `{"magic": "BINFMT_MISC", "entries": [{"name": "a", "enabled": ${text}, "interpreter": "b"}]}`;
      const image = imageOf('BINFMT_MISC', new Message().field(1, 'a').int(2, value).field(3, 'b'));
      expect(hex(imageOfJson(json))).toBe(hex(image));
    }
  });

  it('a list may be empty, or left out', () => {
    for (const threads of ['', ', "threads": []']) {
      const json = `{"magic": "PSTREE", "entries": [{"pid": 1, "ppid": 0, "pgid": 1, "sid": 1${threads}}]}`;
      expect(hex(imageOfJson(json))).toBe(
        hex(imageOf('PSTREE', new Message().int(1, 1).int(2, 0).int(3, 1).int(4, 1))),
      );
    }
    const packed =
      '{"magic": "PAGEMAP", "entries": [{"pages_id": 1}, {"vaddr": 0, "compat_nr_pages": 0, "nr_pages": 1, "blocks": {"block_sizes": [], "total_payload_size": 0, "pages_per_block": 1}}]}';
    const entry = new Message().int(1, 0).int(2, 0).int(5, 1).field(6, new Message().int(2, 0).int(3, 1));
    expect(hex(imageOfJson(packed))).toBe(hex(imageOf('PAGEMAP', new Message().int(1, 1), entry)));
  });

  it('the parts of a TCP stream may come in any order', () => {
    const { image } = sampleOf('TCP');
    const json = toJson(image).replace(/"extra": \{("inq": ".*?"), ("outq": ".*?")\}/, '"extra": {$2, $1}');
    expect(json).toMatch(/"extra": \{"outq"/);
    expect(hex(imageOfJson(json))).toBe(hex(image));
  });

  it('an extra may come before the fields that say how long it is', () => {
    const json = '{"magic": "PIPES_DATA", "entries": [{"extra": "AQID", "bytes": 3, "pipe_id": 7}]}';
    expect(hex(imageOfJson(json))).toBe(hex(imageOf('PIPES_DATA', pipeData(3), Uint8Array.of(1, 2, 3))));
  });

  it('an extra that is empty may be left out', () => {
    const json = '{"magic": "PIPES_DATA", "entries": [{"bytes": 0, "pipe_id": 7}]}';
    expect(hex(imageOfJson(json))).toBe(hex(imageOf('PIPES_DATA', pipeData(0))));
  });

  it('@raw may come last', () => {
    const { image } = sampleOf('fields out of order before a payload');
    const json = toJson(image).replace(/"@raw": (".*?"), ("extra": ".*?")/, '$2, "@raw": $1');
    expect(json).toMatch(/"@raw": "[^"]*"\}/);
    expect(hex(imageOfJson(json))).toBe(hex(image));
  });
});

describe('a large extra', () => {
  const SIZE = 1.125 * MIB;
  const large = imageOf('PIPES_DATA', pipeData(SIZE), noise(SIZE), pipeData(1), noise(1));

  it.each([64 * 1024, 1000, undefined])('passes in pieces of %s characters', (chunkBytes) => {
    expect(imageOfJson(toJson(large), chunkBytes).equals(large)).toBe(true);
  });

  it('must stand behind the fields of its entry', () => {
    const message = 'x.json: entries[0].extra: expected an extra of this size behind all fields of its entry';
    expect(dumpErrorOf(() => fromJson(sortKeys(toJson(large)))).message).toBe(message);
    // An entry that is complete, and then goes on.
    const late = toJson(large).replace(/("bytes": \d+), ("extra": ".*?")/, '$1, $2, "size": 1');
    expect(dumpErrorOf(() => fromJson(late)).message).toBe(message.replace('.extra', '.size'));
  });

  it('of several parts passes', () => {
    const stream = new Message()
      .int(1, SIZE)
      .int(2, 0)
      .int(3, SIZE + 1)
      .int(4, 0)
      .int(5, 0)
      .int(6, 0)
      .int(7, 0);
    const image = imageOf('TCP_STREAM', stream, noise(SIZE), noise(SIZE + 1));
    const json = toJson(image);
    expect(imageOfJson(json, 64 * 1024).equals(image)).toBe(true);
    const swapped = json.replace(/"extra": \{("inq": ".*?"), ("outq": ".*?")\}/, '"extra": {$2, $1}');
    expect(dumpErrorOf(() => fromJson(swapped)).code).toBe('BAD_VALUE');
  });

  it.each([
    ['too short', -1, `expected ${SIZE} bytes of extra by the fields of the entry, found ${SIZE - 1}`],
    ['too long', 1, `expected ${SIZE} bytes of extra by the fields of the entry, found ${SIZE + 1}`],
  ])('is %s', (_, more, error) => {
    const json = toJson(imageOf('PIPES_DATA', pipeData(SIZE + more), noise(SIZE + more)));
    const wrong = json.replace(`"bytes": ${SIZE + more}`, `"bytes": ${SIZE}`);
    expect(dumpErrorOf(() => fromJson(wrong, { chunkBytes: 64 * 1024 })).message).toBe(
      `x.json: entries[0].extra: ${error}`,
    );
  });

  it('keeps its padding', () => {
    const desc = new Message().int(1, 1).int(2, 0).int(3, 0).int(4, 0).int(5, 0).int(6, 0).int(7, 0);
    const image = imageOf(
      'IPCNS_SHM',
      new Message().field(1, desc).int(2, SIZE - 1),
      noise(SIZE - 1),
      Uint8Array.of(9),
    );
    expect(imageOfJson(toJson(image), 64 * 1024).equals(image)).toBe(true);
  });
});

it('the text before the magic is kept up to 64 MiB', () => {
  const reader = new JsonImageReader(() => {}, { file: 'x.json' });
  reader.push(Buffer.from('{"entries": ['));
  const spaces = Buffer.alloc(4 * MIB, ' ');
  const { message } = dumpErrorOf(() => {
    for (let i = 0; i < 17; i++) reader.push(spaces);
  });
  expect(message).toBe('x.json: entries: expected "magic" before the entries, or within 67108864 characters');
});

describe('text that is not ASCII', () => {
  const text = (before: string) =>
    Buffer.from(`${before}{"magic":"UTSNS","entries":[{"nodename":"é€😀","domainname":"x"}]}`);
  const MARK = '\ufeff';
  const PIECE = 32 * 1024;

  it('may begin anywhere in a piece', () => {
    for (let padding = 0; padding < 12; padding++) {
      expect(imageOfJson(text(' '.repeat(PIECE - 45 + padding)))).toEqual(imageOfJson(text('')));
    }
  });

  it('may have a byte order mark at its start alone', () => {
    expect(imageOfJson(text(MARK))).toEqual(imageOfJson(text('')));
    const { code } = dumpErrorOf(() => imageOfJson(text(`${' '.repeat(PIECE)}${MARK}`)));
    expect(code).toBe('BAD_JSON');
  });

  it('is refused if it is cut inside a character', () => {
    const cut = text('').subarray(0, text('').indexOf('€') + 1);
    const found = 'x.json: expected UTF-8, found other bytes';
    expect(dumpErrorOf(() => imageOfJson(cut)).message).toBe(`${found}, behind entries[0].nodename`);
    const more = Buffer.concat([cut, Buffer.alloc(40, 'x')]);
    expect(dumpErrorOf(() => imageOfJson(more)).message).toBe(found);
  });
});
