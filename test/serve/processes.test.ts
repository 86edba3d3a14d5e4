/** `serve --stdio`, `connect`, and signals: processes that talk to each other. */
import { once } from 'node:events';
import { closeSync, readFileSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { BIN, cli } from '../helpers/cli.js';
import { expectEvents } from '../helpers/json-schema.js';
import { CLOSE, connection, GET, message, PageClient } from '../helpers/page-client.js';
import { makePipe, pipe } from '../helpers/pipe.js';
import { exitOf, Running, start } from '../helpers/running.js';
import { servedDump, visit } from '../helpers/serving.js';
import { tempDir } from '../helpers/temp.js';
import { Timeouts } from '../helpers/timeouts.js';

const FAULTS = '# pagepipe fault list 1, page size 4096\n15 0x500000\n';
const TIMES = String.raw`\d+\.\d\d s, answers p50 \d+ µs, p99 \d+ µs`;

describe('serve --stdio', () => {
  const stdio = (path: string, ...words: string[]) => start(['serve', path, '--stdio', ...words]);

  it('serves one client, to its end', async () => {
    const { path, oracle } = servedDump();
    const { child, stderr } = stdio(path);
    await visit(new PageClient(child, 32), oracle);
    expect(await exitOf(child)).toBe(0);
    expect(stderr.text).toMatch(
      new RegExp(
        `^pagepipe: stdio: done; 316 pages, 1294336 bytes in 4 requests \\(2 faults, 2 background\\), ${TIMES}\n$`,
      ),
    );
  });

  it('keeps its JSON lines apart from the pages', async () => {
    const { path, oracle } = servedDump();
    const { child, stderr } = stdio(path, '--json');
    const client = new PageClient(child, 24);
    await visit(client, oracle);
    expect((await client.rest()).length).toBe(0);
    expect(await exitOf(child)).toBe(0);
    expect(JSON.parse(stderr.text)).toMatchObject({ event: 'client', client: 'stdio', closed: true, pages: 316 });
  });

  it('gives the right pages to a slow reader', async () => {
    const { path, oracle } = servedDump();
    const { child } = stdio(path);
    const addresses = [...(oracle.get(15)?.keys() ?? [])];
    const gets = Array.from({ length: 600 }, (_, i) => addresses[(i * 7) % addresses.length] as bigint);
    const messages = gets.map((vaddr) => message(24, { command: GET, pages: 1, vaddr, dstId: 15 }));
    child.stdin.end(Buffer.concat([...messages, message(24, { command: CLOSE })]));
    const client = new PageClient(child, 24);
    for (const vaddr of gets) {
      const answer = await client.answer();
      expect(answer?.vaddr).toBe(vaddr);
      expect(answer?.bytes.equals(oracle.get(15)?.get(vaddr) as Uint8Array)).toBe(true);
    }
    expect(await client.read(5)).toEqual(Buffer.alloc(4));
    expect(await exitOf(child)).toBe(0);
  });

  it('fails with a client that asks for what there is not, or stops in the middle, and keeps the list', async () => {
    const { path } = servedDump();
    const list = join(tempDir(), 'list');
    const wrong = stdio(path, '--record', list);
    const client = new PageClient(wrong.child, 24);
    client.get(15, 0x500000n, 1);
    client.get(15, 0x700000n, 1);
    expect((await client.answer())?.pages).toBe(1);
    expect((await client.answer())?.pages).toBe(0);
    expect(await client.answer()).toBe(undefined);
    expect(await exitOf(wrong.child)).toBe(1);
    expect(wrong.stderr.text).toMatch(
      new RegExp(
        `^pagepipe: stdio: failed; 1 page, 4096 bytes in 1 request \\(1 fault, 0 background\\), ${TIMES}\n` +
          'pagepipe: error: stdin: GET of 1 page at 0x700000 of pid 15: no such page in the dump\n$',
      ),
    );
    expect(readFileSync(list, 'utf8')).toBe(FAULTS);

    const half = stdio(path);
    half.child.stdin.end(Buffer.alloc(10));
    expect(await exitOf(half.child)).toBe(1);
    expect(half.stderr.text).toBe('pagepipe: error: stdin: 10 bytes of a message, then the end\n');
  });

  it('gives up a client that says nothing', async () => {
    const { path } = servedDump();
    const timeouts = new Timeouts();
    const [input, output] = [pipe(), pipe()];
    const words = ['serve', path, '--stdio', '--idle-timeout', '1'];
    const running = new Running(words, { stdinFd: input.readFd, stdoutFd: output.writeFd });
    await timeouts.has(2);
    expect(timeouts.set).toEqual([1000, 1000]);
    timeouts.expire();
    expect(await running.code()).toBe(1);
    expect(running.err).toBe('pagepipe: error: stdin: nothing sent and nothing taken for 1 s\n');
    closeSync(input.writeFd);
    closeSync(output.readFd);
  });

  it('stops when it is told to', async () => {
    const { path } = servedDump();
    const { child, stderr } = stdio(path);
    const client = new PageClient(child, 24);
    client.get(15, 0x500000n, 1);
    await client.answer();
    child.kill('SIGTERM');
    expect(await exitOf(child)).toBe(1);
    expect(stderr.text).toMatch(
      new RegExp(
        `^pagepipe: stdio: failed; 1 page, 4096 bytes in 1 request \\(1 fault, 0 background\\), ${TIMES}\n` +
          'pagepipe: error: stdin: cut off: the server stops\n$',
      ),
    );
  });
});

describe('serve, told to stop by a signal', () => {
  it.each(['SIGINT', 'SIGTERM'] as const)('ends well at %s, with clients that are still there', async (signal) => {
    const { path } = servedDump();
    const list = join(tempDir(), 'list');
    const { child, prints, stderr } = start(['serve', path, '--listen', '127.0.0.1:0', '--record', list]);
    const [, port] = await prints(/serving at 127.0.0.1:(\d+)\n/);
    const client = new PageClient(connection(Number(port)), 24);
    client.get(15, 0x500000n, 1);
    await client.answer();
    child.kill(signal);
    expect(await exitOf(child)).toBe(0);
    expect((await client.rest()).length).toBe(0);
    expect(stderr.text).toMatch(
      new RegExp(
        `^pagepipe: serving at 127\\.0\\.0\\.1:${port}\npagepipe: 127\\.0\\.0\\.1:\\d+: cut off: the server stops; ` +
          `1 page, 4096 bytes in 1 request \\(1 fault, 0 background\\), ${TIMES}\n$`,
      ),
    );
    expect(readFileSync(list, 'utf8')).toBe(FAULTS);
  });
});

describe('connect', () => {
  const node = process.execPath;

  it('lets each client talk to a server of its own, through a command', async () => {
    const { path, oracle } = servedDump();
    const running = new Running(['connect', '--listen', '127.0.0.1:0', '--', node, BIN, 'serve', path, '--stdio']);
    const port = await running.port();
    await Promise.all([1, 2].map(() => visit(new PageClient(connection(port), 32), oracle)));
    await visit(new PageClient(connection(port), 24), oracle);
    const wrong = new PageClient(connection(port), 24);
    wrong.get(15, 0x700000n, 1);
    // The last word of the server arrives, though it fails.
    expect((await wrong.answer())?.pages).toBe(0);
    expect(await wrong.answer()).toBe(undefined);
    await running.prints(/127\.0\.0\.1:\d+: \S+ ended with exit code 1\n/);
    running.stop();
    expect(await running.code()).toBe(0);
  });

  it('passes the words of the command on as they are', async () => {
    const words = ['--json', '-x', '007', '0x1F', '1e3', '', 'a b', '--', '-'];
    const script = 'process.stdout.write(JSON.stringify(process.argv.slice(1)))';
    const running = new Running([
      'connect',
      '--listen',
      '127.0.0.1:0',
      '--once',
      '--json',
      '--',
      node,
      '-e',
      script,
      '--',
      ...words,
    ]);
    const [, port] = await running.prints(/"port":(\d+)/, 'out');
    const client = new PageClient(connection(Number(port)));
    expect(JSON.parse(String(await client.rest()))).toEqual(words);
    expect(await running.code()).toBe(0);
    expectEvents('connect', running.out, ['listening', 'client']);
  });

  it('carries what a command says last, whatever the client does', async () => {
    // Ends while its client still talks.
    const script = 'process.stdin.once("data", () => process.stdout.write("x".repeat(300000), () => process.exit(0)))';
    const running = new Running(['connect', '--listen', '127.0.0.1:0', '--once', '--', node, '-e', script]);
    const socket = connection(await running.port());
    socket.write(Buffer.alloc(100_000));
    expect((await new PageClient(socket).rest()).length).toBe(300_000);
    socket.write('more');
    expect(await running.code()).toBe(0);
  });

  it('fails with a command that fails or cannot be run', async () => {
    const failures: [string[], string][] = [
      [['sh', '-c', 'exit 3'], 'sh ended with exit code 3'],
      [['sh', '-c', 'kill -9 $$'], 'sh ended with SIGKILL'],
      [['/no/such/program'], '/no/such/program cannot be run: no such file or directory (ENOENT)'],
    ];
    for (const [words, complaint] of failures) {
      const running = new Running(['connect', '--listen', '127.0.0.1:0', '--once', '--', ...words]);
      const port = await running.port();
      const socket = connection(port);
      expect((await new PageClient(socket).rest()).length).toBe(0);
      expect(await running.code()).toBe(1);
      const lines = running.err.replace(/127\.0\.0\.1:\d+: /, 'CLIENT: ').split('\n');
      expect(lines.slice(1)).toEqual([`pagepipe: error: CLIENT: ${complaint}`, '']);
    }
  });

  it('ends the command of a client that has left', async () => {
    // A pipe that the command has open as long as it lives.
    const life = join(tempDir(), 'life');
    makePipe(life);
    const script = `require("fs").openSync(${JSON.stringify(life)}, "w"); const say = () => process.stdout.write("x", say); say()`;
    const running = new Running(['connect', '--listen', '127.0.0.1:0', '--once', '--', node, '-e', script]);
    const ended = readFile(life);
    const socket = connection(await running.port());
    await once(socket, 'readable');
    socket.resetAndDestroy();
    expect(await running.code()).toBe(1);
    await ended;
  });

  it('wants a command', async () => {
    for (const words of [['connect'], ['connect', '--listen', '1'], ['connect', '--']]) {
      const { code, stderr } = await cli(words);
      expect([code, stderr]).toEqual([
        2,
        'pagepipe: expected a command after --, found nothing\npagepipe: hint: pagepipe connect --help\n',
      ]);
    }
  });
});
