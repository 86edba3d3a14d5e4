/** The suite over all containers. */
import { execFileSync } from 'node:child_process';
import { readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { afterAll, beforeAll, beforeEach, describe, expect } from 'vitest';
import { END, header, member, ociArchive, tar, writeShards } from '../helpers/archives.js';
import { cli } from '../helpers/cli.js';
import { type ObjectStore, objectStore } from '../helpers/object-store.js';
import { StreamWriter } from '../helpers/stream-writer.js';
import { fixture, tempDir } from '../helpers/temp.js';
import { type Container, containerSuite } from './suite.js';

const zstd = (input: Uint8Array): Buffer => execFileSync('zstd', ['-qc'], { input, maxBuffer: 2 ** 28 });

/** The archives of a fixture, which never changes, by how they are compressed: several containers have the same. */
const archives = new Map<string, Map<(bytes: Buffer) => Uint8Array, Uint8Array>>();

const plain = (bytes: Buffer): Uint8Array => bytes;

function compressedTar(dump: string, compress: (bytes: Buffer) => Uint8Array): Uint8Array {
  const made = archives.get(dump)?.get(compress);
  if (made) return made;
  const plainTar = () => tar(dump, '-c', '--format=pax', '--blocking-factor=1', '.');
  if (!dump.startsWith(fixture(''))) return compress(plainTar());
  const ofDump = archives.get(dump) ?? new Map<(bytes: Buffer) => Uint8Array, Uint8Array>([[plain, plainTar()]]);
  archives.set(dump, ofDump);
  const bytes = compress(ofDump.get(plain) as Buffer);
  ofDump.set(compress, bytes);
  return bytes;
}

const archive = (compress: (bytes: Buffer) => Uint8Array, ...words: string[]): Container => ({
  isRandom: false,
  hasTrees: true,
  pack: (files) => [
    compress(
      Buffer.concat([
        ...files.map(({ name, bytes, target }) =>
          target === undefined ? member(name, bytes ?? Buffer.alloc(0)) : header(name, 0, { type: '2', target }),
        ),
        END,
      ]),
    ),
  ],
  packTree: async (dump) => [compressedTar(dump, compress)],
  write: (source, place) => ['copy', ...source, place, '--to', 'tar', ...words],
});

/** An image whose layer is an archive. */
function image(compress: (bytes: Buffer) => Uint8Array, compression: string): Container {
  const { pack, packTree } = archive(compress);
  return {
    isRandom: false,
    hasTrees: true,
    spareBytes: 512,
    pack: (files) => [ociArchive(pack?.(files)[0] as Uint8Array)],
    packTree: async (dump) => [ociArchive((await packTree?.(dump))?.[0] as Uint8Array)],
    write: (source, place) => ['copy', ...source, place, '--to', 'oci', '--compress', compression],
  };
}

const inShards = (shards: number): Container => ({
  shards,
  isRandom: false,
  hasTrees: false,
  pack: (files) => {
    let turn = 0;
    const named = files.map(({ name, bytes }) => [name, bytes ?? Buffer.alloc(0)] as const);
    return writeShards(named, { shards, pick: (count) => turn++ % count });
  },
  write: (source, places) => ['copy', ...source, places, '--to', 'shards'],
});

/** Its frames by hand; one of a whole dump is written by `read`. */
const pageStream: Container = {
  isRandom: false,
  hasTrees: true,
  pack: (files) => {
    const stream = new StreamWriter().header();
    for (const { name, bytes, target } of files) {
      if (target !== undefined) stream.link(name, target);
      else if (!/^(pagemap|pages)-/.test(name)) stream.file(name, bytes ?? '');
    }
    return [stream.end()];
  },
  packTree: async (dump) => {
    const stdout = join(tempDir(), 'stream');
    expect((await cli(['read', dump], { stdout })).code).toBe(0);
    return [readFileSync(stdout)];
  },
  write: (source) => ['read', ...source],
};

const BUCKET = 'pagepipe-containers';
let server: ObjectStore;

beforeAll(async () => {
  server = await objectStore(BUCKET);
});
beforeEach(() => server.stubEnvironment());
afterAll(() => server.close());

/** A container that is read from an object store, and written to it. */
const inS3 = (container: Container): Container => ({
  ...container,
  store: {
    nameOf: (path) => `s3://${BUCKET}${path}`,
    upload: async (path) => {
      if (statSync(path).isDirectory()) await server.setFolder(BUCKET, `${path.slice(1)}/`, path);
      else await server.set(BUCKET, path.slice(1), readFileSync(path));
    },
    list: async (path) => (await server.keys(BUCKET)).filter((key) => key.startsWith(`${path.slice(1)}/`)),
  },
});

describe.each<[string, Container]>([
  ['a directory', { isRandom: true, hasTrees: true, write: (source, place) => ['copy', ...source, place] }],
  ['a plain archive', { ...archive(plain), isRandom: true, spareBytes: 512 }],
  ['an archive by gzip', archive(gzipSync, '--compress', 'gzip')],
  ['an archive by zstd', { ...archive(zstd, '--compress', 'zstd'), cutEveryBytes: 4096 }],
  ['an OCI image by gzip', image(gzipSync, 'gzip')],
  ['an OCI image of a plain layer', image(plain, 'none')],
  ['a shard', inShards(1)],
  ['three shards', inShards(3)],
  ['a page stream', pageStream],
  [
    'objects below a prefix',
    inS3({ isRandom: true, hasTrees: false, write: (source, place) => ['copy', ...source, place] }),
  ],
  ['a plain archive in S3', inS3({ ...archive(plain), isRandom: true, spareBytes: 512, cutEveryBytes: 4096 })],
  ['an archive by gzip in S3', inS3({ ...archive(gzipSync, '--compress', 'gzip'), cutEveryBytes: 8192 })],
  ['an archive by zstd in S3', inS3({ ...archive(zstd, '--compress', 'zstd'), cutEveryBytes: 8192 })],
])('%s', (_, container) => containerSuite(container));
