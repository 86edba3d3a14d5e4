/** crit 4.2.1: its JSON byte for byte over all fixtures, and images made again of its JSON; crit 4.3 for what is new there. */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { Message } from '../helpers/dump-writer.js';
import {
  distinct,
  dumpErrorOf,
  type FixtureImage,
  fixtureImages,
  fromJson,
  imageOf,
  imageOfJson,
  readImage,
  sortKeys,
  toJson,
} from '../helpers/images.js';
import { fixture } from '../helpers/temp.js';

const images = fixtureImages();
const byCrit = images.filter(({ json }) => json !== undefined);

/** crit takes the entries behind its first segment for the bytes of that: fixtures/README.md. */
const WRONG_BY_CRIT = 'zdtm/extra-ipcmulti/ipcns-shm-9.img';
const nameOf = ({ dump, name }: FixtureImage) => `${dump}/${name}`;
const isRight = (image: FixtureImage) => nameOf(image) !== WRONG_BY_CRIT;

/** The images for which something does not hold. */
const failing = (of: FixtureImage[], holds: (image: FixtureImage, bytes: Uint8Array) => boolean): string[] =>
  distinct(of)
    .filter((image) => !holds(image, readFileSync(image.path)))
    .map(nameOf);

describe('the fixtures', () => {
  it('are many, and of nearly all types', () => {
    expect(images.length).toBe(1342);
    expect(byCrit.length).toBe(1300);
    expect(new Set(images.map(({ type }) => type)).size).toBeGreaterThanOrEqual(37);
  });

  it('are all read by crit, but for a type, and for chains that it was not asked for', () => {
    const others = images.filter(({ json, dump }) => json === undefined && !dump.startsWith('chain/'));
    expect(others.map(nameOf)).toEqual(['zdtm/binfmt-ns-binfmt_misc/binfmt-misc.img']);
  });
});

describe('decode', () => {
  it('prints what crit prints', () => {
    expect(failing(byCrit.filter(isRight), ({ json }, bytes) => toJson(bytes) === json?.trimEnd())).toEqual([]);
  });

  it('prints what crit prints with --pretty', () => {
    const holds = ({ pretty }: FixtureImage, bytes: Uint8Array) =>
      toJson(bytes, { pretty: true }) === pretty?.trimEnd();
    expect(failing(byCrit.filter(isRight), holds)).toEqual([]);
  });

  it('prints the entries that crit swallows', () => {
    const { json = '', path } = byCrit.find((image) => !isRight(image)) as FixtureImage;
    const sizes = (text: string) => JSON.parse(text).entries.map((entry: { size: number }) => entry.size);
    const ours = toJson(readFileSync(path));
    expect(sizes(json)).toEqual([5000]);
    expect(sizes(ours)).toEqual([5000, 8192, 3, 123456]);
    for (const entry of JSON.parse(ours).entries) expect(entry).toMatchObject({ in_pagemaps: true, extra: '' });
  });
});

describe('encode', () => {
  it.each(['json', 'pretty'] as const)("makes the images again of crit's JSON: %s", (form) => {
    const holds = (image: FixtureImage, bytes: Uint8Array) => imageOfJson(image[form] as string).equals(bytes);
    expect(failing(byCrit, holds)).toEqual([]);
  });

  it('does so with all keys sorted, and the magic behind the entries', () => {
    const holds = ({ json = '' }: FixtureImage, bytes: Uint8Array) => imageOfJson(sortKeys(json)).equals(bytes);
    expect(failing(byCrit, holds)).toEqual([]);
    expect(sortKeys('{"magic": "MM", "entries": [{"b": 18446744073709551615, "a": "1"}]}')).toBe(
      '{"entries":[{"a":"1","b":18446744073709551615}],"magic":"MM"}',
    );
  });
});

describe('crit 4.3', () => {
  const root = fixture('crit-4.3-json');
  const names = readdirSync(root, { recursive: true, encoding: 'utf8' })
    .filter((name) => name.endsWith('.img.json'))
    .map((name) => name.slice(0, -'.json'.length));

  it('read images of all kinds that have something new, and compressed dumps', () => {
    expect(names.length).toBe(16);
  });

  it.each(names)('prints the same of %s, and the image is made again of that', (name) => {
    const image = readFileSync(fixture(name));
    const json = readFileSync(join(root, `${name}.json`), 'utf8');
    const pretty = readFileSync(join(root, `${name}.pretty.json`), 'utf8');
    expect(toJson(image)).toBe(json.trimEnd());
    expect(toJson(image, { pretty: true })).toBe(pretty.trimEnd());
    for (const text of [json, pretty]) expect(imageOfJson(text).equals(image)).toBe(true);
  });
});

