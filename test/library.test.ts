/** The library as a program uses it: every kind of source and sink, and what the commands do, as functions. */
import { once } from 'node:events';
import { closeSync, createReadStream, createWriteStream, openSync, readFileSync } from 'node:fs';
import { type AddressInfo, connect, createServer } from 'node:net';
import { join } from 'node:path';
import { PassThrough, Readable, Writable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import chain from 'stream-chain';
import { describe, expect, it, onTestFinished } from 'vitest';
import {
  directorySink,
  encodePageStream,
  pageStream,
  pageStreamSink,
  shardSink,
  sinkStream,
  sourceStream,
  tarSink,
} from '../src/containers.js';
import { imageToJson, jsonToImage } from '../src/images.js';
import {
  type DumpSource,
  exploreAreas,
  exploreDescriptors,
  explorePages,
  exploreProcesses,
  merge,
  type OpenDumpOptions,
  openDump,
  openDumpFiles,
  pump,
  type RecordSink,
  split,
  verify,
} from '../src/index.js';
import { openMemory, serveClient } from '../src/serve.js';
import { cli } from './helpers/cli.js';
import { PageClient } from './helpers/page-client.js';
import { describeTree, fixture, openFiles, tempDir } from './helpers/temp.js';

const FAMILY = fixture('family-criu-4.2.1');
const MOSAIC = fixture('mosaic-criu-4.2.1');

/** The entries of a directory, without modes, which not every container keeps. */
const treeOf = (path: string): string[] =>
  describeTree(path)
    .slice(1)
    .map((line) => line.replace(/ \d{3,4} /, ' '));

async function opened(source: DumpSource, options?: OpenDumpOptions) {
  const dump = await openDump(source, options);
  onTestFinished(() => dump.close());
  return dump;
}

/** Puts a dump into a sink. */
const put = async (source: DumpSource, sink: RecordSink | Promise<RecordSink>, options?: OpenDumpOptions) =>
  pump((await opened(source, options)).records, [], await sink);

/** A dump becomes the directory that it came from. */
async function expectMosaic(source: DumpSource, options?: OpenDumpOptions): Promise<void> {
  const out = join(tempDir(), 'out');
  await put(source, directorySink(out), options);
  expect(treeOf(out)).toEqual(treeOf(MOSAIC));
}

function descriptor(path: string, flags: string): number {
  const fd = openSync(path, flags);
  onTestFinished(() => closeSync(fd));
  return fd;
}

describe('a dump comes back the same', () => {
  it.each([undefined, 'gzip', 'zstd'] as const)(
    'from an archive, compression %s, in all its forms',
    async (compression) => {
      const dir = tempDir();
      const [byPath, byFd, byStream] = ['path.tar', 'fd.tar', 'stream.tar'].map((name) => join(dir, name)) as [
        string,
        string,
        string,
      ];
      const options = { compression, mtimeSeconds: 0 };
      await put(MOSAIC, tarSink(byPath, options));
      await put(MOSAIC, tarSink(descriptor(byFd, 'w'), options));
      await put(MOSAIC, tarSink(createWriteStream(byStream), options));
      expect(readFileSync(byFd).equals(readFileSync(byPath))).toBe(true);
      expect(readFileSync(byStream).equals(readFileSync(byPath))).toBe(true);
      await expectMosaic(byPath);
      await expectMosaic(descriptor(byPath, 'r'));
      await expectMosaic(createReadStream(byPath, { highWaterMark: 1000 }));
      await expectMosaic(Readable.toWeb(createReadStream(byPath)) as unknown as AsyncIterable<Uint8Array>);
      await expectMosaic('-', { stdinFd: descriptor(byPath, 'r'), from: 'tar' });
      expect(openFiles(dir).filter((path) => path !== byPath && path !== byFd)).toEqual([]);
    },
  );

  it('from shards by path and by descriptor', async () => {
    const dir = tempDir();
    const paths = [0, 1, 2].map((i) => join(dir, `shard${i}`));
    await put(MOSAIC, shardSink([paths[0] as string, descriptor(paths[1] as string, 'w'), paths[2] as string]));
    await expectMosaic(paths);
    await expectMosaic(paths.map((path) => descriptor(path, 'r')));
  });

  it('from page streams, whoever makes them', async () => {
    const { records } = await opened(MOSAIC);
    const [byFd, byStream] = ['fd', 'stream'].map((name) => join(tempDir(), name)) as [string, string];
    await pump(records, [], pageStreamSink(descriptor(byFd, 'w')));
    await pump(records, [], pageStreamSink(createWriteStream(byStream)));
    expect(readFileSync(byStream).equals(readFileSync(byFd))).toBe(true);
    expect(Buffer.concat(await pageStream(records).toArray()).equals(readFileSync(byFd))).toBe(true);
    expect(
      Buffer.concat(await chain([sourceStream(records), encodePageStream()]).toArray()).equals(readFileSync(byFd)),
    ).toBe(true);
    await expectMosaic(byFd);
    await expectMosaic(Readable.toWeb(pageStream(records)) as unknown as AsyncIterable<Uint8Array>);
  });

  it('through streams of records, of what arrives', async () => {
    const dir = tempDir();
    await put(MOSAIC, tarSink(join(dir, 'dump.tar.gz'), { compression: 'gzip' }));
    const { records } = await opened(join(dir, 'dump.tar.gz'));
    await pipeline(sourceStream(records), sinkStream(await directorySink(join(dir, 'out'))));
    expect(treeOf(join(dir, 'out'))).toEqual(treeOf(MOSAIC));
  });
});

it('says what is known of a dump, and closes it', async () => {
  const dir = tempDir();
  await put(FAMILY, tarSink(join(dir, 'dump.tar')));
  {
    await using dump = await openDump(join(dir, 'dump.tar'));
    expect([dump.kind, dump.known.pageSize, dump.known.tasks.map(({ pid }) => pid)]).toEqual([
      'tar',
      4096,
      [15, 19, 20, 21],
    ]);
    expect(dump.files?.stat('pstree.img')?.size).toBeGreaterThan(0);
  }
  expect(openFiles(dir)).toEqual([]);
});

it('leaves what is next to a dump in its archive out of all but archives', async () => {
  const dir = tempDir();
  const podman = join(fixture('podman'), 'counter.tar.gz');
  await put(podman, directorySink(join(dir, 'out')));
  await put(podman, tarSink(join(dir, 'out.tar')));
  await cli(['copy', podman, join(dir, 'copy')]);
  await cli(['copy', podman, join(dir, 'copy.tar'), '--to', 'tar']);
  expect(treeOf(join(dir, 'out'))).toEqual(treeOf(join(dir, 'copy')));
  expect(readFileSync(join(dir, 'out.tar')).equals(readFileSync(join(dir, 'copy.tar')))).toBe(true);
  const records = await pageStream((await opened(podman)).records).toArray();
  await put(Readable.from(records), directorySink(join(dir, 'passed')));
  expect(treeOf(join(dir, 'passed'))).toEqual(treeOf(join(dir, 'copy')));
});

describe('a stream that fails', () => {
  it('leaves no output, and its error is the one that is thrown', async () => {
    const dir = tempDir();
    const broken = Readable.from(
      (async function* () {
        yield readFileSync(join(FAMILY, 'pstree.img')).subarray(0, 0);
        throw new Error('the network is down');
      })(),
    );
    await expect(openDump(broken)).rejects.toThrow('the network is down');
    await expect(openDump(Readable.from(['text']))).rejects.toThrow('expected chunks of bytes, found a string');
    const full = new Writable({ write: (_chunk, _encoding, callback) => callback(new Error('no room')) });
    await expect(put(FAMILY, tarSink(full))).rejects.toThrow('no room');
    await expect(put(FAMILY, tarSink(join(dir, 'no/such/folder')))).rejects.toMatchObject({ code: 'SYSTEM' });
    expect(treeOf(dir)).toEqual([]);
  });

  it('is left when the signal says so', async () => {
    const stop = new AbortController();
    const silent = new PassThrough();
    const opening = openDump(silent, { signal: stop.signal });
    stop.abort(new Error('enough'));
    await expect(opening).rejects.toThrow('enough');
    expect(silent.destroyed).toBe(true);
  });

  it('waits for a slow reader', async () => {
    const slow = new PassThrough({ highWaterMark: 1000 });
    const done = put(MOSAIC, tarSink(slow));
    await once(slow, 'readable');
    expect(slow.readableLength).toBeLessThan(1_000_000);
    await expectMosaic(slow);
    await done;
  });
});

it('splits a dump and merges its halves', async () => {
  const dir = tempDir();
  const [hot, cold, whole] = ['hot', 'cold.tar', 'whole'].map((name) => join(dir, name)) as [string, string, string];
  await split(await opened(FAMILY), await directorySink(hot), await tarSink(cold, { mtimeSeconds: 0 }));
  const out = await directorySink(whole);
  await using half = await openDump(hot);
  await merge(half, () => openDumpFiles(cold, { pages: 'hold' }), out);
  expect(treeOf(whole)).toEqual(treeOf(FAMILY));
  expect(out.written.files).toBe(treeOf(FAMILY).length);
  half.close();
  await cli(['split', FAMILY, join(dir, 'hot2'), join(dir, 'cold2')]);
  expect(treeOf(hot)).toEqual(treeOf(join(dir, 'hot2')));
  expect(openFiles(dir)).toEqual([]);
});

it('verifies, and explores as the command does', async () => {
  const files = await openDumpFiles(FAMILY);
  onTestFinished(() => files.close());
  expect(verify(files, () => {})).toMatchObject({ errors: 0 });
  const printed = async (topic: string) => {
    const stdout = join(tempDir(), 'stdout');
    await cli(['x', FAMILY, topic, '--json'], { stdout });
    return JSON.parse(readFileSync(stdout, 'utf8'));
  };
  expect(exploreProcesses(files)).toEqual(await printed('ps'));
  expect(exploreDescriptors(files)).toEqual(await printed('fds'));
  expect(exploreAreas(files)).toEqual(await printed('mems'));
  expect(explorePages(files)).toEqual(await printed('rss'));
});

it('decodes an image to JSON and encodes it again', async () => {
  const image = readFileSync(join(FAMILY, 'mm-15.img'));
  const json = Buffer.concat(await chain([Readable.from([image]), imageToJson({ type: 'MM' })]).toArray());
  expect(JSON.parse(json.toString())).toMatchObject({ magic: 'MM' });
  expect(Buffer.concat(await chain([Readable.from([json]), jsonToImage()]).toArray()).equals(image)).toBe(true);
});

it('serves pages on a server of Node', async () => {
  const memory = await openMemory(FAMILY);
  onTestFinished(() => memory.close());
  const ends: unknown[] = [];
  const server = createServer({ allowHalfOpen: true }, async (socket) => ends.push(await serveClient(memory, socket)));
  onTestFinished(() => void server.close());
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const client = new PageClient(connect((server.address() as AddressInfo).port));
  const files = await openDumpFiles(FAMILY);
  onTestFinished(() => files.close());
  const [area] = explorePages(files).find(({ pid }) => pid === 15)?.areas ?? [];
  const [firstRun] = area?.runs ?? [];
  client.get(15, BigInt(firstRun?.start ?? 0), 1);
  expect((await client.answer())?.bytes).toHaveLength(4096);
  expect(await client.close()).toBe(0);
  await once(server.close(), 'close');
  expect(ends).toEqual([{ client: 'client', closed: true }]);
});
