import { describe, expect, it } from 'vitest';
import { parseS3Name, s3Name } from '../../../src/containers/s3/address.js';
import { areApart } from '../../../src/io/apart.js';

describe('parseS3Name', () => {
  it.each([
    ['s3://dumps/a/b.tar', { bucket: 'dumps', key: 'a/b.tar', isPrefix: false }],
    ['s3://dumps/a/', { bucket: 'dumps', key: 'a', isPrefix: true }],
    ['s3://dumps', { bucket: 'dumps', key: '', isPrefix: true }],
    ['s3://dumps/', { bucket: 'dumps', key: '', isPrefix: true }],
    ['s3://my.bucket-1/a b%20?#ü', { bucket: 'my.bucket-1', key: 'a b%20?#ü', isPrefix: false }],
  ])('%s', (name, address) => {
    expect(parseS3Name(name)).toEqual(address);
  });

  it.each([
    ['s3://', 's3://: expected s3://BUCKET/KEY, found "" in place of the bucket'],
    ['s3:///key', 's3:///key: expected s3://BUCKET/KEY, found "" in place of the bucket'],
    ['s3://user@host/key', 's3://user@host/key: expected s3://BUCKET/KEY, found "user@host" in place of the bucket'],
    ['s3://dumps//a', 's3://dumps//a: expected a key without empty parts, . and ..'],
    ['s3://dumps/a/../b', 's3://dumps/a/../b: expected a key without empty parts, . and ..'],
    ['s3://dumps/a\n', 's3://dumps/a\n: the key has a control character'],
    [
      `s3://dumps/${'a'.repeat(1025)}`,
      `s3://dumps/${'a'.repeat(1025)}: expected a key of at most 1024 bytes, found 1025`,
    ],
  ])('refuses %j', (name, message) => {
    expect(() => parseS3Name(name)).toThrow(message);
  });

  it('is the reverse of s3Name', () => {
    for (const name of ['s3://dumps/a/b', 's3://dumps/a/', 's3://dumps/']) expect(s3Name(parseS3Name(name))).toBe(name);
  });
});

describe('areApart', () => {
  it.each([
    ['s3://dumps/a', 's3://dumps/a/', false],
    ['s3://dumps/a', 's3://dumps/a/b', false],
    ['s3://dumps', 's3://dumps/a/b', false],
    ['s3://dumps/a', 's3://dumps/ab', true],
    ['s3://dumps/a', 's3://other/a', true],
    ['s3://dumps/a', '/', true],
    ['s3://dumps/a', 0, true],
  ])('%s and %s', (a, b, expected) => {
    expect([areApart(a, b), areApart(b, a)]).toEqual([expected, expected]);
  });
});
