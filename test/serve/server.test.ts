/** Many clients of one server: those that behave and those that do not, with certificates and without. */
import { once } from 'node:events';
import { createServer, type Socket } from 'node:net';
import { join } from 'node:path';
import { describe, expect, it, onTestFinished } from 'vitest';
import { DumpError } from '../../src/errors.js';
import { CUT_OFF, listen } from '../../src/serve/server.js';
import { ANON, writeDump } from '../helpers/dump-writer.js';
import { bufferBytes } from '../helpers/memory.js';
import { CLOSE, connection, FORMS, GET, message, PageClient, takeAnswers } from '../helpers/page-client.js';
import { drain, openMemory, pagesAt, servedDump, startServer } from '../helpers/serving.js';
import { tempDir } from '../helpers/temp.js';

describe('a server', () => {
  it('serves many at once and one after the other, of both forms', async () => {
    const { memory, oracle } = servedDump();
    const server = await startServer(memory);
    const one = async (i: number) => {
      const client = new PageClient(connection(server.port), FORMS[i % 2]);
      await drain(client, 15 + (i % 2), oracle, 1 + (i % 5));
      expect(await client.close()).toBe(0);
    };
    for (let round = 0; round < 3; round++) await Promise.all(Array.from({ length: 12 }, (_, i) => one(i)));
    const ends = await server.ended(36);
    expect(ends.every(({ closed, error }) => closed && error === undefined)).toBe(true);
    expect(new Set(ends.map(({ client }) => client)).size).toBeGreaterThanOrEqual(12);
    expect(ends[0]?.client).toMatch(/^127\.0\.0\.1:\d+$/);
  });

  it('goes on for others while some misbehave', async () => {
    const { memory, oracle } = servedDump();
    const server = await startServer(memory);
    const good = new PageClient(connection(server.port), 32);
    // One in the middle of its requests at each misdeed of another.
    const pages = oracle.get(15) as Map<bigint, Uint8Array>;
    const check = async () => {
      good.get(15, 0x400000n, 3);
      expect((await good.answer())?.bytes.equals(pagesAt(pages, 0x400000n, 3))).toBe(true);
    };
    await check();
    const misdeeds: [(socket: Socket) => void, string | RegExp | undefined][] = [
      [
        (socket) => socket.end(message(24, { command: GET, pages: 1, vaddr: 0x400000n, dstId: 4711 })),
        'GET of 1 page at 0x400000 of pid 4711: no such process in the dump',
      ],
      [
        (socket) => socket.end(Buffer.from('GET / HTTP/1.1\r\nHost: me\r\n\r\n')),
        '28 bytes of a message, then the end',
      ],
      [(socket) => socket.end(Buffer.alloc(7)), '7 bytes of a message, then the end'],
      [(socket) => socket.end(), undefined],
      [
        (socket) => socket.write(Buffer.alloc(7), () => socket.resetAndDestroy()),
        /^(left|7 bytes of a message, then the end)$/,
      ],
      [
        (socket) => {
          const all = message(32, { command: GET, pages: 1024, vaddr: 0x500000n, dstId: 15 });
          socket.write(Buffer.concat(Array(50).fill(all)), () => socket.resetAndDestroy());
        },
        'left',
      ],
    ];
    for (const [i, [misdeed, error]] of misdeeds.entries()) {
      const socket = connection(server.port);
      socket.on('connect', () => misdeed(socket));
      socket.resume();
      const ends = await server.ended(i + 1);
      expect(ends[i]?.closed).toBe(false);
      // What is on its way when the connection breaks may be lost.
      if (error instanceof RegExp) expect(ends[i]?.error).toMatch(error);
      else expect(ends[i]?.error).toBe(error);
      await check();
    }
    expect(await good.close()).toBe(0);
  });

  it('gives all answers to a client that has said all', async () => {
    const { memory } = servedDump();
    const server = await startServer(memory);
    const socket = connection(server.port);
    const gets = Array(60).fill(message(24, { command: GET, pages: 300, vaddr: 0x500000n, dstId: 15 }));
    socket.end(Buffer.concat([...gets, message(24, { command: CLOSE })]));
    const { answers, rest } = takeAnswers(await new PageClient(socket).rest(), 24);
    expect(answers.map(({ pages }) => pages)).toEqual(Array(60).fill(300));
    expect(rest).toEqual(Buffer.alloc(4));
    expect((await server.ended(1))[0]?.closed).toBe(true);
  });

  it('turns away whoever is one too many, and takes the next when one has gone', async () => {
    const { memory, oracle } = servedDump();
    const server = await startServer(memory, { maxClients: 2 });
    const sockets = [connection(server.port), connection(server.port)];
    const clients = sockets.map((socket) => new PageClient(socket, 24));
    for (const client of clients) await drain(client, 15, oracle, 50);
    const third = new PageClient(connection(server.port), 24);
    expect((await third.rest()).length).toBe(0);
    expect((await server.ended(1))[0]).toMatchObject({
      closed: false,
      error: 'turned away: 2 clients are served already',
    });
    for (const client of clients) await drain(client, 16, oracle, 50);
    expect(await clients[0]?.close()).toBe(0);
    await server.ended(2);
    await once(sockets[0] as Socket, 'close');
    const fourth = new PageClient(connection(server.port), 24);
    await drain(fourth, 15, oracle, 50);
    expect(await fourth.close()).toBe(0);
  });

  it('ends after the last client, and lets it have its status', async () => {
    const { memory, oracle } = servedDump();
    const server = await startServer(memory, { isLast: ({ closed }) => closed });
    const left = connection(server.port);
    left.on('connect', () => left.end());
    left.resume();
    await server.ended(1);
    const staying = new PageClient(connection(server.port), 24);
    await drain(staying, 15, oracle, 50);
    const last = new PageClient(connection(server.port), 32);
    await drain(last, 15, oracle, 50);
    expect(await last.close()).toBe(0);
    await server.finished;
    expect(server.ends.slice(1).map(({ closed, error }) => ({ closed, error }))).toEqual([
      { closed: true, error: undefined },
      { closed: false, error: CUT_OFF },
    ]);
    expect((await staying.rest()).length).toBe(0);
  });

  it('stops when it is told to, whatever its clients are doing', async () => {
    const { memory } = servedDump();
    const server = await startServer(memory);
    // One has said nothing, one half a message, one does not take what it asked for.
    const silent = connection(server.port);
    const half = connection(server.port);
    half.write(Buffer.alloc(9));
    const greedy = connection(server.port);
    const get = message(32, { command: GET, pages: 300, vaddr: 0x500000n, dstId: 15 });
    greedy.write(Buffer.concat(Array(300).fill(get)));
    await Promise.all([once(silent, 'connect'), once(half, 'connect'), once(greedy, 'readable')]);
    server.stop();
    await server.finished;
    expect(server.ends.map(({ error }) => error)).toEqual([CUT_OFF, CUT_OFF, CUT_OFF]);
  });

  it('does not begin if it was told to stop before', async () => {
    const { memory } = servedDump();
    const controller = new AbortController();
    controller.abort();
    let began = false;
    await listen(
      {
        address: { host: '127.0.0.1', port: 0 },
        maxClients: 1,
        idleSeconds: 0,
        isLast: () => false,
        signal: controller.signal,
      },
      () => Promise.reject(new Error(`not to be reached with ${memory.pids}`)),
      {
        onListening: () => {
          began = true;
        },
        onEnd: () => {},
      },
    );
    expect(began).toBe(false);
  });

  it('sends idle clients away: those that say nothing, and those that take nothing', async () => {
    const { memory } = servedDump();
    const server = await startServer(memory, { idleSeconds: 0.1 });
    const silent = new PageClient(connection(server.port));
    const greedy = connection(server.port);
    const get = message(32, { command: GET, pages: 300, vaddr: 0x500000n, dstId: 15 });
    greedy.write(Buffer.concat(Array(3000).fill(get)));
    expect((await silent.rest()).length).toBe(0);
    const ends = await server.ended(2);
    const error = 'nothing sent and nothing taken for 0.1 s';
    expect(ends.map((end) => end.error)).toEqual([error, error]);
  });

  it('says which port is taken', async () => {
    const { memory } = servedDump();
    const other = createServer().listen(0, '127.0.0.1');
    await once(other, 'listening');
    onTestFinished(() => {
      other.close();
    });
    const { port } = other.address() as { port: number };
    const failing = startServer(memory, { address: { host: '127.0.0.1', port } });
    await expect(failing).rejects.toThrow(DumpError);
    await expect(failing).rejects.toThrow(`127.0.0.1:${port}: address already in use (EADDRINUSE)`);
  });

  it('fails, and is gone, if nobody can be told of its clients', async () => {
    const { memory } = servedDump();
    const complaint = new Error('the log is full');
    let port = 0;
    const finished = listen(
      {
        address: { host: '127.0.0.1', port: 0 },
        maxClients: 9,
        idleSeconds: 0,
        isLast: () => false,
        signal: new AbortController().signal,
      },
      async (stream) => {
        for await (const _ of stream) return true;
        return false;
      },
      {
        onListening: (address) => {
          port = address.port;
          connection(port).end('x');
        },
        onEnd: () => {
          throw complaint;
        },
      },
    );
    await expect(finished).rejects.toBe(complaint);
    const refused = connection(port);
    const [error] = await once(refused, 'error');
    expect(error.code).toBe('ECONNREFUSED');
    expect(memory.pids).toEqual([15, 16]);
  });
});

describe('a large dump', () => {
  it('is given in pieces to many slow clients, with little memory', async () => {
    const path = join(tempDir(), 'dump');
    const vmas = [{ start: 0n, end: 1n << 40n, ...ANON }];
    writeDump(path, { tasks: [{ pid: 5, vmas, entries: [{ vaddr: 0x10000n, pages: 64 * 1024 }] }], sparse: true });
    const memory = openMemory(path);
    const server = await startServer(memory);
    const before = bufferBytes();
    const sockets = Array.from({ length: 16 }, () => connection(server.port));
    for (const socket of sockets) new PageClient(socket, 32).get(5, 0x10000n, 2n ** 40n);
    await Promise.all(sockets.map((socket) => once(socket, 'readable')));
    // Each has two pieces of a MiB at most, and what Node holds of a socket on both sides.
    expect(process.memoryUsage().arrayBuffers - before).toBeLessThan(16 * 4 * 1024 * 1024);
    for (const socket of sockets) socket.destroy();
    await server.ended(16);
  });
});
