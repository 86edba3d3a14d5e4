/** A pipe with much in it is waited for in short system calls. The chunks are those of the event loop, and an abort ends a wait. */
import { closeSync, writeSync } from 'node:fs';
import { constants } from 'node:os';
import { afterEach, describe, expect, test, vi } from 'vitest';
import { FdReader } from '../../src/io/fd.js';
import type { Linux } from '../../src/io/linux.js';
import { pipe } from '../helpers/pipe.js';

const real = (await vi.importActual<typeof import('../../src/io/linux.js')>('../../src/io/linux.js')).linux();
let system: Linux | undefined;
vi.mock('../../src/io/linux.js', () => ({ LOAD_AFTER_BYTES: 0, linux: () => system, enlargePipe: () => {} }));

const { EINTR } = constants.errno;
const PARTS = ['first', 'second', 'third'];

afterEach(() => {
  system = undefined;
});

/** Reads a pipe whose parts are written one by one, each when the one before it was read. */
async function readParts(): Promise<string[]> {
  const { readFd, writeFd } = pipe();
  const found: string[] = [];
  try {
    writeSync(writeFd, PARTS[0] as string);
    const { signal } = new AbortController();
    for await (const chunk of new FdReader(readFd, signal, 'stdin', { isAlone: true }).chunks()) {
      found.push(Buffer.from(chunk).toString());
      const next = PARTS[found.length];
      if (next === undefined) closeSync(writeFd);
      // When the reader waits already.
      else setImmediate(() => writeSync(writeFd, next));
    }
  } finally {
    closeSync(readFd);
  }
  return found;
}

describe.skipIf(!real)('a pipe is read to its end', () => {
  test.each<[string, Linux['waitReadable'] | undefined]>([
    ['without system calls', undefined],
    ['when a wait takes its time', (...call) => real?.waitReadable(...call) ?? 0],
    ['when nothing comes in time', () => 0],
    ['when a signal ends each wait', () => -EINTR],
    ['when a wait ends early', () => 1],
  ])('%s', async (_, waitReadable) => {
    const wait = vi.fn(waitReadable);
    system = waitReadable && { ...(real as Linux), waitReadable: wait };
    expect(await readParts()).toEqual(PARTS);
    expect(wait).toHaveBeenCalledTimes(waitReadable ? PARTS.length : 0);
  });

  test('in chunks that are as large as its reader wants, once there is much', async () => {
    const { readFd, writeFd } = pipe();
    system = real;
    writeSync(writeFd, 'first');
    const found: string[] = [];
    const { signal } = new AbortController();
    for await (const chunk of new FdReader(readFd, signal, 'stdin', { isAlone: true }).chunks(() => 4)) {
      if (found.length === 0) {
        writeSync(writeFd, 'second');
        closeSync(writeFd);
      }
      found.push(Buffer.from(chunk).toString());
    }
    expect(found).toEqual(['first', 'seco', 'nd']);
    closeSync(readFd);
  });

  test('or until an abort', async () => {
    const { readFd, writeFd } = pipe();
    const controller = new AbortController();
    // As a signal would.
    const waitReadable = vi.fn(() => {
      controller.abort(new Error('enough'));
      return -EINTR;
    });
    system = { ...(real as Linux), waitReadable };
    writeSync(writeFd, 'first');
    const chunks = new FdReader(readFd, controller.signal, 'stdin', { isAlone: true }).chunks();
    expect((await chunks.next()).done).toBe(false);
    await expect(chunks.next()).rejects.toThrow('enough');
    expect(waitReadable).toHaveBeenCalledTimes(1);
    for (const fd of [readFd, writeFd]) closeSync(fd);
  });
});
