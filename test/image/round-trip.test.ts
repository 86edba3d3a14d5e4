/** Image to JSON and back: the same bytes, for every image, in whatever pieces it comes, or an error that says why not. */
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { ImageDecoder } from '../../src/image/decoder.js';
import { JsonImageReader } from '../../src/json/from-json.js';
import { JsonImageWriter } from '../../src/json/to-json.js';
import { Message } from '../helpers/dump-writer.js';
import { noise, pipeData, SAMPLES, type Sample, sampleOf } from '../helpers/image-samples.js';
import {
  CHUNKINGS,
  distinct,
  dumpErrorOf,
  fixtureImages,
  imageOf,
  imageOfJson,
  readImage,
  sortKeys,
  toJson,
} from '../helpers/images.js';
import { heldBytes } from '../helpers/memory.js';

const PRETTY = [false, true] as const;

describe('the fixtures', () => {
  const images = fixtureImages();

  it.each(PRETTY)('come back from JSON, pretty: %s', (pretty) => {
    const changed = distinct(images).filter(({ path }) => {
      const bytes = readFileSync(path);
      return !imageOfJson(toJson(bytes, { pretty })).equals(bytes);
    });
    expect(changed.map(({ path }) => path)).toEqual([]);
    expect(images.length).toBe(1342);
  });

  it('need none of the keys with @', () => {
    const marked = distinct(images).filter(({ path }) => toJson(readFileSync(path)).includes('"@'));
    expect(marked.map(({ path }) => path)).toEqual([]);
  });
});

describe.each(SAMPLES)('$what', ({ image, marks, type }) => {
  it('comes back from JSON', () => {
    for (const pretty of PRETTY) {
      const json = toJson(image, { pretty });
      expect(JSON.parse(json).magic).toBe(type);
      expect(json).toMatch(/^[\n -~]*$/);
      expect([...new Set(json.match(/@\w+/g) ?? [])]).toEqual(marks);
      expect(imageOfJson(json).equals(image)).toBe(true);
      expect(imageOfJson(sortKeys(json)).equals(image)).toBe(true);
    }
  });

  it.each(CHUNKINGS)('does so in pieces of %i bytes', (chunkBytes) => {
    for (const pretty of PRETTY) {
      const json = toJson(image, { pretty });
      expect(toJson(image, { pretty, chunkBytes })).toBe(json);
      expect(imageOfJson(json, chunkBytes).equals(image)).toBe(true);
      expect(imageOfJson(sortKeys(json), chunkBytes).equals(image)).toBe(true);
    }
  });
});

describe('what crit cannot read', () => {
  const FOWN = '{"uid": 0, "euid": 0, "signum": 0, "pid_type": 0, "pid": 0}';

  it.each([
    ['process handles', `{"id": 1, "ino": 4026531836, "flags": 2, "nspid": -1, "fown": ${FOWN}}`],
    [
      'binary formats',
      '{"name": "qemu", "enabled": true, "interpreter": "/usr/bin/qemu", "magic": "7f454c46", "offset": 0}',
    ],
    ['an inventory of a compressed dump', '{"img_version": 3, "compress": 1, "compress_block_size": 262144}'],
    [
      'a compressed pagemap',
      '{"pages_id": 3}, {"vaddr": 65536, "compat_nr_pages": 0, "flags": 4, "nr_pages": 3, "blocks": {"block_sizes": [0, 4096, 100], "total_payload_size": 4196, "pages_per_block": 1}}',
    ],
  ])('%s', (what, entries) => {
    const { image, type } = sampleOf(what);
    expect(toJson(image)).toBe(`{"magic": "${type}", "entries": [${entries}]}`);
  });

  it('signals', () => {
    const { entries } = JSON.parse(toJson(sampleOf('signals').image));
    expect(entries).toHaveLength(2);
    for (const { siginfo } of entries) expect(Buffer.from(siginfo, 'base64').equals(noise(128))).toBe(true);
  });

  it('the binary formats of a fixture', () => {
    const { entries } = JSON.parse(toJson(readImage('zdtm/binfmt-ns-binfmt_misc', 'binfmt-misc.img')));
    expect(entries.length).toBeGreaterThan(0);
    for (const entry of entries)
      expect(entry).toMatchObject({ name: expect.any(String), enabled: expect.any(Boolean) });
  });
});

describe('payloads of every size around a line of base64, in pieces of every size around it', () => {
  it.each([55, 56, 57, 58, 59, 113, 114, 115, 171, 1000])('%i bytes', (size) => {
    const image = imageOf('PIPES_DATA', pipeData(size), noise(size));
    const json = toJson(image);
    expect(JSON.parse(json).entries[0].extra).toBe(lines(noise(size)));
    for (const chunkBytes of [1, 56, 57, 58, 100]) {
      expect(toJson(image, { chunkBytes })).toBe(json);
      expect(imageOfJson(json, chunkBytes).equals(image)).toBe(true);
    }
  });

  /** Base64 as Python's encodebytes has it. */
  const lines = (bytes: Uint8Array): string =>
    Buffer.from(bytes)
      .toString('base64')
      .replace(/.{1,76}/g, '$&\n');
});

