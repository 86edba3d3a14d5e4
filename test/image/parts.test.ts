/** Images as streams of typed parts, and back, among stages of stream-chain. */
import { createReadStream, createWriteStream, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import chain from 'stream-chain';
import { describe, expect, expectTypeOf, it } from 'vitest';
import { DumpError } from '../../src/errors.js';
import { decodeImage, encodeImage, type ImagePart, type ImageType, type mm_entry } from '../../src/images.js';
import { Message } from '../helpers/dump-writer.js';
import { noise, pipeData, SAMPLES, sampleOf, UNKNOWN } from '../helpers/image-samples.js';
import { CHUNKINGS, chunksOf, distinct, fixtureImages, imageOf } from '../helpers/images.js';
import { fixture, tempDir } from '../helpers/temp.js';

const hex = (bytes: Uint8Array) => Buffer.from(bytes).toString('hex');

/** All that comes out of stages that are given some items. */
async function through<T>(items: Iterable<unknown>, stages: unknown[]): Promise<T[]> {
  const found: T[] = [];
  const stream = chain([...stages] as Parameters<typeof chain>[0]);
  await pipeline(Readable.from(items, { objectMode: true }), stream, async (source) => {
    for await (const item of source) found.push(item as T);
  });
  return found;
}

const partsOf = (image: Uint8Array, chunkBytes?: number, options: Parameters<typeof decodeImage>[0] = {}) =>
  through<ImagePart>(chunksOf(image, chunkBytes), [decodeImage(options)]);

const imageOfParts = async (parts: Iterable<unknown>): Promise<Buffer> =>
  Buffer.concat(await through<Uint8Array>(parts, [encodeImage({ file: 'out.img' })]));

const failureOf = async (promise: Promise<unknown>): Promise<DumpError> => {
  const error = await promise.then(
    () => undefined,
    (thrown: unknown) => thrown,
  );
  if (error instanceof DumpError) return error;
  throw new Error(`expected a DumpError, found ${String(error)}`);
};

describe('decodeImage() and encodeImage()', () => {
  it('give back all images of all fixtures', async () => {
    const changed: string[] = [];
    for (const { path } of distinct(fixtureImages())) {
      const image = readFileSync(path);
      if (!(await imageOfParts(await partsOf(image))).equals(image)) changed.push(path);
    }
    expect(changed).toEqual([]);
  });

  it.each(SAMPLES)('give back $what, in whatever pieces it comes', async ({ image }) => {
    for (const chunkBytes of CHUNKINGS) {
      const stages = [decodeImage(), encodeImage()];
      const again = Buffer.concat(await through<Uint8Array>(chunksOf(image, chunkBytes), stages));
      expect(hex(again)).toBe(hex(image));
    }
  });

  it('stand between streams of files', async () => {
    const path = fixture('mosaic-criu-4.2.1/mm-15.img');
    const out = join(tempDir(), 'mm-15.img');
    await pipeline(createReadStream(path), chain([decodeImage({ type: 'MM' }), encodeImage()]), createWriteStream(out));
    expect(readFileSync(out).equals(readFileSync(path))).toBe(true);
  });
});

describe('the parts', () => {
  it('of an image of a type are of that type', async () => {
    const path = fixture('mosaic-criu-4.2.1/mm-15.img');
    const starts: bigint[] = [];
    const images = chain([
      createReadStream(path),
      decodeImage({ type: 'MM' }),
      (part: ImagePart<'MM'>) => {
        if (part.type === 'entry') {
          expectTypeOf(part.entry).toEqualTypeOf<mm_entry>();
          expectTypeOf(part.entry.mm_start_code).toEqualTypeOf<bigint>();
          starts.push(part.entry.mm_start_code);
        }
        return null;
      },
    ]);
    for await (const _ of images);
    expect(starts).toEqual([0x401000n]);
  });

  it('of a pagemap tell head and entries apart', async () => {
    const { image } = sampleOf('a pagemap');
    const pages: (number | bigint)[] = [];
    await through(chunksOf(image), [
      decodeImage({ type: 'PAGEMAP' }),
      (part: ImagePart<'PAGEMAP'>) => {
        if (part.type === 'entry' && part.message === 'pagemap_head') pages.push(part.entry.pages_id);
        if (part.type === 'entry' && part.message === 'pagemap_entry') pages.push(part.entry.vaddr);
        return null;
      },
    ]);
    expect(pages).toEqual([3, 0x10000n, 0xffffffffff600000n]);
  });

  it('are these, for images with extras', async () => {
    const desc = { key: 4096, uid: 0, gid: 0, cuid: 0, cgid: 0, mode: 384 };
    expect(await partsOf(sampleOf('message queues').image)).toEqual([
      { type: 'image', image: 'IPCNS_MSG' },
      { type: 'entry', message: 'ipc_msg_entry', entry: { desc: { ...desc, id: 0 }, qbytes: 16384, qnum: 0 } },
      { type: 'entry', message: 'ipc_msg_entry', entry: { desc: { ...desc, id: 2 }, qbytes: 16384, qnum: 2 } },
      { type: 'message', message: 'ipc_msg', entry: { mtype: 1n, msize: 5 } },
      { type: 'payload', size: 5 },
      { type: 'bytes', bytes: noise(5) },
      { type: 'payloadEnd' },
      { type: 'message', message: 'ipc_msg', entry: { mtype: 1n, msize: 8 } },
      { type: 'payload', size: 8 },
      { type: 'bytes', bytes: noise(8) },
      { type: 'payloadEnd' },
      { type: 'entry', message: 'ipc_msg_entry', entry: { desc: { ...desc, id: 1 }, qbytes: 16384, qnum: 1 } },
      { type: 'message', message: 'ipc_msg', entry: { mtype: 1n, msize: 0 } },
      { type: 'payload', size: 0 },
      { type: 'payloadEnd' },
    ]);
    expect((await partsOf(sampleOf('TCP').image)).slice(2)).toEqual([
      { type: 'payload', size: 3, key: 'inq' },
      { type: 'bytes', bytes: noise(3) },
      { type: 'payloadEnd' },
      { type: 'payload', size: 70, key: 'outq' },
      { type: 'bytes', bytes: noise(70) },
      { type: 'payloadEnd' },
    ]);
    expect((await partsOf(sampleOf('a ghost file').image))[2]).toEqual({
      type: 'payload',
      size: Number.POSITIVE_INFINITY,
    });
  });

  it('hold what the schema has no room for', async () => {
    const header = Uint8Array.of(0x03, 0x32, 0x47, 0x54);
    expect((await partsOf(sampleOf('an image of CRIU 1').image))[0]).toEqual({ type: 'image', image: 'UTSNS', header });
    const [, raw] = await partsOf(sampleOf('fields out of order').image);
    expect(raw).toEqual({
      type: 'entry',
      message: 'utsns_entry',
      entry: { nodename: 'host', domainname: 'domain' },
      raw: new Message().field(2, 'domain').field(1, 'host').finish(),
    });
    const [, unknown] = await partsOf(sampleOf('unknown fields').image);
    const { $unknown = [] } = (unknown as { entry: { $unknown?: Uint8Array[] } }).entry;
    expect($unknown).toHaveLength(5);
    expect(hex(Buffer.concat($unknown))).toBe(hex(UNKNOWN));
    const [, , , , end] = await partsOf(sampleOf('odd padding of semaphores').image);
    expect(end).toEqual({ type: 'payloadEnd', padding: noise(2) });
  });

  it('stay as they are when more is read', async () => {
    for (const { image } of SAMPLES) {
      const parts = await partsOf(image, 3);
      expect(hex(await imageOfParts(parts))).toBe(hex(image));
    }
  });

  it('of a payload are views of the chunks that went in, and come as these come', async () => {
    const chunks = [imageOf('PIPES_DATA', pipeData(300_000)), ...[1, 2, 3].map(() => Buffer.alloc(100_000, 7))];
    const parts = await through<ImagePart>(chunks, [decodeImage()]);
    const pieces = parts.flatMap((part) => (part.type === 'bytes' ? [part.bytes] : []));
    expect(pieces.map(({ buffer: memory, length }) => [memory, length])).toEqual(
      chunks.slice(1).map((chunk) => [chunk.buffer, 100_000]),
    );
    // Neither does encodeImage() copy them.
    const out = await through<Uint8Array>(parts, [encodeImage()]);
    expect(out.filter(({ length }) => length === 100_000).map(({ buffer: memory }) => memory)).toEqual(
      chunks.slice(1).map((chunk) => chunk.buffer),
    );
  });
});

describe('what is changed on the way', () => {
  type Change = (part: ImagePart) => unknown;
  const changed = async (image: Uint8Array, change: Change) => {
    const stages = [decodeImage(), change, encodeImage({ file: 'out.img' })];
    return Buffer.concat(await through<Uint8Array>(chunksOf(image), stages));
  };
  /** Changes an entry in the way in which users do it. */
  const withEntry =
    (fields: object): Change =>
    (part) =>
      part.type === 'entry' ? { ...part, entry: { ...part.entry, ...fields } } : part;

  it('is written, and the rest as it was', async () => {
    const { image } = sampleOf('pipes');
    expect(hex(await changed(image, withEntry({ pipe_id: 9 })))).toBe(
      hex(imageOf('PIPES_DATA', pipeData(5, 9), noise(5), pipeData(0, 9), pipeData(200, 9), noise(200))),
    );
    const uts = sampleOf('unknown fields').image;
    const [entry, last] = [
      new Message().field(1, 'new').field(2, '(none)'),
      new Message().field(1, 'new').field(2, '(none)'),
    ];
    expect(hex(await changed(uts, withEntry({ nodename: 'new' })))).toBe(
      hex(imageOf('UTSNS', entry.raw(UNKNOWN), last)),
    );
  });

  it('is written in canonical form where it had another', async () => {
    const { image } = sampleOf('fields out of order');
    expect(hex(await changed(image, withEntry({})))).toBe(hex(image));
    const same = withEntry({ nodename: 'host', domainname: 'domain' });
    expect(hex(await changed(image.subarray(0, 26), same))).toBe(hex(image.subarray(0, 26)));
    expect(hex(await changed(image.subarray(0, 26), withEntry({ nodename: 'x' })))).toBe(
      hex(imageOf('UTSNS', new Message().field(1, 'x').field(2, 'domain'))),
    );
  });

  it('may be numbers of either kind, names of constants, fields that were absent or are left out', async () => {
    const image = imageOf('FDINFO', new Message().int(1, 1).int(2, 0).int(3, 1).int(4, 0));
    const expected = imageOf('FDINFO', new Message().int(1, 7).int(2, 0).int(3, 2).int(4, 0).field(5, 'x'));
    for (const id of [7, 7n]) {
      for (const type of [2, 2n, 'PIPE']) {
        expect(hex(await changed(image, withEntry({ xattr_security_selinux: 'x', id, type })))).toBe(hex(expected));
      }
    }
    expect(hex(await changed(expected, withEntry({ id: 1, type: 'REG', xattr_security_selinux: undefined })))).toBe(
      hex(image),
    );
  });

  it('may be a payload with its size', async () => {
    const { image } = sampleOf('pipes');
    const shorter = await changed(image, (part) => {
      if (part.type === 'entry') return { ...part, entry: { ...part.entry, bytes: 0 } };
      return part.type === 'image' ? part : null;
    });
    expect(hex(shorter)).toBe(hex(imageOf('PIPES_DATA', pipeData(0), pipeData(0), pipeData(0, 8))));
  });

  it.each<[what: string, image: Uint8Array, change: object, error: string]>([
    [
      'an unknown field',
      sampleOf('pipes').image,
      { pipeId: 1 },
      'entries[0].pipeId: expected a field of pipe_data_entry, found none of this name; did you mean pipe_id?',
    ],
    [
      'a number beyond its type',
      sampleOf('pipes').image,
      { pipe_id: 2 ** 32 },
      'entries[0].pipe_id: expected a uint32, found 4294967296',
    ],
    ['a negative number', sampleOf('pipes').image, { pipe_id: -1 }, 'entries[0].pipe_id: expected a uint32, found -1'],
    ['a fraction', sampleOf('pipes').image, { pipe_id: 1.5 }, 'entries[0].pipe_id: expected a uint32, found 1.5'],
    [
      'a number that is not exact',
      sampleOf('a pagemap').image,
      { pages_id: 2 ** 53 },
      'entries[0].pages_id: expected a uint32, found 9007199254740992',
    ],
    [
      'a bigint beyond 64 bits',
      sampleOf('pipes').image,
      { pipe_id: 2n ** 64n },
      'entries[0].pipe_id: expected a uint32, found 18446744073709551616',
    ],
    [
      'text for a number',
      sampleOf('pipes').image,
      { pipe_id: '7' },
      'entries[0].pipe_id: expected a uint32, found "7"',
    ],
    ['null', sampleOf('pipes').image, { pipe_id: null }, 'entries[0].pipe_id: expected a uint32, found null'],
    [
      'a field that is gone',
      sampleOf('pipes').image,
      { pipe_id: undefined },
      'entries[0]: expected the required field pipe_id of pipe_data_entry, found none',
    ],
    [
      'a number for text',
      sampleOf('unknown fields').image,
      { nodename: 7 },
      'entries[0].nodename: expected a string, found 7',
    ],
    [
      'text that is none',
      sampleOf('unknown fields').image,
      { nodename: '\ud800' },
      'entries[0].nodename: expected a string, found "\\ud800"',
    ],
    [
      'text for bytes',
      sampleOf('signals').image,
      { siginfo: 'AAAA' },
      'entries[0].siginfo: expected bytes, found "AAAA"',
    ],
    [
      'a number for a message',
      sampleOf('segments').image,
      { desc: 1 },
      'entries[0].desc: expected an ipc_desc_entry, found 1',
    ],
    [
      'a field of a message that is gone',
      sampleOf('segments').image,
      { desc: { key: 1 } },
      'entries[0].desc: expected the required field uid of ipc_desc_entry, found none',
    ],
    [
      'a bad field of a message',
      sampleOf('segments').image,
      { desc: { key: 'x' } },
      'entries[0].desc.key: expected a uint32, found "x"',
    ],
    ['no list', sampleOf('packets').image, { scm: {} }, 'entries[0].scm: expected a list of scm_entry, found Object'],
    [
      'a bad element',
      sampleOf('packets').image,
      { scm: [{ type: 1, rights: [1, -1] }] },
      'entries[0].scm[0].rights[1]: expected a uint32, found -1',
    ],
    [
      'a hole in a list',
      sampleOf('packets').image,
      { scm: [undefined] },
      'entries[0].scm[0]: expected a scm_entry, found undefined',
    ],
    [
      'an unknown constant',
      sampleOf('process handles').image,
      { fown: { uid: 0, euid: 0, signum: 0, pid_type: 'NO', pid: 0 } },
      'entries[0].fown.pid_type: expected a uint32, found "NO"',
    ],
    [
      'unknown fields that are none',
      sampleOf('unknown fields').image,
      { $unknown: 5 },
      'entries[0].$unknown: expected a list of Uint8Array, each a field with its tag',
    ],
    [
      'unknown fields that are damaged',
      sampleOf('unknown fields').image,
      { $unknown: [Uint8Array.of(0x18)] },
      'entries[0].$unknown: expected a varint, found the end of the message',
    ],
    [
      'known fields as unknown ones',
      sampleOf('unknown fields').image,
      { $unknown: [Uint8Array.of(0x0a, 0)] },
      'entries[0].$unknown: expected fields that the schema does not know, found nodename',
    ],
    [
      'another size',
      sampleOf('pipes').image,
      { bytes: 6 },
      'entries[0].extra: expected 6 bytes by the fields of the entry, found 5',
    ],
    [
      'no payload any more',
      sampleOf('pipes').image,
      { bytes: 0 },
      'entries[0].extra: expected 0 bytes by the fields of the entry, found 5',
    ],
  ])('is refused with its path: %s', async (_, image, fields, error) => {
    const found = await failureOf(changed(image, withEntry(fields)));
    expect(found.message).toBe(`out.img: ${error}`);
    expect(found).toMatchObject({ code: 'BAD_VALUE', file: 'out.img', path: error.slice(0, error.indexOf(': ')) });
  });

  it('is refused where a message is in itself', async () => {
    const dir: { dir_name: string; children: object[] } = { dir_name: 'a', children: [] };
    dir.children.push(dir);
    const image = imageOf('CGROUP', new Message());
    const { message } = await failureOf(changed(image, withEntry({ controllers: [{ dirs: [dir] }] })));
    expect(message).toBe(
      `out.img: entries[0].controllers[0].dirs[0]${'.children[0]'.repeat(99)}: expected at most 100 messages in each other`,
    );
  });
});

describe('parts in another order', () => {
  const START: ImagePart = { type: 'image', image: 'PIPES_DATA' };
  const entry = (bytes: number) => ({ type: 'entry', message: 'pipe_data_entry', entry: { pipe_id: 1, bytes } });
  const PAYLOAD = { type: 'payload', size: 3 };
  const BYTES = { type: 'bytes', bytes: noise(3) };
  const END = { type: 'payloadEnd' };
  const QUEUE = {
    type: 'entry',
    message: 'ipc_msg_entry',
    entry: { desc: { key: 1, uid: 0, gid: 0, cuid: 0, cgid: 0, mode: 0, id: 0 }, qbytes: 1, qnum: 1 },
  };
  const MESSAGE = { type: 'message', message: 'ipc_msg', entry: { mtype: 1n, msize: 3 } };
  const GHOST = { type: 'entry', message: 'ghost_file_entry', entry: { uid: 0, gid: 0, mode: 0 } };

  it('are an image in the right one', async () => {
    expect(hex(await imageOfParts([START, entry(3), PAYLOAD, BYTES, END, entry(0)]))).toBe(
      hex(imageOf('PIPES_DATA', pipeData(3, 1), noise(3), pipeData(0, 1))),
    );
  });

  it.each<[what: string, parts: unknown[], error: string]>([
    ['nothing', [], 'expected an image, found nothing'],
    ['no start', [entry(0)], 'expected an image first, found entry'],
    ['two starts', [START, START], 'expected one image first, found image'],
    [
      'no payload',
      [START, entry(3)],
      'entries[0]: expected a payload by the fields of the entry, found the end of the entry',
    ],
    [
      'no payload before an entry',
      [START, entry(3), entry(0)],
      'entries[0]: expected a payload by the fields of the entry, found the end of the entry',
    ],
    [
      'half a payload',
      [START, entry(3), PAYLOAD, BYTES],
      'entries[0]: expected bytes or the end of the payload by the fields of the entry, found the end of the entry',
    ],
    [
      'a payload before all',
      [START, PAYLOAD],
      'entries: expected no extra by the fields of the entry, found a payload',
    ],
    [
      'bytes without payload',
      [START, entry(3), BYTES, END],
      'entries[0].extra: expected a payload by the fields of the entry, found bytes',
    ],
    [
      'bytes of nothing',
      [START, entry(0), BYTES],
      'entries[0].extra: expected a payload by the fields of the entry, found bytes',
    ],
    [
      'two payloads',
      [START, entry(3), PAYLOAD, BYTES, END, PAYLOAD],
      'entries[0].extra: expected no extra by the fields of the entry, found a payload',
    ],
    [
      'a payload in a payload',
      [START, entry(3), PAYLOAD, PAYLOAD],
      'entries[0].extra: expected bytes or the end of the payload by the fields of the entry, found a payload',
    ],
    [
      'two ends',
      [START, entry(3), PAYLOAD, BYTES, END, END],
      'entries[0].extra: expected no extra by the fields of the entry, found the end of a payload',
    ],
    [
      'too many bytes',
      [START, entry(3), PAYLOAD, BYTES, BYTES, END],
      'entries[0].extra: expected 3 bytes by the fields of the entry, found 6',
    ],
    [
      'padding without room',
      [START, entry(3), PAYLOAD, BYTES, { ...END, padding: noise(1) }],
      'entries[0].extra: expected 0 bytes of padding, found 1',
    ],
    [
      'a message of nothing',
      [START, entry(0), MESSAGE],
      'entries[0].extra: expected a payload by the fields of the entry, found a message',
    ],
    [
      'no message',
      [START, QUEUE],
      'entries[0]: expected a message by the fields of the entry, found the end of the entry',
    ],
    [
      'a message without data',
      [START, QUEUE, MESSAGE],
      'entries[0]: expected a payload by the fields of the entry, found the end of the entry',
    ],
    [
      'two messages for one',
      [START, QUEUE, MESSAGE, PAYLOAD, BYTES, END, MESSAGE],
      'entries[0].extra: expected no extra by the fields of the entry, found a message',
    ],
    [
      'an entry behind a file to the end',
      [START, GHOST, { type: 'payload', size: Infinity }, BYTES, END, entry(0)],
      'entries[1]: expected no entry behind bytes that go to the end of the image',
    ],
    [
      'a damaged raw form',
      [START, { ...entry(0), raw: Uint8Array.of(0x08) }],
      'entries[0]: expected raw to be an entry: expected a varint, found the end of the message',
    ],
  ])('are refused: %s', async (_, parts, error) => {
    const found = await failureOf(imageOfParts(parts));
    expect(found.message).toBe(`out.img: ${error}`);
    expect(found.code).toBe('BAD_VALUE');
  });
});

describe('a bad image', () => {
  const { image } = sampleOf('pipes');

  it.each<[what: string, bytes: Uint8Array, type: ImageType | undefined, code: string, error: string]>([
    [
      'cut',
      image.subarray(0, -1),
      undefined,
      'TRUNCATED',
      '@0xed entry 2: expected 1 more bytes of payload, found the end of the file',
    ],
    [
      'of another type',
      image,
      'MM',
      'WRONG_MAGIC',
      '@0x4: expected MM magic 0x57492820, found 0x56453709 (PIPES_DATA)',
    ],
    ['empty', new Uint8Array(0), undefined, 'TRUNCATED', ': it is empty; expected an image'],
    [
      'damaged',
      imageOf('UTSNS', new Message().int(0, 0)),
      undefined,
      'MALFORMED',
      '@0xc entry 0: expected a field number, found none',
    ],
  ])('fails the chain: %s', async (_, bytes, type, code, error) => {
    const found = await failureOf(partsOf(bytes, 5, { file: 'x.img', type }));
    expect(found.message).toBe(`x.img${error}`);
    expect(found.code).toBe(code);
  });
});
