/** What is wrong with an image or with its JSON is said with its place; nothing else is ever thrown. */
import { describe, expect, it } from 'vitest';
import { typeOfName } from '../../src/image/magic.js';
import { BAD_IMAGES, BAD_JSON, type BadInput, nestedGroups } from '../helpers/bad-images.js';
import { dumpErrorOf, fromJson, imageOf, imageOfJson, toJson } from '../helpers/images.js';

/** Where a value stands, as the message has it. */
const pathOf = (error: string) => /^: ([^: ]+(?: such field)?): /.exec(error)?.[1];

describe('an image that cannot be decoded', () => {
  it.each(BAD_IMAGES)('$what', ({ bytes, name = 'x.img', code, error, hint }: BadInput) => {
    for (const chunkBytes of [undefined, 1]) {
      const type = typeOfName(name);
      const found = dumpErrorOf(() => toJson(Buffer.from(bytes), { file: name, type, chunkBytes }));
      expect(found.message).toBe(`${name}${error}`);
      expect(found).toMatchObject({ code, file: name, hint });
      const place = /^@0x([\da-f]+)/.exec(error)?.[1];
      expect(found.offset).toBe(place && Number.parseInt(place, 16));
    }
  });
});

describe('JSON that cannot be encoded', () => {
  it.each(BAD_JSON)('$what', ({ bytes, code, error }: BadInput) => {
    const found = dumpErrorOf(() => fromJson(bytes));
    expect(found.message).toBe(`x.json${error}`);
    expect(found.message.split('\n')).toHaveLength(1);
    expect(found).toMatchObject({ code, file: 'x.json', path: pathOf(error) });
  });

  it('in pieces fails all the same', () => {
    for (const { bytes, code, what } of BAD_JSON) {
      if (bytes.length > 10_000) continue;
      expect(dumpErrorOf(() => fromJson(bytes, { chunkBytes: 1 })).code, what).toBe(code);
    }
  });
});

describe('the limits', () => {
  it('let messages of 100 levels pass', () => {
    const image = imageOf('CGROUP', nestedGroups(100));
    for (const pretty of [false, true]) expect(imageOfJson(toJson(image, { pretty })).equals(image)).toBe(true);
  });
});
