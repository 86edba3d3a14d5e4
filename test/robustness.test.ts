/** When the system fails: every call in turn, short reads and writes, a slow consumer. */

import * as fs from 'node:fs';
import { mkdirSync, readdirSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { Readable, Writable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { setImmediate as turn } from 'node:timers/promises';
import chain from 'stream-chain';
import { describe, expect, it } from 'vitest';
import { extract } from '../src/arrival/extract.js';
import { DirectoryFiles } from '../src/containers/directory/files.js';
import { DirectorySink } from '../src/containers/directory/write.js';
import {
  decodePageStream,
  encodePageStream,
  readPageStream,
  StreamSink,
} from '../src/containers/page-stream/stream.js';
import { readTar } from '../src/containers/tar/read.js';
import { Dump } from '../src/dump/dump.js';
import { pump, type RecordSink } from '../src/dump/pump.js';
import type { DumpRecord, PayloadFile } from '../src/dump/records.js';
import { DumpError } from '../src/errors.js';
import { FdReader } from '../src/io/fd.js';
import { classify } from '../src/stages/classify.js';
import { DROP_LAZY, filter } from '../src/stages/filter.js';
import { rebuild } from '../src/stages/rebuild.js';
import { packed } from './helpers/archives.js';
import { ANON, FILE, PE, writeDump } from './helpers/dump-writer.js';
import { CALLS, type Call, faults } from './helpers/faults.js';
import { describeTree, openFiles, tempDir } from './helpers/temp.js';

/** Two tasks, a segment, a folder, links, a parent: one of everything, and little of it. */
function tinyDump(root: string): string {
  const dump = join(root, 'dump');
  writeDump(join(root, 'before'), { tasks: [{ pid: 7 }] });
  writeDump(dump, {
    tasks: [
      {
        pid: 7,
        vmas: [
          { start: 0x10000n, end: 0x20000n, ...ANON },
          { start: 0x20000n, end: 0x30000n, ...FILE },
        ],
        entries: [
          { vaddr: 0x10000n, pages: 2, flags: PE.PRESENT | PE.LAZY },
          { vaddr: 0x20000n, pages: 1 },
          { vaddr: 0x21000n, pages: 1, flags: PE.PARENT },
        ],
      },
    ],
    shmem: [{ id: 3, entries: [{ vaddr: 0n, pages: 1 }] }],
  });
  mkdirSync(join(dump, 'folder'));
  writeFileSync(join(dump, 'folder/note'), 'hello');
  symlinkSync('note', join(dump, 'folder/link'));
  symlinkSync('../before', join(dump, 'parent'));
  return dump;
}

interface Place {
  dump: string;
  out: string;
  /** A sound stream of the dump. */
  stream: string;
  /** The dump as an archive. */
  archive: string;
}

/** What the commands do, without the command line. */
const WORK: Record<string, (place: Place, force?: boolean) => Promise<void>> = {
  'make-lazy': async ({ dump: path, out }, force = false) => {
    const dump = await Dump.open(new DirectoryFiles(path));
    try {
      const sink = new DirectorySink(out, { sources: [path], force });
      await pump(dump.records(), [classify(), filter(DROP_LAZY), rebuild()], sink);
    } finally {
      dump.close();
    }
  },
  write: async ({ stream, out }, force = false) => {
    const fd = faults.real.openSync(stream, 'r');
    try {
      await pump(readPageStream(fd), [], new DirectorySink(out, { force }));
    } finally {
      faults.real.closeSync(fd);
    }
  },
  copy: async ({ archive, out }, force = false) => {
    const fd = faults.real.openSync(archive, 'r');
    try {
      const budget = { bytes: 0, directory: join(out, '..') };
      await extract(readTar({ chunks: new FdReader(fd).chunks(), name: archive, budget }), out, {
        name: archive,
        force,
      });
    } finally {
      faults.real.closeSync(fd);
    }
  },
  read: async ({ dump: path, out }) => {
    const fd = faults.real.openSync(out, 'w');
    try {
      const dump = await Dump.open(new DirectoryFiles(path));
      try {
        await pump(dump.records(), [], new StreamSink(fd));
      } finally {
        dump.close();
      }
    } finally {
      faults.real.closeSync(fd);
    }
  },
};

async function prepare(): Promise<Place & { root: string; box: string }> {
  const root = tempDir();
  const box = join(root, 'box');
  const stream = join(root, 'stream');
  const dump = tinyDump(root);
  const archive = join(root, 'archive.tar');
  mkdirSync(box);
  writeFileSync(archive, packed(dump));
  await WORK['read']?.({ dump, out: stream, stream, archive });
  return { root, box, dump, stream, archive, out: join(box, 'out') };
}

/** Runs some work whose nth call of a kind fails; says what is wrong with the error. */
async function failing(work: (place: Place) => Promise<void>, place: Place, call: Call, nth: number) {
  faults.fail(call, nth);
  const error = await work(place).then(
    () => undefined,
    (thrown: unknown) => thrown,
  );
  const where = `${call} ${nth}: ${faults.lastFailure}`;
  faults.disarm();
  const wrong: string[] = [];
  if (!(error instanceof DumpError)) wrong.push(`${where}: expected a DumpError, found ${String(error)}`);
  else if (error.code !== 'SYSTEM' || !/^[^\n]+: input\/output error \(EIO\)$/.test(error.message)) {
    wrong.push(`${where}: expected a file and its error, found ${error.message}`);
  }
  return { where, wrong, error };
}

describe.each(['make-lazy', 'write', 'copy'])('%s, when a system call fails', (name) => {
  const work = WORK[name] as (place: Place, force?: boolean) => Promise<void>;

  it.each(CALLS)('the nth %s, for every n', async (call) => {
    const place = await prepare();
    const before = describeTree(place.dump);
    faults.count(call);
    await work(place);
    const total = faults.disarm();
    const whole = describeTree(place.out);
    faults.real.rmSync(place.out, { recursive: true });

    const wrong: string[] = [];
    /** Told of once. */
    const leaked = new Set<string>();
    for (let nth = 1; nth <= total; nth++) {
      const at = await failing(work, place, call, nth);
      // Whether the parent is to be found from OUT is asked last: not to know it is no failure, if OUT is whole.
      if (call === 'statSync' && at.error === undefined && at.where.endsWith(` ${place.out}/parent`)) {
        expect(describeTree(place.out), at.where).toEqual(whole);
        faults.real.rmSync(place.out, { recursive: true });
        continue;
      }
      wrong.push(...at.wrong);
      for (const path of openFiles(place.root)) {
        if (!leaked.has(path)) wrong.push(`${at.where}: left open: ${path}`);
        leaked.add(path);
      }
      // Once it is in its place it stays there, complete: the last call of these kinds syncs the folder above.
      if (nth === total && (call === 'openSync' || call === 'fsyncSync')) {
        expect(describeTree(place.out), at.where).toEqual(whole);
        faults.real.rmSync(place.out, { recursive: true });
      }
      for (const left of readdirSync(place.box)) {
        wrong.push(`${at.where}: left behind: ${left}`);
        faults.real.rmSync(join(place.box, left), { recursive: true });
      }
    }
    expect(wrong).toEqual([]);
    expect(describeTree(place.dump)).toEqual(before);
  });

  it('the nth rename, for every n: what --force was to replace stays', async () => {
    const place = await prepare();
    mkdirSync(place.out);
    writeFileSync(join(place.out, 'inventory.img'), 'old');
    const before = describeTree(place.box);
    faults.count('renameSync');
    await work(place, true);
    const total = faults.disarm();
    expect(total).toBe(2);
    for (let nth = 1; nth <= total; nth++) {
      faults.real.rmSync(place.out, { recursive: true });
      mkdirSync(place.out);
      writeFileSync(join(place.out, 'inventory.img'), 'old');
      faults.fail('renameSync', nth);
      await expect(work(place, true)).rejects.toThrow(DumpError);
      faults.disarm();
      expect(describeTree(place.box)).toEqual(before);
      expect(openFiles(place.root)).toEqual([]);
    }
  });

  it('holds no file open once it has failed', async () => {
    const place = await prepare();
    faults.fail('writeSync', 8);
    await expect(work(place)).rejects.toThrow(DumpError);
    faults.disarm();
    expect(openFiles(place.root)).toEqual([]);
  });

  it('holds no file open once it is done', async () => {
    const place = await prepare();
    await work(place);
    expect(openFiles(place.root)).toEqual([]);
  });

  it.each([1, 7, 4095])('reads and writes of at most %i bytes give the same', async (bytes) => {
    const place = await prepare();
    await work(place);
    const whole = describeTree(place.out);
    faults.real.rmSync(place.out, { recursive: true });
    faults.shorten(bytes);
    await work(place);
    faults.disarm();
    expect(describeTree(place.out)).toEqual(whole);
  });
});

describe('read, when a system call fails', () => {
  const read = WORK['read'] as (place: Place) => Promise<void>;

  it.each(CALLS)('the nth %s, for every n', async (call) => {
    const place = await prepare();
    faults.count(call);
    await read(place);
    const total = faults.disarm();
    const wrong: string[] = [];
    for (let nth = 1; nth <= total; nth++) {
      const at = await failing(read, place, call, nth);
      wrong.push(...at.wrong);
      for (const path of openFiles(place.root)) wrong.push(`${at.where}: left open: ${path}`);
    }
    expect(wrong).toEqual([]);
  });

  it.each([1, 7, 4095])('reads and writes of at most %i bytes give the same', async (bytes) => {
    const place = await prepare();
    faults.shorten(bytes);
    await read(place);
    faults.disarm();
    // Runs come in other batches, so that the streams differ; what they say does not.
    const copy = join(place.root, 'copy');
    await WORK['write']?.({ ...place, stream: place.out, out: copy });
    expect(describeTree(copy)).toEqual(describeTree(place.dump));
  });

  it('a pipe that is full for a moment is tried again', async () => {
    const place = await prepare();
    faults.count('writeSync');
    await read(place);
    const total = faults.disarm();
    expect(total).toBeGreaterThan(0);
    for (let nth = 1; nth <= total; nth++) {
      faults.fail('writeSync', nth, 'EAGAIN');
      await read(place);
      expect(faults.disarm(), 'it was met').toBeGreaterThan(0);
      expect(fs.readFileSync(place.out).equals(fs.readFileSync(place.stream))).toBe(true);
    }
  });
});

describe('an abort', () => {
  it('ends a long copy, not only what comes behind it', async () => {
    const root = tempDir();
    const controller = new AbortController();
    const size = 256 * 1024 * 1024;
    let copiedBytes = 0;
    const file: PayloadFile = {
      name: 'large',
      size,
      read: (buffer) => {
        copiedBytes += buffer.length;
        controller.abort(new Error('enough'));
      },
    };
    function* records(): Generator<DumpRecord> {
      yield { type: 'header', pageSize: 4096, directoryMode: 0o755 };
      yield { type: 'file', kind: 'regular', name: 'large', mode: 0o644, size, checked: false };
      yield { type: 'extents', file, extents: Float64Array.of(0, size) };
      yield { type: 'end' };
    }
    const sink = new DirectorySink(join(root, 'out'));
    await expect(pump(records(), [], sink, controller.signal)).rejects.toThrow('enough');
    expect(readdirSync(root)).toEqual([]);
    expect(copiedBytes).toBeLessThan(size);
  });

  it('before the first record leaves nothing', async () => {
    const root = tempDir();
    const { counted, records } = countedRecords(10, 16);
    const sink = new DirectorySink(join(root, 'out'));
    await expect(pump(records(), [], sink, AbortSignal.abort(new Error('enough')))).rejects.toThrow('enough');
    expect(readdirSync(root)).toEqual([]);
    expect(counted.pulled).toBe(0);
  });
});

/** A dump of one file, in pieces; says how many of them were asked for. */
function countedRecords(pieces: number, pieceBytes: number) {
  const counted = { pulled: 0 };
  function* records(): Generator<DumpRecord> {
    const size = pieces * pieceBytes;
    yield { type: 'header', pageSize: 4096, directoryMode: 0o755 };
    yield { type: 'file', kind: 'regular', name: 'large', mode: 0o644, size, checked: false };
    for (let i = 0; i < pieces; i++) {
      counted.pulled++;
      yield { type: 'bytes', bytes: new Uint8Array(pieceBytes).fill(i) };
    }
    yield { type: 'end' };
  }
  return { counted, records };
}

/** A stream that takes a chunk a turn. A source that nothing stops would be at its end before the second one. */
function slow(objectMode: boolean, pulledBytes: () => number) {
  const seen = { bytes: 0, mostAhead: 0 };
  const stream = new Writable({
    objectMode,
    write(chunk: Uint8Array | DumpRecord, _encoding, done) {
      const bytes = chunk instanceof Uint8Array ? chunk : chunk.type === 'bytes' ? chunk.bytes : undefined;
      seen.bytes += bytes?.length ?? 0;
      seen.mostAhead = Math.max(seen.mostAhead, pulledBytes() - seen.bytes);
      setImmediate(done);
    },
  });
  return { stream, seen };
}

describe('a slow consumer', () => {
  const PIECES = 512;
  const PIECE_BYTES = 64 * 1024;

  it('holds back the source of a chain that encodes', async () => {
    const { counted, records } = countedRecords(PIECES, PIECE_BYTES);
    const sink = slow(false, () => counted.pulled * PIECE_BYTES);
    const stages = chain([classify(), filter(DROP_LAZY), rebuild(), encodePageStream()]);
    await pipeline(Readable.from(records()), stages, sink.stream);
    expect(sink.seen.mostAhead).toBeGreaterThan(0);
    expect(sink.seen.mostAhead).toBeLessThan(80 * PIECE_BYTES);
    expect(counted.pulled).toBe(PIECES);
    expect(sink.seen.bytes).toBeGreaterThan(PIECES * PIECE_BYTES);
  });

  it('holds back the source of a chain that decodes', async () => {
    const { counted, records } = countedRecords(PIECES, PIECE_BYTES);
    const encode = encodePageStream();
    function* chunks(): Generator<Uint8Array> {
      for (const record of records()) yield* encode(record);
    }
    const sink = slow(true, () => counted.pulled * PIECE_BYTES);
    await pipeline(Readable.from(chunks()), chain([decodePageStream(), rebuild()]), sink.stream);
    expect(sink.seen.mostAhead).toBeGreaterThan(0);
    expect(sink.seen.mostAhead).toBeLessThan(80 * PIECE_BYTES);
    expect(sink.seen.bytes).toBe(PIECES * PIECE_BYTES);
  });

  it('stops a pump at once', async () => {
    const { counted, records } = countedRecords(100, 16);
    const ahead: number[] = [];
    let written = 0;
    const sink: RecordSink = {
      async write(record) {
        if (record.type !== 'bytes') return;
        written++;
        await turn();
        ahead.push(counted.pulled - written);
      },
      finish() {},
      discard() {},
    };
    await pump(records(), [classify(), rebuild()], sink);
    expect(ahead).toEqual(Array(100).fill(0));
  });

  it('that fails, fails the chain and ends the source', async () => {
    let ended = false;
    function* source(): Generator<DumpRecord> {
      try {
        yield* countedRecords(PIECES, 16).records();
      } finally {
        ended = true;
      }
    }
    const sink = new Writable({ write: (_chunk, _encoding, done) => done(new Error('no more')) });
    await expect(pipeline(Readable.from(source()), chain([encodePageStream()]), sink)).rejects.toThrow('no more');
    expect(ended).toBe(true);
  });

  it('a stage that fails leaves nothing and ends the source', async () => {
    const root = tempDir();
    let ended = false;
    function* source(): Generator<DumpRecord> {
      try {
        yield* countedRecords(8, 16).records();
      } finally {
        ended = true;
      }
    }
    const fails = (record: DumpRecord): DumpRecord => {
      if (record.type === 'bytes') throw new DumpError('MALFORMED', 'no such thing');
      return record;
    };
    const sink = new DirectorySink(join(root, 'out'));
    await expect(pump(source(), [fails], sink)).rejects.toThrow('no such thing');
    expect(ended).toBe(true);
    expect(readdirSync(root)).toEqual([]);
  });
});
