/** The far end of `pagepipe send` when the near one is gone at any time: it ends. */
import { once } from 'node:events';
import { existsSync, readFileSync } from 'node:fs';
import { performServerHandshake } from 'node:http2';
import { connect, createServer, type Socket } from 'node:net';
import { join } from 'node:path';
import type { Duplex } from 'node:stream';
import { expect, it } from 'vitest';
import { UNDELIVERED } from '../../src/dump/names.js';
import { readLine } from '../../src/io/line.js';
import { accept, type NearConnection } from '../../src/send/far.js';
import { cli } from '../helpers/cli.js';
import { deafConnection, lingerFor } from '../helpers/deaf.js';
import { fixture, tempDir } from '../helpers/temp.js';

type GoneAt = 'the beginning' | 'the middle of the dump' | 'the end of the dump' | 'the request for pages';

/** A connection to a near end that is played by `answer`. */
async function nearEnd(
  answer: (socket: Socket) => Promise<void>,
  through = (socket: Socket): Duplex => socket,
): Promise<NearConnection> {
  const server = createServer((socket) => {
    server.close();
    socket.on('error', () => {});
    void answer(socket);
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const connection = through(connect((server.address() as { port: number }).port, '127.0.0.1'));
  return Object.assign(connection, { chunks: () => connection.iterator({ destroyOnReturn: false }) });
}

/** Is gone at a certain point, or has the pages delivered and is done. */
const gone =
  (stream: Buffer, goneAt: GoneAt | undefined) =>
  async (socket: Socket): Promise<void> => {
    if (goneAt === 'the beginning') return void socket.destroy();
    socket.write('pagepipe send 2 none\n');
    const line = await readLine(socket.iterator({ destroyOnReturn: false }), 100);
    expect(line?.text).toBe('pagepipe accept 2 none');
    if (goneAt === 'the middle of the dump') return void socket.end(stream.subarray(0, stream.length >> 1));
    socket.write(stream);
    if (goneAt === 'the end of the dump') return void socket.end();
    const landed = await readLine(socket.iterator({ destroyOnReturn: false }), 1000);
    socket.unshift(landed?.rest);
    const session = performServerHandshake(socket);
    session.on('error', () => {});
    session.on('stream', (request) => {
      request.on('error', () => {});
      if (goneAt) return void socket.destroy();
      request.respond({ ':status': 200 }, { endStream: true });
      session.close();
    });
  };

const OPTIONS = { force: false, address: { host: '127.0.0.1', port: 0 }, onWritten() {}, onEnd() {} };

it.each([
  ['the beginning', false],
  ['the middle of the dump', false],
  ['the end of the dump', true],
  ['the request for pages', true],
] as const)('ends when the near one is gone at %s', async (goneAt, isThere) => {
  const dir = tempDir();
  const [stream, out] = [join(dir, 'stream'), join(dir, 'out')];
  expect((await cli(['read', fixture('mosaic-criu-4.2.1')], { stdout: stream })).code).toBe(0);
  const connection = await nearEnd(gone(readFileSync(stream), goneAt));
  const cut = goneAt === 'the middle of the dump';
  await expect(accept(connection, { out, ...OPTIONS }, new AbortController().signal)).rejects.toMatchObject({
    code: cut ? 'STREAM_DAMAGED' : 'PROTOCOL',
    message: expect.stringMatching(
      cut
        ? /found the end of the input: the stream was cut$/
        : /^stdin: the connection ended before the sending side was done$/,
    ),
  });
  expect(existsSync(out)).toBe(isThere);
  expect(existsSync(join(out, UNDELIVERED))).toBe(false);
});

it('ends after the near end is done, also if the end of the connection is not seen', async () => {
  lingerFor(0);
  const dir = tempDir();
  const [stream, out] = [join(dir, 'stream'), join(dir, 'out')];
  expect((await cli(['read', fixture('mosaic-criu-4.2.1')], { stdout: stream })).code).toBe(0);
  const connection = await nearEnd(gone(readFileSync(stream), undefined), deafConnection);
  await accept(connection, { out, ...OPTIONS }, new AbortController().signal);
  expect(existsSync(out)).toBe(true);
});

it.each([
  // It begins with HTTP/2.
  ['1', '\0\0\x12\x04\0\0\0\0\0'],
  ['3', 'pagepipe send 3 none\n'],
])('refuses a near end of version %s', async (_, greeting) => {
  const out = join(tempDir(), 'out');
  const connection = await nearEnd(async (socket) => void socket.write(greeting));
  await expect(accept(connection, { out, ...OPTIONS }, new AbortController().signal)).rejects.toMatchObject({
    code: 'PROTOCOL',
    message: 'stdin: the sending side is another version of pagepipe',
  });
  expect(existsSync(out)).toBe(false);
});
