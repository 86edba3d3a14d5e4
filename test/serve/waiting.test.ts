/** Connections that say nothing, or nonsense: they keep nobody out, do not stay, and cost little. */
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Duplex } from 'node:stream';
import { connect as connectTls } from 'node:tls';
import { fileURLToPath } from 'node:url';
import { describe, expect, it, onTestFinished } from 'vitest';
import { Session } from '../../src/serve/session.js';
import { readTlsFiles } from '../../src/serve/tls.js';
import { connection, PageClient } from '../helpers/page-client.js';
import { Running, start } from '../helpers/running.js';
import { drain, servedDump, startServer, type TestServer } from '../helpers/serving.js';

const folder = fileURLToPath(new URL('certificates/', import.meta.url));
const pem = (name: string) => readFileSync(join(folder, `${name}.pem`));
const tls = readTlsFiles({
  ca: join(folder, 'ca.pem'),
  cert: join(folder, 'server.pem'),
  key: join(folder, 'server-key.pem'),
});

describe.each(['plain', 'TLS'])('connections that say nothing, %s', (how) => {
  const isTls = how === 'TLS';

  function startWith(firstSeconds: number, maxClients: number) {
    const { memory, oracle } = servedDump();
    const serve = (stream: Duplex, _: string, began: () => void) => new Session(memory, stream, { began }).run();
    const options = { firstSeconds, maxClients, ...(isTls ? { tls } : {}) };
    return { oracle, server: startServer(memory, options, serve) };
  }

  function client({ port }: TestServer): PageClient {
    if (!isTls) return new PageClient(connection(port), 32);
    const socket = connectTls({ port, ca: pem('ca'), cert: pem('client'), key: pem('client-key') });
    onTestFinished(() => {
      socket.destroy();
    });
    return new PageClient(socket, 32);
  }

  async function silent({ port }: TestServer, count: number): Promise<void> {
    const sockets = Array.from({ length: count }, () => connection(port));
    for (const socket of sockets) socket.on('error', () => {});
    await Promise.all(sockets.map((socket) => once(socket, 'connect')));
  }

  it('keep nobody out', async () => {
    const { oracle, server } = startWith(600, 2);
    const running = await server;
    await silent(running, 20);
    const good = [client(running), client(running)];
    for (const one of good) await drain(one, 15, oracle, 50);
    for (const one of good) expect(await one.close()).toBe(0);
    expect((await running.ended(2)).every(({ closed }) => closed)).toBe(true);
  });

  it('do not stay', async () => {
    const { server } = startWith(0.1, 2);
    const running = await server;
    await silent(running, 2);
    const half = connection(running.port);
    half.write(Buffer.alloc(9));
    const error = `${isTls ? 'TLS: ' : ''}no message within 0.1 s`;
    const ends = (await running.ended(3)).map((end) => end.error);
    // What is no TLS is refused at once.
    expect(ends.filter((end) => end === error).length).toBeGreaterThanOrEqual(isTls ? 2 : 3);
    expect(running.ends.every(({ client: name }) => /^127\.0\.0\.1:\d+$/.test(name))).toBe(true);
  });

  it('make room, the oldest first, when one address has many', async () => {
    const { oracle, server } = startWith(600, 2);
    const running = await server;
    await silent(running, 64 + 5);
    const ends = await running.ended(5);
    expect(ends[0]?.error).toBe(`${isTls ? 'TLS: ' : ''}no message yet, and too many other connections`);
    const good = client(running);
    await drain(good, 15, oracle, 50);
    expect(await good.close()).toBe(0);
  });
});

describe('serve', () => {
  it('takes little memory for many short connections', async () => {
    const { path } = servedDump();
    const { child, prints } = start(['serve', path, '--listen', '127.0.0.1:0']);
    const port = Number((await prints(/serving at 127.0.0.1:(\d+)\n/))[1]);
    child.stderr.resume();
    for (let round = 0; round < 50; round++) {
      const one = async () => {
        const client = new PageClient(connection(port), 32);
        client.get(15, 0x400000n, 1);
        expect((await client.answer())?.pages).toBe(1);
        expect(await client.close()).toBe(0);
      };
      await Promise.all(Array.from({ length: 30 }, one));
    }
    const [, kibibytes] = /VmHWM:\s*(\d+)/.exec(readFileSync(`/proc/${child.pid}/status`, 'latin1')) ?? [];
    expect(Number(kibibytes) / 1024).toBeLessThan(100);
  });

  it('has its metrics asked by few at a time', async () => {
    const { path } = servedDump();
    const running = new Running(['serve', path, '--listen', '127.0.0.1:0', '--metrics', '127.0.0.1:0']);
    const [, port] = await running.prints(/metrics at http:\/\/127\.0\.0\.1:(\d+)\//);
    const sockets = Array.from({ length: 16 }, () => connection(Number(port)));
    await Promise.all(sockets.map((socket) => once(socket, 'connect')));
    const refused = connection(Number(port));
    refused.on('error', () => {});
    await once(refused.resume(), 'end');
    sockets[0]?.destroy();
    running.stop();
    expect(await running.code()).toBe(0);
  });
});
