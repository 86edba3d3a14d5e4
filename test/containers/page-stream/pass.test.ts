/** Pages that go from pipe to pipe without being read come out as they would otherwise, and so do errors. */
import { closeSync, openSync, readFileSync, writeFileSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, describe, expect, test, vi } from 'vitest';
import { passPageStream } from '../../../src/containers/page-stream/pass.js';
import { readPageStream, StreamSink } from '../../../src/containers/page-stream/stream.js';
import { pump, type RecordSource, type Stage } from '../../../src/dump/pump.js';
import type { Linux } from '../../../src/io/linux.js';
import { classify } from '../../../src/stages/classify.js';
import { filter } from '../../../src/stages/filter.js';
import { rebuild } from '../../../src/stages/rebuild.js';
import { cli } from '../../helpers/cli.js';
import { pipe } from '../../helpers/pipe.js';
import { fixture, tempDir } from '../../helpers/temp.js';

const real = (await vi.importActual<typeof import('../../../src/io/linux.js')>('../../../src/io/linux.js')).linux();
let system: Linux | undefined;
vi.mock('../../../src/io/linux.js', () => ({
  LOAD_AFTER_BYTES: 0,
  linux: () => system,
  enlargePipe: (fd: number) => system?.setPipeSize(fd, 1024 * 1024),
}));

afterEach(() => {
  system = undefined;
});

/** The largest pipe that everybody may have. */
const PIPE_BYTES = 1024 * 1024;

/** The page stream of a dump. */
async function streamOf(name: string): Promise<Buffer> {
  const file = join(tempDir(), 'stream');
  writeFileSync(file, '');
  expect((await cli(['read', fixture(name)], { stdout: file })).code).toBe(0);
  return readFileSync(file);
}

/** Sends a stream through stages, from a pipe that holds all of it into a file. */
async function through(
  stream: Uint8Array,
  stages: Stage[],
  read = (from: number, to: number): RecordSource => passPageStream(from, to),
): Promise<Buffer> {
  expect(stream.length).toBeLessThanOrEqual(PIPE_BYTES);
  const { readFd, writeFd } = pipe();
  expect(real?.setPipeSize(writeFd, PIPE_BYTES)).toBe(PIPE_BYTES);
  writeSync(writeFd, stream);
  closeSync(writeFd);
  const to = join(tempDir(), 'to');
  const out = openSync(to, 'w');
  try {
    await pump(read(readFd, out), stages, new StreamSink(out));
  } finally {
    closeSync(readFd);
    closeSync(out);
  }
  return readFileSync(to);
}

const STAGES: Record<string, () => Stage[]> = {
  'no stage': () => [],
  'stages that keep all pages': () => [classify(), filter({ action: 'drop', selection: { pids: [9999] } }), rebuild()],
  'stages that drop whole runs': () => [
    classify(),
    filter({ action: 'drop', selection: { class: 'lazy' } }),
    rebuild(),
  ],
  'stages that cut runs': () => [
    filter({ action: 'keep', selection: { ranges: [{ start: 0x10001000n, end: 0x7fff00000000n }] }, warn: () => {} }),
  ],
};

const systems: Record<string, (splice: Linux['splice']) => Linux['splice']> = {
  works: (splice) => splice,
  'moves little at a time': (splice) => (from, to, bytes) => splice(from, to, Math.min(bytes, 5000)),
  refuses: () => () => -22,
  'fails now and then': (splice) => {
    let calls = 0;
    return (from, to, bytes) => (++calls % 3 === 0 ? -11 : splice(from, to, Math.min(bytes, 3000)));
  },
};

const caught = async (result: Promise<unknown>): Promise<Error> =>
  await result.then(
    () => new Error('nothing was thrown'),
    (error: Error) => error,
  );

describe.skipIf(!real)('pages that go by', () => {
  describe.each(Object.entries(STAGES))('through %s', (_, stages) => {
    test.each(Object.entries(systems))('when splice %s', async (__, splice) => {
      const stream = await streamOf('mosaic-criu-4.2.1');
      const expected = await through(stream, stages());
      const spliced = vi.fn(splice((from, to, bytes) => (real as Linux).splice(from, to, bytes)));
      system = { ...(real as Linux), splice: spliced };
      expect((await through(stream, stages())).equals(expected)).toBe(true);
      expect(spliced).toHaveBeenCalled();
    });
  });

  test('or are read, frame by frame', async () => {
    const stream = await streamOf('mosaic-criu-4.2.1');
    system = real;
    const { signal } = new AbortController();
    const found = await through(stream, [], (from) => readPageStream(from, signal));
    expect(found.equals(stream)).toBe(true);
  });

  test.each([0.3, 0.5, 0.9, 0.999])('are missed where the stream was cut, at %d of it', async (part) => {
    const whole = await streamOf('mosaic-criu-4.2.1');
    const stream = whole.subarray(0, Math.floor(whole.length * part));
    const expected = await caught(through(stream, []));
    system = real;
    const found = await caught(through(stream, []));
    expect(found).toMatchObject({ message: expected.message, code: 'STREAM_DAMAGED' });
  });
});