describe('show --nopl', () => {
  const root = fixture('crit-nopl');
  const names = readdirSync(root, { recursive: true, encoding: 'utf8' })
    .filter((name) => name.endsWith('.txt'))
    .map((name) => name.slice(0, -'.txt'.length));

  it.each(names)('says what crit says of %s', (name) => {
    const slash = name.lastIndexOf('/');
    const image = readImage(name.slice(0, slash), name.slice(slash + 1));
    const crit = readFileSync(join(root, `${name}.txt`), 'utf8').trimEnd();
    const ours = toJson(image, { pretty: true, noPayload: true });
    if (!name.includes('ipcns-shm')) {
      expect(ours).toBe(crit);
      return;
    }
    // crit names a size for segments that have no bytes in the image.
    const sizes = [...ours.matchAll(/"extra": "\.\.\. <(.*)>"/g)].map(([, size]) => size);
    expect(sizes.length).toBeGreaterThan(0);
    expect(new Set(sizes)).toEqual(new Set(['0B']));
    if (name !== WRONG_BY_CRIT) expect(ours).toBe(crit.replace(/<\d+[KM]B>/, '<0B>'));
  });

  it('was asked for images with all kinds of payloads', () => {
    const types = names.map((name) => name.replace(/^.*\//, '').replace(/(-[\da-f]+)?\.img$/, ''));
    expect([...new Set(types)].sort()).toEqual([
      ...['fifo-data', 'ghost-file', 'ipcns-msg', 'ipcns-sem', 'ipcns-shm', 'pipes-data', 'sk-queues', 'tcp-stream'],
    ]);
  });

  // As Python rounds them: a half goes to the even digit.
  it.each([
    [0, '0B'],
    [1023, '1023B'],
    [1024, '1KB'],
    [1025, '1.0KB'],
    [1280, '1.2KB'],
    [1536, '1.5KB'],
    [1792, '1.8KB'],
    [2816, '2.8KB'],
    [2304, '2.2KB'],
    [1024 ** 2 - 1, '1024.0KB'],
    [1024 ** 2, '1MB'],
    [1.25 * 1024 ** 2, '1.2MB'],
  ])('%i bytes are %s', (bytes, text) => {
    const image = imageOf('PIPES_DATA', new Message().int(1, 7).int(2, bytes), Buffer.alloc(bytes));
    expect(JSON.parse(toJson(image, { noPayload: true })).entries).toEqual([
      { pipe_id: 7, bytes, extra: `... <${text}>` },
    ]);
  });
});

describe('the pagemaps of crit 4.1.1, whose field 2 is called nr_pages', () => {
  const generation3 = imageOf(
    'PAGEMAP',
    new Message().int(1, 5),
    new Message().int(1, 0x10000).int(2, 7).int(4, 4),
    new Message().int(1, 0x7fff00000000n).int(2, 1).int(4, 6),
  );
  const generation2 = imageOf(
    'PAGEMAP',
    new Message().int(1, 5),
    new Message().int(1, 0x10000).int(2, 7),
    new Message().int(1, 0x20000).int(2, 1).int(3, true),
  );

  it.each([
    [
      'plain',
      '{"magic": "PAGEMAP", "entries": [{"pages_id": 5}, {"vaddr": 65536, "nr_pages": 7, "flags": 4}, {"vaddr": 140733193388032, "nr_pages": 1, "flags": 6}]}',
      generation3,
    ],
    [
      'pretty',
      '{"magic": "PAGEMAP", "entries": [{"pages_id": 5}, {"vaddr": "0x10000", "nr_pages": 7, "flags": "PE_PRESENT"}, {"vaddr": "0x7fff00000000", "nr_pages": 1, "flags": "PE_LAZY | PE_PRESENT"}]}',
      generation3,
    ],
    [
      'sorted',
      '{"entries": [{"pages_id": 5}, {"flags": 4, "nr_pages": 7, "vaddr": 65536}, {"flags": 6, "nr_pages": 1, "vaddr": 140733193388032}], "magic": "PAGEMAP"}',
      generation3,
    ],
    [
      'without flags',
      '{"magic": "PAGEMAP", "entries": [{"pages_id": 5}, {"vaddr": 65536, "nr_pages": 7}, {"vaddr": 131072, "nr_pages": 1, "in_parent": true}]}',
      generation2,
    ],
  ])('keep it: %s', (_, json, image) => {
    expect(imageOfJson(json).equals(image)).toBe(true);
    expect(toJson(image)).not.toContain('"nr_pages"');
  });

  it('and those of 4.2.1 keep both', () => {
    const image = imageOf(
      'PAGEMAP',
      new Message().int(1, 5),
      new Message().int(1, 0x10000).int(2, 0).int(4, 4).int(5, 7),
    );
    const json =
      '{"magic": "PAGEMAP", "entries": [{"pages_id": 5}, {"vaddr": 65536, "compat_nr_pages": 0, "flags": 4, "nr_pages": 7}]}';
    expect(toJson(image)).toBe(json);
    expect(imageOfJson(json).equals(image)).toBe(true);
  });

  it('and a count that field 2 cannot hold is refused', () => {
    const json = '{"magic": "PAGEMAP", "entries": [{"pages_id": 5}, {"vaddr": 65536, "nr_pages": 4294967296}]}';
    expect(dumpErrorOf(() => fromJson(json)).message).toBe('x.json: entries[1]: expected a uint32, found 4294967296');
  });
});
