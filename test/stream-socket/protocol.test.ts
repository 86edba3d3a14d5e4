import { describe, expect, test } from 'vitest';
import { DumpError } from '../../src/errors.js';
import { encodeReply, RequestDecoder } from '../../src/stream-socket/protocol.js';

/** A request as CRIU makes it. */
function request(name: string): Buffer {
  const text = Buffer.from(name);
  return Buffer.concat([Buffer.from([2 + text.length, 0, 0, 0, 0x0a, text.length]), text]);
}

/** What a decoder makes of bytes in pieces of a size. */
function decode(bytes: Uint8Array, size: number, wants: (name: string) => boolean) {
  const asked: string[] = [];
  const decoder = new RequestDecoder((name) => {
    asked.push(name);
    return wants(name);
  });
  const opened: string[] = [];
  for (let at = 0; at < bytes.length; at += size) opened.push(...decoder.push(bytes.subarray(at, at + size)));
  return { asked, opened, isBetween: decoder.isBetweenRequests };
}

describe('requests', () => {
  const names = ['inventory.img', 'pages-1.img', 'mm-15.img'];

  test.each([1, 2, 3, 5, 4096])('of a dump in pieces of %i bytes', (size) => {
    const bytes = Buffer.concat(names.flatMap((name) => [request(name), Buffer.of(0)]));
    expect(decode(bytes, size, () => true)).toEqual({ asked: names, opened: names, isBetween: true });
  });

  test.each([1, 2, 3, 5, 4096])(
    'of a restore in pieces of %i bytes: no byte for a file that does not exist',
    (size) => {
      const bytes = Buffer.concat([
        request('inventory.img'),
        Buffer.of(0),
        request('apparmor.img'),
        request('mm-15.img'),
      ]);
      const { asked, opened, isBetween } = decode(bytes, size, (name) => name !== 'apparmor.img');
      expect(asked).toEqual(['inventory.img', 'apparmor.img', 'mm-15.img']);
      expect(opened).toEqual(['inventory.img']);
      // The descriptor of the last one has not come.
      expect(isBetween).toBe(false);
    },
  );

  test('a cut anywhere is not between requests', () => {
    const bytes = Buffer.concat([request('mm-15.img'), Buffer.of(0)]);
    for (let end = 1; end < bytes.length; end++) {
      expect(decode(bytes.subarray(0, end), 4096, () => true).isBetween).toBe(false);
    }
  });

  test.each([
    ['a length of 4 GiB', Buffer.from([255, 255, 255, 255]), 'LIMIT'],
    ['a length just over the limit', Buffer.from([1, 16, 0, 0]), 'LIMIT'],
    ['an empty message', Buffer.from([0, 0, 0, 0]), 'MALFORMED'],
    ['a text that is longer than its message', Buffer.from([2, 0, 0, 0, 0x0a, 200]), 'MALFORMED'],
    ['another field', Buffer.from([2, 0, 0, 0, 0x10, 1]), 'MALFORMED'],
    ['another byte where the descriptor comes', Buffer.concat([request('a.img'), Buffer.of(1)]), 'PROTOCOL'],
    ['a name that leads outside', request('../etc/passwd'), 'BAD_NAME'],
    ['an absolute name', request('/etc/passwd'), 'BAD_NAME'],
    ['a name in a folder', request('folder/mm-15.img'), 'BAD_NAME'],
    ['a name with a NUL', request('mm\0.img'), 'BAD_NAME'],
    ['no name', request(''), 'BAD_NAME'],
  ])('%s is refused', (_what, bytes, code) => {
    let found: unknown;
    try {
      decode(bytes, 4096, () => true);
    } catch (error) {
      found = error;
    }
    expect(found).toBeInstanceOf(DumpError);
    expect((found as DumpError).code).toBe(code);
  });
});

test('replies', () => {
  expect([...encodeReply(true)]).toEqual([2, 0, 0, 0, 8, 1]);
  expect([...encodeReply(false)]).toEqual([2, 0, 0, 0, 8, 0]);
});
