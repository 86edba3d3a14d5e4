/** The near end of `pagepipe send`, with a bare HTTP/2 client for the far one. */
import { EventEmitter, once } from 'node:events';
import { connect as connectHttp2, constants } from 'node:http2';
import { connect, createServer, type Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import { expect, it } from 'vitest';
import { readLine } from '../../src/io/line.js';
import { send } from '../../src/send/near.js';
import { PATH } from '../../src/send/protocol.js';
import type { ClientEnd } from '../../src/serve/server.js';
import { deafConnection, lingerFor } from '../helpers/deaf.js';

async function socketPair(): Promise<[Socket, Socket]> {
  const server = createServer();
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const one = connect((server.address() as { port: number }).port, '127.0.0.1');
  const [other] = await once(server, 'connection');
  server.close();
  return [other, one];
}

it.each([
  ['', (near: Socket): Duplex => near],
  [', and ends if the end of the connection is not seen', deafConnection],
])('says that all pages are delivered, even if it is asked for that afterwards%s', async (_, through) => {
  lingerFor(0);
  const [near, far] = await socketPair();
  const shipment = {
    ship: async (sink: { finish(): void | Promise<void> }) => sink.finish(),
    compression: undefined,
    keep: false,
    serve: async () => true,
    onLanded() {},
    onEnd() {},
  };
  const sent = send(through(near), 'far', shipment, new AbortController().signal);
  far.write('pagepipe accept 2 none\n');
  const chunks = () => far.iterator({ destroyOnReturn: false });
  expect((await readLine(chunks(), 100))?.text).toBe('pagepipe send 2 none');
  far.write(`${JSON.stringify({ out: '/out', bytes: 0, pageServer: { host: '127.0.0.1', port: 1 } })}\n`);
  const session = connectHttp2('http://pagepipe', { createConnection: () => far });
  /** The status of an answer that has been read to its end. */
  const ask = async (path: string, body?: string) => {
    const stream = session.request({ ':path': path, ':method': body === undefined ? 'GET' : 'POST' });
    stream.resume();
    if (body !== undefined) stream.end(body);
    const [[answer]] = await Promise.all([once(stream, 'response'), once(stream, 'close')]);
    return answer[':status'];
  };
  expect(await ask(PATH.PAGES, '')).toBe(200);
  expect(await ask(PATH.DELIVERED)).toBe(200);
  await sent;
});

it('says of a restore that went away before its answer that it has left', async () => {
  const [near, far] = await socketPair();
  const ended = new EventEmitter();
  const end = once(ended, 'client');
  const shipment = {
    ...SHIPMENT,
    ship: async (sink: { finish(): void | Promise<void> }) => sink.finish(),
    serve: async (stream: Duplex) => {
      await once(stream, 'aborted');
      return await new Promise<boolean>((resolve, reject) => {
        stream.write('a page', (error) => (error ? reject(error) : resolve(true)));
      });
    },
    onEnd: (end: ClientEnd) => void ended.emit('client', end),
  };
  const sent = send(near, 'far', shipment, new AbortController().signal);
  far.write('pagepipe accept 2 none\n');
  await readLine(far.iterator({ destroyOnReturn: false }), 100);
  far.write(`${JSON.stringify({ out: '/out', bytes: 0, pageServer: { host: '127.0.0.1', port: 1 } })}\n`);
  const session = connectHttp2('http://pagepipe', { createConnection: () => far });
  session.on('error', () => {});
  const stream = session.request({ ':path': PATH.PAGES, ':method': 'POST' });
  stream.on('error', () => {});
  await once(stream, 'response');
  stream.close(constants.NGHTTP2_CANCEL);
  expect(await end).toEqual([{ client: 'unknown', closed: false, error: 'left' }]);
  far.destroy();
  await expect(sent).rejects.toThrow('far: the connection ended before a restore had fetched all pages');
});

const SHIPMENT = { compression: undefined, keep: false, onLanded() {}, onEnd() {} };

it.each(['pagepipe accept 3 none\n', 'pagepipe accept 2\n', 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n'])(
  'refuses a far end of another version: %j',
  async (greeting) => {
    const [near, far] = await socketPair();
    far.write(greeting);
    const ship = async () => expect.unreachable('nothing is sent');
    await expect(send(near, 'far', { ...SHIPMENT, ship }, new AbortController().signal)).rejects.toMatchObject({
      code: 'PROTOCOL',
      message: 'far: the far side is another version of pagepipe',
    });
    far.destroy();
  },
);

it('notices that the far end is gone while the dump has yet to be read', async () => {
  const [near, far] = await socketPair();
  far.write('pagepipe accept 2 none\n');
  const ship = () => {
    far.destroy();
    return new Promise<void>(() => {});
  };
  await expect(send(near, 'far', { ...SHIPMENT, ship }, new AbortController().signal)).rejects.toMatchObject({
    code: 'PROTOCOL',
    message: 'far: the connection ended before the far side had all of the dump',
  });
});

it.each(['{"out":', `${'x'.repeat(70_000)}`])('refuses an answer that is not one: %s', async (answer) => {
  const [near, far] = await socketPair();
  far.write(`pagepipe accept 2 none\n${answer}\n`);
  const ship = async (sink: { finish(): void | Promise<void> }) => sink.finish();
  await expect(send(near, 'far', { ...SHIPMENT, ship }, new AbortController().signal)).rejects.toMatchObject({
    code: 'PROTOCOL',
    message: 'far: the far side did not say where the dump is',
  });
  far.destroy();
});
