/** Pages that go from a file into a pipe without a copy make the same stream, and their checksum is that of what was read. */
import { closeSync, openSync, readSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, describe, expect, test, vi } from 'vitest';
import { PageStreamDecoder } from '../../../src/containers/page-stream/decoder.js';
import { StreamSink } from '../../../src/containers/page-stream/stream.js';
import { PayloadCheck } from '../../../src/dump/payload-check.js';
import type { DumpRecord, PayloadFile } from '../../../src/dump/records.js';
import type { Linux } from '../../../src/io/linux.js';
import { pipe } from '../../helpers/pipe.js';
import { tempDir } from '../../helpers/temp.js';

const real = (await vi.importActual<typeof import('../../../src/io/linux.js')>('../../../src/io/linux.js')).linux();
let system: Linux | undefined;
vi.mock('../../../src/io/linux.js', () => ({ LOAD_AFTER_BYTES: 0, linux: () => system, enlargePipe: () => {} }));

afterEach(() => {
  system = undefined;
});

const KIB = 1024;
const PIPE_BYTES = 1024 * KIB;
const SIZE = 700 * KIB;
const CONTENT = Buffer.from(Uint8Array.from({ length: SIZE }, (_, i) => (i * 31 + (i >> 12)) % 251));

/** Ranges of the file: large ones, one that is small, and large ones again, which do not begin at a page. */
const RECORDS = [
  [0, 128 * KIB],
  [128 * KIB, 64 * KIB, 200 * KIB, 300 * KIB],
  [500 * KIB, 8 * KIB],
  [508 * KIB + 100, 90 * KIB],
];

/** What a sink puts into a pipe that holds all of it. */
function streamed(path: string): Buffer {
  const { readFd, writeFd } = pipe();
  real?.setPipeSize(writeFd, PIPE_BYTES);
  const fd = openSync(path, 'r');
  const file: PayloadFile = {
    name: 'pages',
    size: SIZE,
    place: () => ({ fd, offset: 0 }),
    read: (buffer, position) => void readSync(fd, buffer, 0, buffer.length, position),
  };
  const sink = new StreamSink(writeFd);
  sink.write({ type: 'header', pageSize: 4096, directoryMode: 0o700 });
  const bytes = RECORDS.flat().reduce((sum, value, i) => sum + (i % 2 === 0 ? 0 : value), 0);
  sink.write({ type: 'file', kind: 'regular', name: 'pages', mode: 0o600, size: bytes, checked: false });
  for (const extents of RECORDS) sink.write({ type: 'extents', file, extents: Float64Array.from(extents) });
  sink.write({ type: 'end' });
  sink.finish();
  closeSync(writeFd);
  const stream = Buffer.alloc(PIPE_BYTES);
  let length = 0;
  for (let count = -1; count !== 0; length += count)
    count = readSync(readFd, stream, length, PIPE_BYTES - length, null);
  for (const open of [readFd, fd]) closeSync(open);
  return stream.subarray(0, length);
}

function fileWithContent(): string {
  const path = join(tempDir(), 'pages');
  writeFileSync(path, CONTENT);
  return path;
}

const systems: Record<string, (splice: Linux['spliceFrom']) => Linux['spliceFrom']> = {
  works: (splice) => splice,
  'moves little at a time': (splice) => (from, position, to, bytes) =>
    splice(from, position, to, Math.min(bytes, 60000)),
  refuses: () => () => -22,
  'fails halfway': (splice) => {
    let calls = 0;
    return (from, position, to, bytes) => (++calls % 2 === 0 ? -11 : splice(from, position, to, Math.min(bytes, 5000)));
  },
};

describe.skipIf(!real)('pages of a file', () => {
  test.each(Object.entries(systems))('when splice %s', (_, splice) => {
    const path = fileWithContent();
    const expected = streamed(path);
    const spliced = vi.fn(splice((...call) => (real as Linux).spliceFrom(...call)));
    system = { ...(real as Linux), spliceFrom: spliced };
    expect(streamed(path).equals(expected)).toBe(true);
    expect(spliced).toHaveBeenCalled();
  });

  test('that change between the checksum and the pipe do not match it', () => {
    const path = fileWithContent();
    system = {
      ...(real as Linux),
      spliceFrom(...call) {
        writeFileSync(path, Buffer.from(CONTENT).fill(1, 0, SIZE));
        return (real as Linux).spliceFrom(...call);
      },
    };
    const check = new PayloadCheck();
    const records: DumpRecord[] = [];
    for (const record of new PageStreamDecoder().push(streamed(path))) {
      records.push(record);
      if (record.type === 'bytes') check.add(record.bytes);
      if (record.type !== 'check') continue;
      expect(() => check.end(record, 'pages')).toThrow('pages: the payload does not match its checksum');
    }
    expect(records.map(({ type }) => type)).toContain('check');
  });
});
