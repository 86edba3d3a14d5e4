import { crc32 as zlibCrc32 } from 'node:zlib';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { crc32, fastest } from '../src/crc.js';

test('all ways to compute a checksum agree, in pieces too', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 3000 }), fc.nat(3000), (bytes, at) => {
      const [front, back] = [bytes.subarray(0, at), bytes.subarray(at)];
      for (const sum of [crc32, fastest(), zlibCrc32]) {
        expect(sum(bytes, 0)).toBe(zlibCrc32(bytes));
        expect(sum(back, sum(front, 0))).toBe(zlibCrc32(bytes));
      }
    }),
  );
});

test('the checksum goes on when the fast one takes over', () => {
  const piece = new Uint8Array(1024 * 1024).map((_, i) => i * 31);
  let [ours, expected] = [0, 0];
  for (let i = 0; i < 40; i++) [ours, expected] = [crc32(piece, ours), zlibCrc32(piece, expected)];
  expect(ours).toBe(expected);
});
