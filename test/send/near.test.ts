/** The near end of `pagepipe send`, with a bare HTTP/2 client for the far one. */
import { once } from 'node:events';
import { connect as connectHttp2 } from 'node:http2';
import { connect, createServer, type Socket } from 'node:net';
import { expect, it } from 'vitest';
import { send } from '../../src/send/near.js';
import { PATH } from '../../src/send/protocol.js';

async function socketPair(): Promise<[Socket, Socket]> {
  const server = createServer();
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const one = connect((server.address() as { port: number }).port, '127.0.0.1');
  const [other] = await once(server, 'connection');
  server.close();
  return [other, one];
}

it('says that all pages are delivered, even if it is asked for that afterwards', async () => {
  const [near, far] = await socketPair();
  const shipment = {
    ship: async (sink: { finish(): void | Promise<void> }) => sink.finish(),
    compression: undefined,
    keep: false,
    serve: async () => true,
    onLanded() {},
    onEnd() {},
  };
  const sent = send(near, 'far', shipment, new AbortController().signal);
  const session = connectHttp2('http://pagepipe', { createConnection: () => far });
  /** The status of an answer that has been read to its end. */
  const ask = async (path: string, body?: string) => {
    const stream = session.request({ ':path': path, ':method': body === undefined ? 'GET' : 'POST' });
    stream.resume();
    if (body !== undefined) stream.end(body);
    const [[answer]] = await Promise.all([once(stream, 'response'), once(stream, 'close')]);
    return answer[':status'];
  };
  const landed = JSON.stringify({ out: '/out', bytes: 0, pageServer: { host: '127.0.0.1', port: 1 } });
  expect(await ask(PATH.DUMP)).toBe(200);
  expect(await ask(PATH.LANDED, landed)).toBe(200);
  expect(await ask(PATH.PAGES, '')).toBe(200);
  expect(await ask(PATH.DELIVERED)).toBe(200);
  await sent;
});
