/** `serve` and `connect` as they are started: what they print, write down and complain of. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { connect as connectTls } from 'node:tls';
import { fileURLToPath } from 'node:url';
import { describe, expect, it, onTestFinished } from 'vitest';
import type { Io } from '../../src/commands/command.js';
import { BIN, cli, type Outcome } from '../helpers/cli.js';
import { ANON, writeDump } from '../helpers/dump-writer.js';
import { CLOSE, connection, GET, message, PageClient } from '../helpers/page-client.js';
import { memoryOf, pagesAt, served } from '../helpers/serving.js';
import { tempDir } from '../helpers/temp.js';

function dump(): { path: string; oracle: ReturnType<typeof memoryOf> } {
  const path = join(tempDir(), 'dump');
  writeDump(path, served('4.2'));
  return { path, oracle: memoryOf(path) };
}

/** A command line that goes on until it is stopped, and what it prints. */
class Running {
  out = '';
  err = '';
  private readonly watchers = new Set<() => void>();
  private readonly controller = new AbortController();
  readonly outcome: Promise<Outcome>;

  constructor(words: readonly string[], options: Partial<Io> = {}) {
    const hear = (name: 'out' | 'err') => (text: string) => {
      this[name] += text;
      for (const watcher of this.watchers) watcher();
    };
    this.outcome = cli(words, { signal: this.controller.signal, out: hear('out'), err: hear('err'), ...options });
    this.outcome.then(() => hear('err')(''));
    onTestFinished(async () => {
      this.stop();
      await this.outcome;
    });
  }

  /** Resolves when something was printed. */
  prints(what: RegExp, name: 'out' | 'err' = 'err'): Promise<RegExpExecArray> {
    return new Promise((resolve) => {
      const check = () => {
        const found = what.exec(this[name]);
        if (!found) return;
        this.watchers.delete(check);
        resolve(found);
      };
      this.watchers.add(check);
      check();
    });
  }

  async port(): Promise<number> {
    return Number((await this.prints(/(?:serving|listening) at [\d.]+:(\d+)\n/))[1]);
  }

  stop(): void {
    this.controller.abort(new Error('stopped by the test'));
  }

  async code(): Promise<number> {
    return (await this.outcome).code;
  }
}

const serve = (...words: string[]) => new Running(['serve', ...words, '--listen', '127.0.0.1:0']);

/** Some requests of each kind, and the end. */
async function visit(client: PageClient, oracle: ReturnType<typeof memoryOf>): Promise<void> {
  const asked: [bigint, number][] = [
    [0x402000n, 1],
    [0x400000n, 1024],
    [0x500000n, 300],
    [0x40f000n, 1],
  ];
  for (const [vaddr, pages] of asked) client.get(15, vaddr, pages);
  for (const [vaddr, pages] of asked) {
    expect((await client.answer())?.bytes.equals(pagesAt(oracle.get(15), vaddr, pages))).toBe(true);
  }
  expect(await client.close()).toBe(0);
}

