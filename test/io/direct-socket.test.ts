/** Connections that are read into one buffer and written at once: order, waiting, and all ends. */
import { once } from 'node:events';
import { createServer, type Server, Socket } from 'node:net';
import { expect, it, onTestFinished } from 'vitest';
import { DirectSocket, type Take } from '../../src/io/direct-socket.js';
import { connection } from '../helpers/page-client.js';

/** Both ends of a connection, and its server. */
async function pair(): Promise<{ near: DirectSocket; far: Socket; server: Server }> {
  const server = createServer({ allowHalfOpen: true, pauseOnConnect: true }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  const accepted = once(server, 'connection');
  const far = connection((server.address() as { port: number }).port);
  const near = DirectSocket.of((await accepted)[0] as Socket) as DirectSocket;
  expect(near).toBeInstanceOf(DirectSocket);
  near.on('error', () => {});
  onTestFinished(() => {
    near.destroy();
    server.close();
  });
  return { near, far, server };
}

const text = (chunk: Uint8Array): string => Buffer.from(chunk).toString();

it('gives what comes, and the end', async () => {
  const { near, far } = await pair();
  const sent = Buffer.from(Array.from({ length: 50_000 }, (_, i) => i % 251));
  const parts: Buffer[] = [];
  far.end(sent);
  const isEnough = await near.drain((chunk) => {
    parts.push(Buffer.from(chunk));
    return false;
  });
  expect(isEnough).toBe(false);
  expect(Buffer.concat(parts).equals(sent)).toBe(true);
});

it('reads nothing more until a promise is fulfilled, and drops what follows once it has enough', async () => {
  const { near, far } = await pair();
  let isWaiting = false;
  let calls = 0;
  let release = () => {};
  const take: Take = () => {
    expect(isWaiting).toBe(false);
    if (++calls === 3) return true;
    isWaiting = true;
    return new Promise((resolve) => {
      release = () => {
        isWaiting = false;
        resolve(false);
      };
      // More is there by now, which must not be given.
      far.write(Buffer.alloc(5000), () => setImmediate(release));
    });
  };
  const done = near.drain(take);
  far.write('begin');
  expect(await done).toBe(true);
  expect(calls).toBe(3);
  far.end(Buffer.alloc(100_000));
  near.resume();
  await once(near, 'end');
});

it('throws what its user throws, at once or later', async () => {
  for (const fail of [
    () => {
      throw new Error('refused');
    },
    () => Promise.reject(new Error('refused')),
  ]) {
    const { near, far } = await pair();
    far.write('request');
    await expect(near.drain(fail)).rejects.toThrow('refused');
  }
});

it('tells an end from a broken connection, also while its user is busy', async () => {
  const { near, far } = await pair();
  const first = near.drain(() => false);
  far.resetAndDestroy();
  await expect(first).rejects.toMatchObject({ code: 'ECONNRESET' });

  const other = await pair();
  let isDone = false;
  const second = other.near.drain(async () => {
    other.near.destroy();
    await once(other.near, 'close');
    isDone = true;
    return false;
  });
  other.far.write('request');
  await expect(second).rejects.toMatchObject({ code: 'ERR_STREAM_PREMATURE_CLOSE' });
  expect(isDone).toBe(true);
});

it('writes at once what the kernel takes, and nothing before what still waits', async () => {
  const { near, far } = await pair();
  const line = Buffer.from('first ');
  expect(near.writeAtOnce(line)).toBe(line.length);
  const large = Buffer.alloc(16 * 1024 * 1024, 1);
  const written = near.writeAtOnce(large);
  expect(written).toBeGreaterThan(0);
  expect(written).toBeLessThan(large.length);
  near.write(large.subarray(written));
  expect(near.writeAtOnce(line)).toBe(0);
  near.end(' last');
  let bytes = 0;
  let last = '';
  for await (const chunk of far) {
    if (bytes === 0) expect(text((chunk as Buffer).subarray(0, 6))).toBe('first ');
    bytes += (chunk as Buffer).length;
    last = text((chunk as Buffer).subarray(-5));
  }
  expect(bytes).toBe(6 + large.length + 5);
  expect(last).toBe(' last');
});

it('writes nothing when it is closed', async () => {
  const { near } = await pair();
  near.destroy();
  expect(near.writeAtOnce(Buffer.from('x'))).toBe(0);
  await once(near, 'close');
});

it('lets its server close when it is closed', async () => {
  const { near, server } = await pair();
  const closed = once(server, 'close');
  server.close();
  near.destroy();
  await closed;
});

it('is the connection itself where Node does not say what is behind it', () => {
  const socket = new Socket();
  expect(DirectSocket.of(socket)).toBe(socket);
});
