import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { RestoreMessages } from '../../src/lazy/messages.js';
import { dumpErrorOf } from '../helpers/images.js';

const word = (value: number): Buffer => {
  const bytes = Buffer.alloc(4);
  bytes.writeInt32LE(value);
  return bytes;
};
const FINISHED = word(0x52535446);

describe('RestoreMessages', () => {
  it('reads tasks with their descriptors, zombies and the end, however the bytes are cut', () => {
    const bytes = Buffer.concat([word(100), Buffer.of(0), word(-7), word(101), Buffer.of(0), FINISHED]);
    fc.assert(
      fc.property(fc.uniqueArray(fc.integer({ min: 1, max: bytes.length - 1 })), (cuts) => {
        const messages = new RestoreMessages();
        const found: unknown[] = [];
        const places = [0, ...cuts.sort((a, b) => a - b), bytes.length];
        places.slice(1).forEach((end, i) => {
          const start = places[i] as number;
          // A descriptor comes with its byte.
          const descriptors = [4, 13].flatMap((at, n) => (start <= at && at < end ? [30 + n] : []));
          found.push(...messages.push(bytes.subarray(start, end), descriptors));
        });
        expect(found).toEqual([
          { type: 'task', pid: 100, fd: 30 },
          { type: 'zombie' },
          { type: 'task', pid: 101, fd: 31 },
          { type: 'finished' },
        ]);
        expect(messages.untaken).toEqual([]);
      }),
    );
  });

  it('refuses what is no pid, and a task without its descriptor', () => {
    const push = (bytes: Buffer, descriptors: number[] = []) =>
      dumpErrorOf(() => [...new RestoreMessages().push(bytes, descriptors)]);
    expect(push(word(0x7fffffff)).message).toBe('lazy-pages.socket: expected a pid, found 2147483647');
    expect(push(Buffer.concat([word(12), Buffer.of(0)])).message).toBe(
      'lazy-pages.socket: expected a descriptor for process 12, found none',
    );
  });
});
