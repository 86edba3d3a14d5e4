/** `serve` as it is started: what it prints, writes down and complains of. */
import { once } from 'node:events';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { connect as connectTls } from 'node:tls';
import { fileURLToPath } from 'node:url';
import { describe, expect, it, onTestFinished } from 'vitest';
import { cli } from '../helpers/cli.js';
import { ANON, writeDump } from '../helpers/dump-writer.js';
import { expectError } from '../helpers/expect-error.js';
import { expectEvents, jsonLines } from '../helpers/json-schema.js';
import { connection, PageClient } from '../helpers/page-client.js';
import { exitOf, Running, start } from '../helpers/running.js';
import { servedDump, visit } from '../helpers/serving.js';
import { tempDir } from '../helpers/temp.js';

const serve = (...words: string[]) => new Running(['serve', ...words, '--listen', '127.0.0.1:0']);

/** The line of a client that made the usual visit. */
const DONE = String.raw`pagepipe: 127\.0\.0\.1:\d+: done; 316 pages, 1294336 bytes in 4 requests \(2 faults, 2 background\), \d+\.\d\d s, answers p50 \d+ µs, p99 \d+ µs`;

describe('serve', () => {
  it('says where it is, has a line for each client, and stops when it is told to', async () => {
    const { path, oracle } = servedDump();
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
    const lines = [
      `pagepipe: serving at 127.0.0.1:${port}`,
      DONE,
      'pagepipe: 127.0.0.1:\\d+: GET of 1 page at 0x400000 of pid 4711: no such process in the dump',
      'pagepipe: 127.0.0.1:\\d+: left without closing its session',
    ];
    expect(server.err).toMatch(new RegExp(`^${lines.join('\\n')}\\n$`));
  });

  it('prints JSON lines', async () => {
    const { path, oracle } = servedDump();
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
    expectEvents('serve', server.out, ['listening', 'client', 'client']);
    const [, failed, done] = jsonLines<Record<'seconds' | 'answerP50' | 'answerP99', number>>(server.out);
    expect(failed).toMatchObject({
      event: 'client',
      closed: false,
      error: 'GET of 1 page at 0x700000 of pid 15: no such page in the dump',
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
    const { path, oracle } = servedDump();
    const { stderr, child } = start(['serve', path, '--json', '--listen', '127.0.0.1:0']);
    const [first] = await once(child.stdout, 'data');
    child.stdout.destroy();
    await visit(new PageClient(connection(JSON.parse(String(first)).port), 24), oracle);
    expect(await exitOf(child)).toBe(0);
    expect(stderr.text).toBe('');
  });

  it('ends with --once after a client that closes, and not after others', async () => {
    const { path, oracle } = servedDump();
    const server = serve(path, '--once');
    const port = await server.port();
    const leaving = connection(port);
    leaving.on('connect', () => leaving.end());
    await server.prints(/left without/);
    await visit(new PageClient(connection(port), 32), oracle);
    expect(await server.code()).toBe(0);
    const lines = [
      `pagepipe: serving at 127.0.0.1:${port}`,
      'pagepipe: 127.0.0.1:\\d+: left without closing its session',
      DONE,
    ];
    expect(server.err).toMatch(new RegExp(`^${lines.join('\\n')}\\n$`));
  });

  it('has figures for Prometheus', async () => {
    const { path, oracle } = servedDump();
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
    const { path } = servedDump();
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
    const { path, oracle } = servedDump();
    const open = new Running(['serve', path, '--listen', '0.0.0.0:0']);
    const port = await open.port();
    await visit(new PageClient(connection(port), 24), oracle);
    await open.prints(/done.*\n/);
    const lines = [
      'pagepipe: warning: everybody who can connect to 0.0.0.0:0 can read the memory of the dump; --tls requires certificates',
      `pagepipe: serving at 0.0.0.0:${port}`,
      DONE,
    ];
    expect(open.err).toMatch(new RegExp(`^${lines.join('\\n')}\\n$`));
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

  const wrong: [what: string, words: string[], complaint: string][] = [
    ['no dump', [], 'expected DUMP, found nothing'],
    ['two dumps', ['DUMP', 'other'], 'expected DUMP, found one more: other'],
    ['no address', ['DUMP', '--listen', 'here'], '--listen: expected HOST:PORT, found "here"'],
    ['no port', ['DUMP', '--listen', '127.0.0.1:70000'], '--listen: expected HOST:PORT, found "127.0.0.1:70000"'],
    ['no address for figures', ['DUMP', '--metrics', 'x'], '--metrics: expected HOST:PORT, found "x"'],
    ['--listen and --stdio', ['DUMP', '--stdio', '--listen', '1'], '--listen and --stdio exclude each other'],
    [
      '--tls and --stdio',
      ['DUMP', '--stdio', '--tls', '--tls-cacert', '/dev/null'],
      '--tls and --stdio exclude each other: with --stdio the other end does the encryption',
    ],
    ['files without --tls', ['DUMP', '--tls-key', 'x'], 'files for TLS need --tls'],
    [
      'nobody to serve',
      ['DUMP', '--max-clients', '0'],
      '--max-clients: expected a whole number from 1 to 2147483647, found 0',
    ],
    [
      'half a client',
      ['DUMP', '--max-clients', '1.5'],
      '--max-clients: expected a whole number from 1 to 2147483647, found 1.5',
    ],
    [
      'more patience than there is',
      ['DUMP', '--idle-timeout', '99999999'],
      '--idle-timeout: expected a whole number from 0 to 2000000, found 99999999',
    ],
    [
      'no patience',
      ['DUMP', '--idle-timeout', '-1'],
      '--idle-timeout: expected a whole number from 0 to 2000000, found -1',
    ],
    [
      'an odd page size',
      ['DUMP', '--page-size', '5'],
      '--page-size: expected 4096, 8192, 16384, 32768, 65536, found 5',
    ],
    ['an unknown option', ['DUMP', '--port', '1'], 'unknown option --port'],
    ['--stdio with files', ['DUMP', '--stdio'], '--stdio: stdin or stdout is a file, not a pipe or socket'],
  ];
  it.each(wrong)('is not used with %s', async (_, words, complaint) => {
    const { path } = servedDump();
    const { code, stdout, stderr } = await cli(['serve', ...words.map((word) => (word === 'DUMP' ? path : word))]);
    expect(stderr).toBe(`pagepipe: ${complaint}\npagepipe: hint: pagepipe serve --help\n`);
    expect({ code, stdout }).toEqual({ code: 2, stdout: '' });
  });

  it('is not used with a terminal', async () => {
    const { path } = servedDump();
    const { code, stderr } = await cli(['serve', path, '--stdio'], { stdinIsTerminal: true });
    expect([code, stderr]).toEqual([
      2,
      'pagepipe: --stdio: stdin or stdout is a terminal; pagepipe connect is the other end\n' +
        'pagepipe: hint: pagepipe serve --help\n',
    ]);
  });

  it('fails where there is no dump, no room for the list, no such address, no certificate', async () => {
    const { path } = servedDump();
    const empty = tempDir();
    const other = createServer().listen(0, '127.0.0.1');
    await once(other, 'listening');
    onTestFinished(() => {
      other.close();
    });
    const { port } = other.address() as { port: number };
    const garbage = join(empty, 'garbage');
    writeFileSync(garbage, 'nothing');
    const none = 'no such file or directory (ENOENT)';
    const inUse = `127.0.0.1:${port}: address already in use (EADDRINUSE)`;
    const failures: [string[], string | RegExp][] = [
      [[join(empty, 'none')], `${join(empty, 'none')}: ${none}`],
      [[empty], `${empty}: expected a dump, found no pagemap of a task`],
      [[path, '--record', join(empty, 'no/list')], `${join(empty, 'no/list')}: ${none}`],
      [[path, '--listen', `127.0.0.1:${port}`], inUse],
      [[path, '--metrics', `127.0.0.1:${port}`], inUse],
      [[path, '--tls', '--tls-cacert', join(empty, 'ca')], `${join(empty, 'ca')}: ${none}`],
      [
        [path, '--tls', '--tls-cacert', garbage, '--tls-cert', garbage, '--tls-key', garbage],
        /^expected certificates and a key for TLS: error:[0-9A-F]+:[\w -]+::[\w ]+$/,
      ],
    ];
    for (const [words, complaint] of failures) {
      // A port may be free later.
      const exit = complaint === inUse ? 75 : 1;
      expectError(await cli(['serve', ...words]), complaint, undefined, exit);
    }
  });
});
