/** A dump that CRIU takes over its socket, with CRIU's side played by a small program. */
import {
  constants,
  mkdirSync,
  readdirSync,
  readFileSync,
  readSync,
  rmSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { cli } from '../helpers/cli.js';
import { expectError } from '../helpers/expect-error.js';
import { faults } from '../helpers/faults.js';
import { expectFits } from '../helpers/json-schema.js';
import { makePipe } from '../helpers/pipe.js';
import { Running } from '../helpers/running.js';
import { copyFixture, openFiles, tempDir } from '../helpers/temp.js';
import { Peer, whyNot } from './peer.js';

function places() {
  const root = tempDir();
  return { root, dump: copyFixture('family-criu-4.2.1', root), images: tempDir() };
}

const listening = (images: string): string =>
  `pagepipe: listening at ${images}/streamer-serve.sock; criu restore --stream can start\n`;

async function providing(
  source: string | undefined,
  images: string,
  io = {},
  options: readonly string[] = [],
): Promise<{ provider: Running; peer: Peer }> {
  const words = source === undefined ? options : [source, ...options];
  const provider = new Running(['provide', ...words, '-D', images], io);
  await provider.prints(/can start/);
  const peer = new Peer();
  await peer.does('connect', join(images, 'streamer-serve.sock'));
  return { provider, peer };
}

/** The entries of an image as JSON. */
async function decoded(path: string): Promise<unknown[]> {
  const json = `${path}.json`;
  expect(await cli(['decode', '-i', path, '-o', json])).toMatchObject({ code: 0, stderr: '' });
  const { entries } = JSON.parse(readFileSync(json, 'utf8'));
  rmSync(json);
  return entries;
}

/** Adds a socket that listens, and one that is connected, at the same port. */
async function listenAt(dump: string, port: number): Promise<void> {
  const path = join(dump, 'files.img');
  const entries = await decoded(path);
  const names = ['sndbuf', 'rcvbuf', 'snd_tmo_sec', 'snd_tmo_usec', 'rcv_tmo_sec', 'rcv_tmo_usec'];
  const options = Object.fromEntries(names.map((name) => [`so_${name}`, 1]));
  const socket = { ino: 5, family: 'INET', type: 'STREAM', proto: 'TCP', dst_port: 0, flags: '0x2', backlog: 8 };
  const more = { fown: { uid: 0, euid: 0, signum: 0, pid_type: 0, pid: 0 }, opts: options };
  const addresses = { src_addr: ['0.0.0.0'], dst_addr: ['0.0.0.0'], src_port: port };
  const states = ['LISTEN', 'ESTABLISHED'];
  const added = states.map((state, i) => {
    const id = 1000 + i;
    return { type: 'INETSK', id, isk: { id, ...socket, state, ...more, ...addresses } };
  });
  const json = join(dump, '../files.json');
  writeFileSync(json, JSON.stringify({ magic: 'FILES', entries: [...entries, ...added] }));
  expect(await cli(['encode', '-i', json, '-o', path])).toMatchObject({ code: 0, stderr: '' });
}

describe.skipIf(whyNot !== '')(`provide${whyNot && `, not tested: ${whyNot}`}`, () => {
  test.each(['directory', 'tar', 'tar.gz', 'stream'])(
    'each file of a %s, and which are not there',
    async (container) => {
      const { root, dump, images } = places();
      let source = dump;
      if (container === 'stream') {
        source = join(root, 'stream');
        await cli(['read', dump], { stdout: source });
      } else if (container !== 'directory') {
        source = join(root, `dump.${container}`);
        await cli(['copy', dump, source]);
      }
      const { provider, peer } = await providing(source, images);
      for (const name of ['apparmor.img', 'pages-99.img', 'parent']) expect(await peer.does('ask', name)).toBe(0);
      const names = readdirSync(dump);
      // All are open at once; the pipes are read in another order.
      for (const name of names) expect(await peer.does('ask', name)).toBe(1);
      for (const name of names.toReversed()) {
        await peer.does('read', name, join(root, 'got'));
        expect(readFileSync(join(root, 'got')).equals(readFileSync(join(dump, name)))).toBe(true);
        await peer.does('close', name);
      }
      await peer.does('disconnect');
      expect(await provider.code()).toBe(0);
      expect(readdirSync(images)).toEqual([]);
      expect(openFiles(root)).toEqual([]);
    },
  );

  test('values that are changed on their way', async () => {
    const { root, dump, images } = places();
    await listenAt(dump, 80);
    const changes = [
      '--set',
      'inventory.img:entries[0].img_version=7',
      '--tcp-listen-remap',
      '80:8080,81:8081',
      '--json',
    ];
    const { provider, peer } = await providing(dump, images, {}, changes);
    await provider.prints(/no socket of the dump listens at TCP port 81/);
    const provided = join(root, 'provided.img');
    const get = async (name: string) => {
      await peer.does('ask', name);
      await peer.does('read', name, provided);
      await peer.does('close', name);
      return decoded(provided);
    };
    const [inventory] = (await get('inventory.img')) as [{ img_version: number }];
    expect(inventory.img_version).toBe(7);
    const before = (await decoded(join(dump, 'files.img'))) as { isk?: { src_port: number } }[];
    const sockets = before.filter(({ isk }) => isk);
    expect(sockets.map(({ isk }) => isk?.src_port)).toEqual([80, 80]);
    const listener = sockets[0]?.isk as { src_port: number };
    listener.src_port = 8080;
    expect(await get('files.img')).toEqual(before);
    await peer.does('disconnect');
    expect(await provider.code()).toBe(0);
    const report = JSON.parse(provider.out);
    expectFits('provide', report);
    expect(report).toMatchObject({ dump, directory: images });
    expect(((await decoded(join(dump, 'files.img'))) as unknown[]).length).toBe(before.length);
  });

  test('as criu-image-streamer: shards from descriptors, a file that does not go to CRIU, the lines for programs', async () => {
    const { root, dump, images } = places();
    writeFileSync(join(dump, 'fs.tar'), 'the files');
    const shard = join(root, 'shard');
    expect((await cli(['copy', dump, shard, '--to', 'shards'])).code).toBe(0);
    const pipe = join(root, 'pipe');
    makePipe(pipe);
    const { openSync, closeSync } = faults.real;
    const fds = [openSync(pipe, constants.O_RDWR), openSync(shard, 'r'), openSync(join(root, 'lines'), 'w')] as const;
    try {
      const options = ['-s', String(fds[1]), '-e', `fs.tar:${fds[0]}`, '-p', String(fds[2])];
      const { provider, peer } = await providing(undefined, images, {}, options);
      expect(await peer.does('ask', 'pstree.img')).toBe(1);
      await peer.does('close', 'pstree.img');
      await peer.does('disconnect');
      expect(await provider.code()).toBe(0);
      const buffer = new Uint8Array(100);
      expect(Buffer.from(buffer.subarray(0, readSync(fds[0], buffer))).toString()).toBe('the files');
    } finally {
      for (const fd of fds) closeSync(fd);
    }
    const [json, ready] = readFileSync(join(root, 'lines'), 'utf8').split('\n');
    expect(JSON.parse(json as string).shards).toEqual([
      { size: expect.any(Number), transfer_duration_millis: expect.any(Number) },
    ]);
    expect(ready).toBe('socket-init');
  });

  test('a pipe that is closed early, and a peer that is killed', async () => {
    const { root, dump, images } = places();
    const { provider, peer } = await providing(dump, images);
    const largest = 'pages-1.img';
    await peer.does('ask', largest);
    await peer.does('read', largest, join(root, 'got'), 100);
    await peer.does('close', largest);
    await peer.does('ask', 'pages-2.img');
    peer.kill();
    expect(await provider.code()).toBe(0);
    expect(readdirSync(images)).toEqual([]);
  });

  test('a dump that changes meanwhile', async () => {
    const { dump, images } = places();
    const { provider, peer } = await providing(dump, images);
    truncateSync(join(dump, 'pages-1.img'), 4096);
    await peer.does('ask', 'pages-1.img');
    expect(await provider.code()).toBe(75);
    expect(provider.err).toBe(
      `${listening(images)}pagepipe: error: pages-1.img: expected 65536 bytes as before, found 4096\n`,
    );
  });

  test.each([
    ['ffffffff', 'expected a request of at most 4096 bytes, found a length of 4294967295'],
    ['010000000a', 'expected a varint, found the end of the message'],
    ['080000000a062e2e2f612e62', 'expected a file name inside the dump, found "../a.b"'],
  ])('the bytes %s are refused', async (bytes, error) => {
    const { dump, images } = places();
    const { provider, peer } = await providing(dump, images);
    await peer.does('send', bytes);
    await peer.answer('disconnect');
    expect(await provider.code()).toBe(1);
    expect(provider.err).toBe(`${listening(images)}pagepipe: error: criu: ${error}\n`);
    expect(readdirSync(images)).toEqual([]);
  });

  test('an interrupted one removes its socket', async () => {
    const { dump, images } = places();
    const { provider, peer } = await providing(dump, images);
    await peer.does('ask', 'pages-1.img');
    provider.stop();
    expect(await provider.code()).not.toBe(0);
    expect(readdirSync(images)).toEqual([]);
  });
});

describe('a dump that is not provided', () => {
  test('a damaged one', async () => {
    const { dump, images } = places();
    rmSync(join(dump, 'mm-15.img'));
    expect((await cli(['provide', dump, '-D', images])).code).toBe(1);
    expect(readdirSync(images)).toEqual([]);
  });

  test('one that builds on another', async () => {
    const { root, dump, images } = places();
    mkdirSync(join(root, 'other'));
    symlinkSync('../other', join(dump, 'parent'));
    const outcome = await cli(['provide', dump, '-D', images]);
    expectError(
      outcome,
      `${dump}: a streamed restore cannot reach the parent dump`,
      'make it complete first: pagepipe untemplate DUMP OUT',
    );
  });

  test.each([
    [
      ['--set', 'entries[0].pid=7'],
      '--set: expected IMAGE:PATH=VALUE such as files.img:entries[3].reg.name=/var/log/new.log, found "entries[0].pid=7"',
    ],
    [['--tcp-listen-remap', '80'], '--tcp-listen-remap: expected OLD:NEW such as 80:8080, found "80"'],
    [['--tcp-listen-remap', '80:70000'], '--tcp-listen-remap: expected OLD:NEW such as 80:8080, found "80:70000"'],
    [['--tcp-listen-remap', '1:2,1:3'], '--tcp-listen-remap: expected each port once, found 1 twice'],
  ])('%j', async (options, error) => {
    const { code, stderr } = await cli(['provide', 'dump', '-D', 'x', ...options]);
    expect(code).toBe(2);
    expect(stderr).toBe(`pagepipe: ${error}\npagepipe: hint: pagepipe provide --help\n`);
  });

  test('an image to change that is not there', async () => {
    const { dump, images } = places();
    const change = ['--set', 'mm-9.img:entries[0].mm_brk=1'];
    expectError(await cli(['provide', dump, '-D', images, ...change]), 'mm-9.img: expected this image, found none');
    expect(readdirSync(images)).toEqual([]);
  });

  test('no directory is given', async () => {
    const { code, stderr } = await cli(['provide', 'dump']);
    expect(code).toBe(2);
    expect(stderr).toBe('pagepipe: expected -D DIR, found nothing\npagepipe: hint: pagepipe provide --help\n');
  });
});
