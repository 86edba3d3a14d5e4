/** A dump that CRIU takes over its socket, with CRIU's side played by a small program. */
import { mkdirSync, readdirSync, readFileSync, rmSync, symlinkSync, truncateSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { cli } from '../helpers/cli.js';
import { expectError } from '../helpers/expect-error.js';
import { Running } from '../helpers/running.js';
import { copyFixture, openFiles, tempDir } from '../helpers/temp.js';
import { Peer, whyNot } from './peer.js';

function places() {
  const root = tempDir();
  return { root, dump: copyFixture('family-criu-4.2.1', root), images: tempDir() };
}

const listening = (images: string): string =>
  `pagepipe: listening at ${images}/streamer-serve.sock; criu restore --stream can start\n`;

async function providing(source: string, images: string, io = {}): Promise<{ provider: Running; peer: Peer }> {
  const provider = new Running(['provide', source, '-D', images], io);
  await provider.prints(/can start/);
  const peer = new Peer();
  await peer.does('connect', join(images, 'streamer-serve.sock'));
  return { provider, peer };
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
    expect(await provider.code()).toBe(1);
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

  test('no directory is given', async () => {
    const { code, stderr } = await cli(['provide', 'dump']);
    expect(code).toBe(2);
    expect(stderr).toBe('pagepipe: expected -D DIR, found nothing\npagepipe: hint: pagepipe provide --help\n');
  });
});