/** All that is said of an image that is cut off. */
const CUT = new RegExp(
  `^x\\.img(@0x[\\da-f]+)?( entry \\d+)?: expected (${[
    'an image, found \\d+ bytes?',
    'an entry of \\d+ bytes with its size, found \\d+',
    'the rest of an entry, found the end of the file',
    '\\d+ more bytes of payload, found the end of the file',
  ].join('|')})$`,
);

describe('a cut', () => {
  const isEnd = ({ ends, openFrom }: Sample, length: number) => ends.includes(length) || length >= openFrom;

  it.each(SAMPLES)('of $what fails, unless it leaves whole entries', (sample) => {
    const { image } = sample;
    for (let length = 0; length < image.length; length++) {
      const cut = image.subarray(0, length);
      if (isEnd(sample, length)) {
        expect(imageOfJson(toJson(cut)).equals(cut), `${length}`).toBe(true);
        continue;
      }
      for (const chunkBytes of [1, length]) {
        const error = dumpErrorOf(() => toJson(cut, { chunkBytes, file: 'x.img' }));
        expect(error.code, `${length}: ${error.message}`).toBe('TRUNCATED');
        expect(error.message).toMatch(length === 0 ? /^x\.img: it is empty; expected an image$/ : CUT);
      }
    }
  });

  it('of JSON fails at every length', () => {
    for (const { image } of SAMPLES) {
      const json = toJson(image);
      for (let length = 0; length < json.length; length += 7) {
        const error = dumpErrorOf(() => imageOfJson(json.slice(0, length)));
        expect(error.code, error.message).toBe('BAD_JSON');
      }
    }
  });
});

/** An image to JSON and back in one go; what is held is looked at on the way. */
function pass(chunks: () => Iterable<Uint8Array>, pretty: boolean, everyChunks: number) {
  const found = { images: createHash('sha1'), jsonBytes: 0, longestPiece: 0, growth: 0 };
  const piece = (bytes: Uint8Array) => {
    found.longestPiece = Math.max(found.longestPiece, bytes.length);
  };
  const reader = new JsonImageReader((bytes) => {
    piece(bytes);
    found.images.update(bytes);
  });
  const writer = new JsonImageWriter(
    (bytes) => {
      piece(bytes);
      found.jsonBytes += bytes.length;
      reader.push(bytes);
    },
    { pretty },
  );
  const decoder = new ImageDecoder(writer);
  const expected = createHash('sha1');
  let before: number | undefined;
  let chunkIndex = 0;
  for (const chunk of chunks()) {
    expected.update(chunk);
    decoder.push(chunk);
    // The first ones fill buffers and caches.
    if (++chunkIndex === 5) before = heldBytes();
    else if (before !== undefined && chunkIndex % everyChunks === 0)
      found.growth = Math.max(found.growth, heldBytes() - before);
  }
  decoder.end();
  reader.end();
  return { ...found, isSame: found.images.digest('hex') === expected.digest('hex'), chunks: chunkIndex };
}

const KIB = 1024;
const MIB = 1024 * KIB;

describe('what is large', () => {
  it('a pagemap of 100,000 entries passes in short pieces, and nothing of it is kept', () => {
    const entries = Array.from({ length: 5000 }, (_, i) =>
      new Message()
        .int(1, 0x7f0000000000n + BigInt(i) * 0x3000n)
        .int(2, 0)
        .int(4, 6)
        .int(5, 2),
    );
    const start = imageOf('PAGEMAP', new Message().int(1, 1));
    const chunk = imageOf('PAGEMAP', ...entries).subarray(8);
    const chunks = function* () {
      yield start;
      for (let i = 0; i < 20; i++) yield chunk;
    };
    const { isSame, chunks: count, longestPiece, growth, jsonBytes } = pass(chunks, false, 10);
    expect({ isSame, count }).toEqual({ isSame: true, count: 21 });
    expect(jsonBytes).toBeGreaterThan(7 * MIB);
    expect(longestPiece).toBeLessThan(160 * KIB);
    expect(growth / MIB).toBeLessThan(3);
  });

  it('a deleted file of 16 MiB passes in short pieces, and nothing of it is kept', () => {
    const ghost = new Message().int(1, 0).int(2, 0).int(3, 0o100644);
    const content = noise(64 * KIB);
    const chunks = function* () {
      yield imageOf('GHOST_FILE', ghost);
      for (let i = 0; i < 256; i++) yield content;
    };
    const { isSame, longestPiece, growth } = pass(chunks, true, 80);
    expect(isSame).toBe(true);
    expect(longestPiece / MIB).toBeLessThan(1.2);
    // What other tests of this process leave can be collected late.
    expect(growth / MIB).toBeLessThan(9);
  });
});
