/** The far end of `pagepipe send` when the near one is gone at any time: it ends. */
import { once } from 'node:events';
import { existsSync, readFileSync } from 'node:fs';
import { performServerHandshake } from 'node:http2';
import { connect, createServer, type Socket } from 'node:net';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { UNDELIVERED } from '../../src/dump/names.js';
import { accept } from '../../src/send/far.js';
import { PATH } from '../../src/send/protocol.js';
import { cli } from '../helpers/cli.js';
import { fixture, tempDir } from '../helpers/temp.js';

/** A near end that is gone as soon as it is asked for something, or has given the dump. */
async function nearEnd(stream: Buffer, goneAt: string): Promise<Socket> {
  const server = createServer((socket) => {
    server.close();
    const session = performServerHandshake(socket);
    session.on('error', () => {});
    session.on('stream', (request, headers) => {
      request.on('error', () => {});
      const path = headers[':path'];
      if (path === goneAt) socket.destroy();
      else if (path !== PATH.DUMP) request.respond({ ':status': 200 }, { endStream: path === PATH.LANDED });
      else {
        request.respond({ ':status': 200 });
        request.end(stream);
        if (goneAt === 'the end of the dump') request.on('close', () => socket.end());
      }
    });
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return connect((server.address() as { port: number }).port, '127.0.0.1');
}

it.each([
  ['the end of the dump', true],
  [PATH.DUMP, false],
  [PATH.LANDED, true],
  [PATH.DELIVERED, true],
])('ends when the near one is gone at %s', async (goneAt, isThere) => {
  const dir = tempDir();
  const [stream, out] = [join(dir, 'stream'), join(dir, 'out')];
  expect((await cli(['read', fixture('mosaic-criu-4.2.1')], { stdout: stream })).code).toBe(0);
  const connection = await nearEnd(readFileSync(stream), goneAt);
  const options = {
    out,
    force: false,
    address: { host: '127.0.0.1', port: 0 },
    onWritten() {},
    onEnd() {},
  };
  await expect(accept(connection, options, new AbortController().signal)).rejects.toMatchObject({
    code: 'PROTOCOL',
    message: 'stdin: the connection ended before the sending side was done',
  });
  expect(existsSync(out)).toBe(isThere);
  expect(existsSync(join(out, UNDELIVERED))).toBe(false);
});