describe('serve', () => {
  it('says where it is, has a line for each client, and stops when it is told to', async () => {
    const { path, oracle } = dump();
    const server = serve(path);
    const port = await server.port();
    await visit(new PageClient(connection(port), 24), oracle);
    await server.prints(/done/);
    const wrong = new PageClient(connection(port), 32);
    wrong.get(4711, 0x400000n, 1);
    expect((await wrong.answer())?.pages).toBe(0);
    expect(await wrong.answer()).toBe(undefined);
    await server.prints(/no such process/);
    const leaving = connection(port);
    leaving.on('connect', () => leaving.end());
    await server.prints(/left without/);
    server.stop();
    expect(await server.code()).toBe(0);
    expect(server.out).toBe('');
    const number = '[\\d.]+';
    const lines = [
      `pagepipe: serving at 127.0.0.1:${port}`,
      `pagepipe: 127.0.0.1:\\d+: done; 316 pages, 1294336 bytes in 4 requests \\(2 faults, 2 background\\), ` +
        `${number} s, answers p50 ${number} µs, p99 ${number} µs`,
      'pagepipe: 127.0.0.1:\\d+: GET of 1 pages at 0x400000 of pid 4711: no such process in the dump',
      'pagepipe: 127.0.0.1:\\d+: left without closing its session',
    ];
    expect(server.err).toMatch(new RegExp(`^${lines.join('\\n')}\\n$`));
  });

  it('prints JSON lines', async () => {
    const { path, oracle } = dump();
    const server = serve(path, '--json', '--once');
    const [, first] = await server.prints(/^(.*)\n/, 'out');
    const { event, host, port } = JSON.parse(first as string);
    expect({ event, host }).toEqual({ event: 'listening', host: '127.0.0.1' });
    const wrong = new PageClient(connection(port), 32);
    wrong.get(15, 0x700000n, 1);
    await wrong.rest();
    await visit(new PageClient(connection(port), 24), oracle);
    expect(await server.code()).toBe(0);
    expect(server.err).toBe('');
    const [failed, done] = server.out
      .trim()
      .split('\n')
      .slice(1)
      .map((line) => JSON.parse(line));
    expect(failed).toMatchObject({
      event: 'client',
      closed: false,
      error: 'GET of 1 pages at 0x700000 of pid 15: no such page in the dump',
      requests: 0,
      answerP50: null,
    });
    expect(done).toMatchObject({
      event: 'client',
      closed: true,
      pages: 316,
      bytes: 316 * 4096,
      requests: 4,
      faults: 2,
      background: 2,
    });
    expect(Object.keys(done)).not.toContain('error');
    expect(done.seconds).toBeGreaterThan(0);
    expect(done.answerP99).toBeGreaterThanOrEqual(done.answerP50);
    expect(done.answerP50).toBeGreaterThan(0);
  });

  it('ends well when nobody reads its lines any more', async () => {
    const { path, oracle } = dump();
    const { stdout, stderr, child } = start(['serve', path, '--json', '--listen', '127.0.0.1:0']);
    const [first] = await once(stdout, 'data');
    stdout.destroy();
    await visit(new PageClient(connection(JSON.parse(String(first)).port), 24), oracle);
    expect(await exitOf(child)).toBe(0);
    expect(stderr.text).toBe('');
  });

  it('ends with --once after a client that closes, and not after others', async () => {
    const { path, oracle } = dump();
    const server = serve(path, '--once');
    const port = await server.port();
    const leaving = connection(port);
    leaving.on('connect', () => leaving.end());
    await server.prints(/left without/);
    await visit(new PageClient(connection(port), 32), oracle);
    expect(await server.code()).toBe(0);
    expect(server.err).toMatch(/done;/);
  });

  it('has figures for Prometheus', async () => {
    const { path, oracle } = dump();
    const server = serve(path, '--metrics', '127.0.0.1:0');
    const [, url] = await server.prints(/^pagepipe: metrics at (http:\S+\/metrics)\n/);
    const port = await server.port();
    const staying = new PageClient(connection(port), 24);
    staying.get(15, 0x400000n, 2);
    await staying.answer();
    await visit(new PageClient(connection(port), 24), oracle);
    await server.prints(/done/);
    const wrong = new PageClient(connection(port), 24);
    wrong.get(1, 0x400000n, 2);
    await wrong.rest();
    await server.prints(/no such process/);
    const response = await fetch(url as string);
    expect(response.headers.get('content-type')).toMatch(/^text\/plain; version=0\.0\.4/);
    const text = await response.text();
    for (const line of [
      'pagepipe_pages_total 318',
      `pagepipe_page_bytes_total ${318 * 4096}`,
      'pagepipe_requests_total{kind="fault"} 2',
      'pagepipe_requests_total{kind="background"} 3',
      'pagepipe_clients 1',
      'pagepipe_clients_ended_total{how="closed"} 1',
      'pagepipe_clients_ended_total{how="failed"} 1',
      'pagepipe_answer_seconds_count 5',
      '# TYPE pagepipe_answer_seconds histogram',
    ]) {
      expect(text.split('\n')).toContain(line);
    }
    expect((await fetch((url as string).replace('/metrics', '/other'))).status).toBe(404);
    server.stop();
    expect(await server.code()).toBe(0);
    await expect(fetch(url as string)).rejects.toThrow();
  });

  it('writes down the faults of all clients, each once, and not the sweep', async () => {
    const { path } = dump();
    const list = join(tempDir(), 'list');
    const server = serve(path, '--record', list);
    const port = await server.port();
    const say = async (...asked: [pid: number, vaddr: bigint, pages: number][]) => {
      const client = new PageClient(connection(port), 32);
      for (const [pid, vaddr, pages] of asked) client.get(pid, vaddr, pages);
      for (const [, vaddr] of asked) expect((await client.answer())?.vaddr).toBe(vaddr);
      await client.close();
    };
    await say(
      [15, 0x500000n, 1],
      [15, 0x400000n, 4],
      [16, 0x7fff_0010_5000n, 1],
      // A fault beside pages that the sweep has not had; the last page of an entry, which the sweep had come to; one alone.
      [15, 0x405000n, 1],
      [15, 0x404000n, 9],
      [15, 0x40d000n, 1],
      [15, 0x40f000n, 1],
      [15, 0x500000n, 1],
    );
    // The sweep of another client begins anew.
    await say([15, 0x40f000n, 1], [15, 0x52b000n, 1], [15, 0x500000n, 300]);
    expect(existsSync(list)).toBe(false);
    server.stop();
    expect(await server.code()).toBe(0);
    expect(readFileSync(list, 'utf8')).toBe(
      [
        '# pagepipe fault list 1, page size 4096',
        '15 0x500000',
        '16 0x7fff00105000',
        '15 0x405000',
        '15 0x52b000',
        '',
      ].join('\n'),
    );
  });

  it('warns once where others can reach it, and not with certificates', async () => {
    const { path, oracle } = dump();
    const warning = /^pagepipe: warning: whoever reaches 0\.0\.0\.0:0 gets the memory of the dump/;
    const open = new Running(['serve', path, '--listen', '0.0.0.0:0']);
    await visit(new PageClient(connection(await open.port()), 24), oracle);
    await open.prints(/done/);
    expect(open.err).toMatch(warning);
    expect(open.err.match(/warning/g)).toHaveLength(1);
    open.stop();

    const folder = fileURLToPath(new URL('certificates/', import.meta.url));
    const file = (name: string) => join(folder, `${name}.pem`);
    const files = ['--tls-cacert', file('ca'), '--tls-cacrl', file('crl'), '--tls-cert', file('server')];
    const words = ['serve', path, '--listen', '0.0.0.0:0', '--tls', ...files, '--tls-key', file('server-key')];
    const secure = new Running(words);
    const socket = connectTls({
      host: '127.0.0.1',
      port: await secure.port(),
      ca: readFileSync(file('ca')),
      cert: readFileSync(file('client')),
      key: readFileSync(file('client-key')),
    });
    await visit(new PageClient(socket, 32), oracle);
    await secure.prints(/done/);
    expect(secure.err).not.toMatch(/warning/);
  });

  it('serves what is no dump but holds pages, with the page size that it is told', async () => {
    const path = join(tempDir(), 'dump');
    const vmas = [{ start: 0n, end: 1n << 40n, ...ANON }];
    writeDump(path, { tasks: [{ pid: 5, vmas, entries: [{ vaddr: 0x40000n, pages: 3 }] }], pageSize: 16384 });
    const server = serve(path, '--page-size', '16384', '--once');
    const client = new PageClient(connection(await server.port()), 24, 16384);
    client.get(5, 0x40000n, 9);
    expect((await client.answer())?.pages).toBe(3);
    await client.close();
    expect(await server.code()).toBe(0);
  });

  const wrong: [string, string[], RegExp][] = [
    ['no dump', [], /expected DUMP, found nothing/],
    ['two dumps', ['DUMP', 'other'], /expected DUMP, found one more: other/],
    ['no address', ['DUMP', '--listen', 'here'], /--listen: expected HOST:PORT, found "here"/],
    ['no port', ['DUMP', '--listen', '127.0.0.1:70000'], /--listen: expected HOST:PORT, found "127.0.0.1:70000"/],
    ['no address for figures', ['DUMP', '--metrics', 'x'], /--metrics: expected HOST:PORT, found "x"/],
    ['--listen and --stdio', ['DUMP', '--stdio', '--listen', '1'], /expected --listen or --stdio, found both/],
    ['--tls and --stdio', ['DUMP', '--stdio', '--tls', '--tls-cacert', '/dev/null'], /expected --tls without --stdio/],
    ['files without --tls', ['DUMP', '--tls-key', 'x'], /expected --tls with files for it/],
    ['nobody to serve', ['DUMP', '--max-clients', '0'], /--max-clients: expected a whole number from 1 to .*, found 0/],
    ['half a client', ['DUMP', '--max-clients', '1.5'], /--max-clients: expected a whole number .*, found 1.5/],
    ['more patience than there is', ['DUMP', '--idle-timeout', '99999999'], /--idle-timeout: expected a whole number/],
    ['no patience', ['DUMP', '--idle-timeout', '-1'], /--idle-timeout: expected a whole number/],
    ['an odd page size', ['DUMP', '--page-size', '5'], /--page-size: expected 4096, /],
    ['an unknown option', ['DUMP', '--port', '1'], /unknown option --port/],
    ['--stdio with files', ['DUMP', '--stdio'], /--stdio: expected pipes or sockets on stdin and stdout, found a file/],
  ];
  it.each(wrong)('is not used with %s', async (_, words, complaint) => {
    const { path } = dump();
    const { code, stdout, stderr } = await cli(['serve', ...words.map((word) => (word === 'DUMP' ? path : word))]);
    expect(stderr).toMatch(complaint);
    expect({ code, stdout }).toEqual({ code: 2, stdout: '' });
  });

  it('is not used with a terminal', async () => {
    const { path } = dump();
    const { code, stderr } = await cli(['serve', path, '--stdio'], { stdinIsTerminal: true });
    expect({ code, stderr }).toMatchObject({ code: 2, stderr: expect.stringMatching(/found a terminal/) });
  });

  it('fails where there is no dump, no room for the list, no such address, no certificate', async () => {
    const { path } = dump();
    const empty = tempDir();
    const other = createServer().listen(0, '127.0.0.1');
    await once(other, 'listening');
    onTestFinished(() => {
      other.close();
    });
    const { port } = other.address() as { port: number };
    const garbage = join(empty, 'garbage');
    writeFileSync(garbage, 'nothing');
    const failures: [string[], RegExp][] = [
      [[join(empty, 'none')], /none: no such file or directory \(ENOENT\)/],
      [[empty], /expected a dump, found no pagemap of a task/],
      [[path, '--record', join(empty, 'no/list')], /no such file or directory/],
      [[path, '--listen', `127.0.0.1:${port}`], /: address already in use \(EADDRINUSE\)/],
      [[path, '--metrics', `127.0.0.1:${port}`], /: address already in use \(EADDRINUSE\)/],
      [[path, '--tls', '--tls-cacert', join(empty, 'ca')], /ca: no such file or directory/],
      [
        [path, '--tls', '--tls-cacert', garbage, '--tls-cert', garbage, '--tls-key', garbage],
        /expected certificates and a key for TLS/,
      ],
    ];
    for (const [words, complaint] of failures) {
      const { code, stdout, stderr } = await cli(['serve', ...words]);
      expect(stderr).toMatch(complaint);
      expect({ code, stdout }).toEqual({ code: 1, stdout: '' });
    }
  });
});

