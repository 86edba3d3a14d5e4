/** A dump that CRIU sends over its socket, with CRIU's side played by a small program. */
import { spawnSync } from 'node:child_process';
import { constants, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import type { Io } from '../../src/commands/command.js';
import { BIN, cli, pagepipe } from '../helpers/cli.js';
import { expectError } from '../helpers/expect-error.js';
import { faults } from '../helpers/faults.js';
import { expectFits } from '../helpers/json-schema.js';
import { makePipe } from '../helpers/pipe.js';
import { Running } from '../helpers/running.js';
import { describeTree, fixture, openFiles, tempDir } from '../helpers/temp.js';
import { connected, LAST, PAGES, placesOfFile, sendDump, sendFile } from './dumps.js';
import { Peer, whyNot } from './peer.js';

const places = placesOfFile();

/** A capture that listens. */
async function capturing(images: string, words: readonly string[], io: Partial<Io> = {}): Promise<Running> {
  const self = [process.execPath, BIN, 'capture', '-D', images, ...words];
  const running = new Running(self.slice(2), { self, ...io });
  await running.prints(/can start/);
  return running;
}

/** What a capture says in the end. */
const errorOf = ({ err }: Running): string => err.slice(err.indexOf('pagepipe: error: '));

const content = (folder: string): string[] => describeTree(folder).slice(1);

describe.skipIf(whyNot !== '')(`capture${whyNot && `, not tested: ${whyNot}`}`, () => {
  test('to a directory', async () => {
    const { dump, images, out } = places();
    const capture = await capturing(images, [out]);
    expect(statSync(join(images, 'streamer-capture.sock')).mode & 0o777).toBe(0o600);
    const peer = await connected(images);
    await sendDump(peer, dump);
    await peer.does('disconnect');
    expect(await capture.code()).toBe(0);
    expect(content(out).map((line) => line.replace(' 600 ', ' 644 '))).toEqual(content(dump));
    expect(readdirSync(images)).toEqual([]);
  });

  test('to an archive, with what must wait in a file', async () => {
    const { root, dump, images } = places();
    const archive = join(root, 'out.tar.zst');
    const capture = await capturing(images, [archive, '--buffer', '1']);
    const peer = await connected(images);
    await sendDump(peer, dump);
    await peer.does('disconnect');
    expect(await capture.code()).toBe(0);
    expect((await cli(['copy', archive, join(root, 'copy')])).code).toBe(0);
    expect(content(join(root, 'copy')).map((line) => line.replace(' 600 ', ' 644 '))).toEqual(content(dump));
  });

  test('as a page stream, with the areas that stages need', async () => {
    const { root, dump, images } = places();
    const stream = join(root, 'stream');
    const self = [process.execPath, BIN, 'capture', '-D', images];
    const capture = cli(self.slice(2), { self, stdout: stream });
    const peer = new Peer();
    while (!(await peer.answer('connect', join(images, 'streamer-capture.sock'))).startsWith('ok'));
    await sendDump(peer, dump);
    await peer.does('disconnect');
    expect((await capture).code).toBe(0);
    const classified = join(root, 'classified');
    expect(await cli(['classify', '--policy', 'vma'], { stdin: stream, stdout: classified })).toMatchObject({
      code: 0,
    });
    expect((await cli(['write', join(root, 'copy')], { stdin: classified })).code).toBe(0);
    expect(readFileSync(join(root, 'copy/pages-2.img'))).toEqual(readFileSync(join(dump, 'pages-2.img')));
  });

  test('two files of pages by turns, one file of many megabytes never waits for the other', async () => {
    const { dump, images, out } = places();
    const capture = await capturing(images, [out, '--json']);
    const peer = await connected(images);
    const both = ['pages-1.img', 'pages-2.img'];
    for (const name of both) await peer.does('open', name);
    for (let at = 0; at < PAGES * 4096; at += 2 ** 20) {
      for (const name of both) await peer.does('write', name, join(dump, name), at, 2 ** 20);
    }
    for (const name of both) await peer.does('close', name);
    await sendDump(peer, dump, both);
    await peer.does('disconnect');
    expect(await capture.code()).toBe(0);
    expectFits('capture', JSON.parse(capture.out));
    for (const name of both) expect(readFileSync(join(out, name))).toEqual(readFileSync(join(dump, name)));
  });

  test('the lines of criu-image-streamer', async () => {
    const { root, dump, images, out } = places();
    const lines = join(root, 'lines');
    writeFileSync(lines, '');
    const fd = faults.real.openSync(lines, 'w');
    try {
      const capture = await capturing(images, [out, '--progress-fd', String(fd)]);
      const peer = await connected(images);
      await sendFile(peer, fixture('family-criu-4.2.1'), 'stats-dump');
      await sendDump(peer, dump);
      await peer.does('disconnect');
      expect(await capture.code()).toBe(0);
    } finally {
      faults.real.closeSync(fd);
    }
    const [first, second, json] = readFileSync(lines, 'utf8').trim().split('\n');
    expect([first, second]).toEqual(['socket-init', 'checkpoint-start']);
    const { shards } = JSON.parse(json as string);
    expect(shards).toEqual([{ size: expect.any(Number), transfer_duration_millis: expect.any(Number) }]);
    expect(shards[0].size).toBeGreaterThan(2 * PAGES * 4096);
  });

  test('as criu-image-streamer: shards in descriptors, and a file that does not come from CRIU', async () => {
    const { root, dump, images } = places();
    const pipe = join(root, 'pipe');
    makePipe(pipe);
    const { openSync, closeSync, writeSync } = faults.real;
    const fds = [openSync(pipe, constants.O_RDONLY | constants.O_NONBLOCK), openSync(pipe, 'w')] as const;
    const shards = ['a', 'b'].map((name) => join(root, name));
    const shardFds = shards.map((path) => openSync(path, 'w'));
    try {
      const capture = await capturing(images, ['-s', shardFds.join(','), '-e', `fs.tar:${fds[0]}`]);
      const peer = await connected(images);
      await sendDump(peer, dump);
      await peer.does('disconnect');
      writeSync(fds[1], 'the files');
      closeSync(fds[1]);
      expect(await capture.code()).toBe(0);
    } finally {
      for (const fd of [fds[0], ...shardFds]) closeSync(fd);
    }
    const copy = join(root, 'copy');
    expect((await cli(['copy', shards.join(','), copy, '--from', 'shards'])).code).toBe(0);
    expect(readFileSync(join(copy, 'fs.tar'), 'utf8')).toBe('the files');
    rmSync(join(copy, 'fs.tar'));
    expect(content(copy).map((line) => line.replace(' 600 ', ' 644 '))).toEqual(content(dump));
  });

  test.each(['an end without the inventory', 'an end inside a request', 'a peer that is killed'])('%s', async (how) => {
    const { root, dump, images, out } = places();
    const capture = await capturing(images, [out]);
    const peer = await connected(images);
    await sendDump(peer, dump, [LAST]);
    if (how === 'an end inside a request') await peer.does('send', '0f000000');
    if (how === 'a peer that is killed') {
      await peer.does('open', 'pages-9.img');
      await peer.does('write', 'pages-9.img', join(dump, 'pages-1.img'), 0, 100_000);
      peer.kill();
    } else await peer.does('disconnect');
    const code = await capture.code();
    expect(code).toBe(1);
    expect(errorOf(capture)).toBe(
      how === 'an end inside a request'
        ? 'pagepipe: error: criu: the connection ended inside a request\n'
        : `pagepipe: error: ${images}: criu closed the connection without sending inventory.img\npagepipe: hint: its dump has failed: its log says why\n`,
    );
    expect(readdirSync(root)).toEqual(['dump']);
    expect(readdirSync(images)).toEqual([]);
    expect(openFiles(root)).toEqual([]);
  });

  test.each([
    ['a length of 4 GiB', 'send ffffffff', 'expected a request of at most 4096 bytes, found a length of 4294967295'],
    ['a name that leads outside', 'open ../../escaped', 'expected a file name inside the dump, found "../../escaped"'],
    ['a name in a folder', 'open folder/mm-1.img', 'expected the name of a file, found "folder/mm-1.img"'],
    [
      'a request without a descriptor',
      'send 070000000a05612e696d6700',
      'a file was announced without its descriptor, or a descriptor came without a file',
    ],
    ['a descriptor that is no pipe', 'open-socket mm-1.img', 'the descriptor of a file is not a pipe'],
  ])('%s is refused', async (_what, words, error) => {
    const { root, images, out } = places();
    const capture = await capturing(images, [out]);
    const peer = await connected(images);
    await peer.answer(words);
    const code = await capture.code();
    expect(code).toBe(1);
    expect(errorOf(capture)).toBe(`pagepipe: error: criu: ${error}\n`);
    expect(readdirSync(root)).toEqual(['dump']);
  });

  test('hundreds of pipes at once', async () => {
    const { dump, images, out } = places();
    const capture = await capturing(images, [out]);
    const peer = await connected(images);
    const names = Array.from({ length: 600 }, (_, i) => `note-${i}.txt`);
    for (const name of names) await peer.does('open', name);
    await sendDump(peer, dump);
    for (const name of names) await peer.does('close', name);
    await peer.does('disconnect');
    expect(await capture.code()).toBe(0);
    expect(readdirSync(out)).toEqual(expect.arrayContaining(names));
    expect(openFiles(images)).toEqual([]);
  });

  test('more pipes than files may be open', async () => {
    const { root, images, out } = places();
    const capture = await capturing(images, [out]);
    const peer = await connected(images);
    faults.fail('openSync', 1, 'EMFILE');
    await peer.does('open', 'pages-1.img');
    expect(await capture.code()).toBe(1);
    expect(errorOf(capture)).toBe('pagepipe: error: pages-1.img: too many open files (EMFILE)\n');
    expect(readdirSync(root)).toEqual(['dump']);
    expect(readdirSync(images)).toEqual([]);
  });

  test('a file that comes twice', async () => {
    const { root, dump, images, out } = places();
    const capture = await capturing(images, [out]);
    const peer = await connected(images);
    await sendFile(peer, dump, 'mm-15.img');
    await peer.does('open', 'mm-15.img');
    expect(await capture.code()).toBe(1);
    expect(errorOf(capture)).toBe('pagepipe: error: mm-15.img: the name occurs twice\n');
    expect(readdirSync(root)).toEqual(['dump']);
  });

  test('a write that fails: CRIU finds its pipe broken, and its script fails', async () => {
    const { root, dump, images, out } = places();
    const capture = await capturing(images, [out]);
    const script = join(images, 'pagepipe-post-dump');
    const peer = await connected(images);
    await peer.does('open', 'pages-1.img');
    const waiting = pagepipe(['capture-wait', '-D', images]);
    expect(statSync(script).mode & 0o777).toBe(0o700);
    faults.fail('writeSync', 1, 'ENOSPC');
    const answer = await peer.answer('write', 'pages-1.img', join(dump, 'pages-1.img'));
    const code = await capture.code();
    expect(code).toBe(75);
    expect(errorOf(capture)).toBe('pagepipe: error: pages-1.img@0x0: no space left on device (ENOSPC)\n');
    expect(answer).toBe('error write: EPIPE');
    expect((await waiting).code).toBe(1);
    expect(readdirSync(root)).toEqual(['dump']);
    expect(readdirSync(images)).toEqual([]);
  });

  test('a second connection is refused, the first goes on', async () => {
    const { dump, images, out } = places();
    const capture = await capturing(images, [out]);
    const peer = await connected(images);
    const other = await connected(images);
    await capture.prints(/a second connection was refused/);
    expect(await other.answer('open', 'mm-15.img')).toBe('error send: EPIPE');
    await sendDump(peer, dump);
    await peer.does('disconnect');
    expect(await capture.code()).toBe(0);
  });

  test('an interrupted capture leaves nothing', async () => {
    const { root, dump, images, out } = places();
    const capture = await capturing(images, [out]);
    const peer = await connected(images);
    await sendFile(peer, dump, 'pages-1.img');
    await peer.does('open', 'mm-15.img');
    capture.stop();
    expect(await capture.code()).not.toBe(0);
    expect(readdirSync(root)).toEqual(['dump']);
    expect(readdirSync(images)).toEqual([]);
  });

  describe("CRIU's script after the dump", () => {
    test('ends when the dump is in its place, while CRIU keeps its connection', async () => {
      const { dump, images, out } = places();
      const capture = await capturing(images, [out]);
      const peer = await connected(images);
      await sendDump(peer, dump);
      const { code } = await pagepipe(['capture-wait', '-D', images]);
      expect(code).toBe(0);
      expect(readdirSync(out)).toContain(LAST);
      expect(await capture.code()).toBe(0);
    });

    test('fails if the dump is damaged', async () => {
      const { root, dump, images, out } = places();
      const capture = await capturing(images, [out]);
      const peer = await connected(images);
      await sendDump(peer, dump, ['mm-16.img']);
      expect((await pagepipe(['capture-wait', '-D', images])).code).toBe(1);
      expect(await capture.code()).toBe(1);
      expect(errorOf(capture)).toBe(
        'pagepipe: error: mm-16.img: expected this image, named by pstree.img, found none\n',
      );
      expect(readdirSync(root)).toEqual(['dump']);
    });

    test('fails without a capture', async () => {
      const images = tempDir();
      expectError(await cli(['capture-wait', '-D', images]), `${images}: no capture runs in this directory`);
    });
  });

  test('runs criu: its failure is the exit code, and another reason is not given', async () => {
    const { root, images, out } = places();
    const criu = join(root, 'criu');
    writeFileSync(criu, `#!/bin/sh\necho "$@" >${root}/words\nexit 7\n`, { mode: 0o755 });
    const words = ['capture', '-D', images, out, '-t', '15', '--criu', criu, '--', '--leave-running', '-v4'];
    const outcome = await cli(words, { self: [process.execPath, BIN, ...words] });
    expect(outcome.code).toBe(7);
    expect(outcome.stderr).toBe('pagepipe: warning: criu dump ended with exit code 7\n');
    expect(readFileSync(join(root, 'words'), 'utf8')).toBe(
      `dump --stream -D ${images} -t 15 --action-script ${images}/pagepipe-post-dump --leave-running -v4\n`,
    );
    expect(readdirSync(images)).toEqual([]);
  });

  test('criu is killed when all is sent, but nothing has waited for its pages', async () => {
    const { root, dump, images, out } = places();
    const criu = join(root, 'criu');
    const ends = join(images, 'ends');
    makePipe(ends);
    writeFileSync(criu, `#!/bin/sh\nread code <${ends}\nexit $code\n`, { mode: 0o755 });
    const self = [process.execPath, BIN, 'capture', '-D', images, out, '-t', '15', '--criu', criu];
    const capture = new Running(self.slice(2), { self });
    const peer = new Peer();
    while (!(await peer.answer('connect', join(images, 'streamer-capture.sock'))).startsWith('ok'));
    await sendDump(peer, dump);
    peer.kill();
    await writeFile(ends, '137\n');
    expect(await capture.code()).toBe(137);
    expect(capture.err).toBe('pagepipe: warning: criu dump ended with exit code 137\n');
    expect(readdirSync(root).sort()).toEqual(['criu', 'dump']);
    expect(readdirSync(images)).toEqual(['ends']);
  });

  test('a socket that was left there is replaced', async () => {
    const { dump, images, out } = places();
    const path = join(images, 'streamer-capture.sock');
    const leave = "require('net').createServer().listen(process.argv[1], () => process.kill(process.pid, 'SIGKILL'))";
    expect(spawnSync(process.execPath, ['-e', leave, path]).signal).toBe('SIGKILL');
    expect(statSync(path).isSocket()).toBe(true);
    const capture = await capturing(images, [out]);
    const peer = await connected(images);
    await sendDump(peer, dump);
    await peer.does('disconnect');
    expect(await capture.code()).toBe(0);
  });
});

describe('a capture that cannot begin', () => {
  const capture = (...words: string[]) =>
    cli(['capture', ...words], { self: [process.execPath, BIN, 'capture', ...words] });

  test('a file in the place of the socket', async () => {
    const images = tempDir();
    writeFileSync(join(images, 'streamer-capture.sock'), '');
    expectError(
      await capture('-D', images, join(images, '../out')),
      `${images}/streamer-capture.sock: expected no file or a socket, found another file`,
    );
    expect(readdirSync(images)).toEqual(['streamer-capture.sock']);
  });

  test('a path that is too long for a socket', async () => {
    const images = join(tempDir(), 'x'.repeat(100));
    const hint = 'sockets have short names; go to the directory and use -D .';
    expectError(
      await capture('-D', images, 'out'),
      `${images}/streamer-capture.sock: expected a path of at most 107 bytes, found ${images.length + 22}`,
      hint,
    );
  });

  test('OUT exists: CRIU never hears of it', async () => {
    const images = tempDir();
    const out = tempDir();
    writeFileSync(join(out, 'file'), '');
    const { code, stderr } = await capture('-D', images, out);
    expect(code).toBe(1);
    expect(stderr).toBe(`pagepipe: error: ${out}: expected a new or empty directory, found files in it\n`);
    expect(readdirSync(images)).toEqual([]);
  });

  test.each([
    [[], 'expected -D DIR, found nothing'],
    [['-D', 'x', 'out', 'more'], 'expected OUT, found one more: more; options for criu need -t'],
    [['-D', 'x', '-s', '7', 'out'], '--shard-fds: expected no OUT, found out'],
    [['-D', 'x', '-s', '7', '--to', 'tar'], '--to: --shard-fds writes shards to descriptors'],
    [['-D', 'x', '-e', 'fs.tar'], '--ext-file-fds: expected NAME:FD, found "fs.tar"'],
    [['-D', 'x', '--force'], '--force: OUT is a page stream; --to writes another container'],
  ])('%j', async (words, error) => {
    const { code, stderr } = await capture(...words);
    expect(code).toBe(2);
    expect(stderr).toBe(`pagepipe: ${error}\npagepipe: hint: pagepipe capture --help\n`);
  });
});