// ---- As a process ----

/** A process, with what it says on stderr. */
function start(words: readonly string[], program = process.execPath, before: readonly string[] = [BIN]) {
  const child = spawn(program, [...before, ...words], { stdio: ['pipe', 'pipe', 'pipe'] });
  onTestFinished(() => {
    child.kill('SIGKILL');
  });
  const stderr = { text: '' };
  const watchers = new Set<() => void>();
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    stderr.text += text;
    for (const watcher of watchers) watcher();
  });
  child.stdin.on('error', () => {});
  const prints = (what: RegExp): Promise<RegExpExecArray> =>
    new Promise((resolve) => {
      const check = () => {
        const found = what.exec(stderr.text);
        if (found) resolve(found);
      };
      watchers.add(check);
      check();
    });
  return { child, stderr, prints, stdin: child.stdin, stdout: child.stdout };
}

const exitOf = async (child: ChildProcess): Promise<number | string | null> => {
  if (child.exitCode === null && child.signalCode === null) await once(child, 'exit');
  return child.exitCode ?? child.signalCode;
};

describe('serve --stdio', () => {
  const stdio = (path: string, ...words: string[]) => {
    return start(['serve', path, '--stdio', ...words]);
  };

  it('serves one client, to its end', async () => {
    const { path, oracle } = dump();
    const { child, stderr } = stdio(path);
    await visit(new PageClient(child, 32), oracle);
    expect(await exitOf(child)).toBe(0);
    expect(stderr.text).toMatch(/^pagepipe: stdio: done; 316 pages, .*\n$/);
  });

  it('keeps its JSON lines apart from the pages', async () => {
    const { path, oracle } = dump();
    const { child, stderr } = stdio(path, '--json');
    const client = new PageClient(child, 24);
    await visit(client, oracle);
    expect((await client.rest()).length).toBe(0);
    expect(await exitOf(child)).toBe(0);
    expect(JSON.parse(stderr.text)).toMatchObject({ event: 'client', client: 'stdio', closed: true, pages: 316 });
  });

  it('gives the right pages to a slow reader', async () => {
    const { path, oracle } = dump();
    const { child, stdin } = stdio(path);
    const addresses = [...(oracle.get(15)?.keys() ?? [])];
    const gets = Array.from({ length: 600 }, (_, i) => addresses[(i * 7) % addresses.length] as bigint);
    const messages = gets.map((vaddr) => message(24, { command: GET, pages: 1, vaddr, dstId: 15 }));
    stdin.end(Buffer.concat([...messages, message(24, { command: CLOSE })]));
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
    const { path } = dump();
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
      /error: stdin: GET of 1 pages at 0x700000 of pid 15: no such page in the dump\n$/,
    );
    expect(readFileSync(list, 'utf8')).toMatch(/\n15 0x500000\n$/);

    const half = stdio(path);
    half.stdin.end(Buffer.alloc(10));
    expect(await exitOf(half.child)).toBe(1);
    expect(half.stderr.text).toMatch(/error: stdin: 10 bytes of a message, then the end\n$/);
  });

  it('gives up a client that says nothing', async () => {
    const { path } = dump();
    const { child, stderr } = stdio(path, '--idle-timeout', '1');
    expect(await exitOf(child)).toBe(1);
    expect(stderr.text).toMatch(/error: stdin: nothing sent and nothing taken for 1 s\n$/);
  });

  it('stops when it is told to', async () => {
    const { path } = dump();
    const { child } = stdio(path);
    const client = new PageClient(child, 24);
    client.get(15, 0x500000n, 1);
    await client.answer();
    child.kill('SIGTERM');
    expect(await exitOf(child)).toBe(1);
  });
});

describe('serve, told to stop by a signal', () => {
  it.each(['SIGINT', 'SIGTERM'] as const)('ends well at %s, with clients that are still there', async (signal) => {
    const { path } = dump();
    const list = join(tempDir(), 'list');
    const { child, prints, stderr } = start(['serve', path, '--listen', '127.0.0.1:0', '--record', list]);
    const [, port] = await prints(/serving at 127.0.0.1:(\d+)\n/);
    const client = new PageClient(connection(Number(port)), 24);
    client.get(15, 0x500000n, 1);
    await client.answer();
    child.kill(signal);
    expect(await exitOf(child)).toBe(0);
    expect((await client.rest()).length).toBe(0);
    expect(stderr.text).toMatch(/127\.0\.0\.1:\d+: cut off: the server stops; 1 pages, /);
    expect(readFileSync(list, 'utf8')).toMatch(/\n15 0x500000\n$/);
  });
});

describe('connect', () => {
  const node = process.execPath;

  it('lets each client talk to a server of its own, through a command', async () => {
    const { path, oracle } = dump();
    const running = new Running(['connect', '--', node, BIN, 'serve', path, '--stdio']);
    const port = await running.port();
    await Promise.all([1, 2, 3].map(() => visit(new PageClient(connection(port), 32), oracle)));
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
    const running = new Running(['connect', '--once', '--', node, '-e', script, '--', ...words]);
    const client = new PageClient(connection(await running.port()));
    expect(JSON.parse(String(await client.rest()))).toEqual(words);
    expect(await running.code()).toBe(0);
  });

  it('carries what a command says last, whatever the client does', async () => {
    // Ends while its client still talks.
    const script = 'process.stdin.once("data", () => process.stdout.write("x".repeat(300000), () => process.exit(0)))';
    const running = new Running(['connect', '--once', '--', node, '-e', script]);
    const socket = connection(await running.port());
    socket.write(Buffer.alloc(100_000));
    expect((await new PageClient(socket).rest()).length).toBe(300_000);
    socket.write('more');
    expect(await running.code()).toBe(0);
  });

  it('fails with a command that fails or cannot be run', async () => {
    const failures: [string[], RegExp][] = [
      [[node, '-e', 'process.exit(3)'], /ended with exit code 3/],
      [[node, '-e', 'process.kill(process.pid, "SIGKILL")'], /ended with SIGKILL/],
      [['/no/such/program'], /\/no\/such\/program cannot be run: .*ENOENT/],
    ];
    for (const [words, complaint] of failures) {
      const running = new Running(['connect', '--once', '--', ...words]);
      expect((await new PageClient(connection(await running.port())).rest()).length).toBe(0);
      expect(await running.code()).toBe(1);
      expect(running.err).toMatch(complaint);
    }
  });

  it('ends the command of a client that has left', async () => {
    const pidFile = join(tempDir(), 'pid');
    const script = `require("fs").writeFileSync(${JSON.stringify(pidFile)}, String(process.pid)); setInterval(() => process.stdout.write("x"), 1)`;
    const running = new Running(['connect', '--once', '--', node, '-e', script]);
    const socket = connection(await running.port());
    await once(socket, 'readable');
    const pid = Number(readFileSync(pidFile, 'utf8'));
    socket.resetAndDestroy();
    expect(await running.code()).toBe(1);
    for (let alive = true; alive; ) {
      try {
        process.kill(pid, 0);
        await new Promise((resolve) => setImmediate(resolve));
      } catch {
        alive = false;
      }
    }
  });

  it('wants a command', async () => {
    for (const words of [['connect'], ['connect', '--listen', '1'], ['connect', '--']]) {
      const { code, stderr } = await cli(words);
      expect({ code, stderr }).toMatchObject({
        code: 2,
        stderr: expect.stringMatching(/expected a command behind --/),
      });
    }
  });
});
