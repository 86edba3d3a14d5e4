import {
  closeSync,
  existsSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { connect as connectTls } from 'node:tls';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import { cli } from '../helpers/cli.js';
import { image, Message } from '../helpers/dump-writer.js';
import { expectError } from '../helpers/expect-error.js';
import { expectEvents, jsonLines } from '../helpers/json-schema.js';
import { ADD_F, connection, FORMS, type Form, message, PageClient } from '../helpers/page-client.js';
import { exitOf, Running, start } from '../helpers/running.js';
import {
  add,
  conversation,
  dst,
  filesIn,
  filesOf,
  open,
  PAGE,
  PARENT,
  type SentSpace,
  SHMEM,
  SPACES,
  sorted,
} from '../helpers/sent-dump.js';
import { tempDir } from '../helpers/temp.js';
import { Timeouts } from '../helpers/timeouts.js';

/** Sends a whole dump as CRIU does, waiting for its answers; resolves to the status. */
async function dumpTo(
  output: { write(bytes: Uint8Array): unknown },
  client: PageClient,
  spaces: readonly SentSpace[] = SPACES,
): Promise<number> {
  for (const space of spaces) {
    output.write(open(client.form, space));
    expect(await client.read(1)).toEqual(Buffer.alloc(1));
    for (const entry of space.entries) for (const bytes of add(client.form, space, entry)) output.write(bytes);
  }
  return client.close();
}

/** A client on a port that sends all of a dump. */
function dumpToPort(port: number, form: Form = 32): Promise<number> {
  const socket = connection(port);
  return dumpTo(socket, new PageClient(socket, form));
}

const receiveAt = (words: string[], options = {}) =>
  new Running(['receive', ...words, '--listen', '127.0.0.1:0'], options);

const NEVER =
  'never restore this directory without --lazy-pages: its lazy pages are not in it, and CRIU would spin forever, or restore a process that computes on zeros';

describe('receive', () => {
  it.each(FORMS)('takes a dump of %d bytes a message, says so, and ends', async (form) => {
    const dir = tempDir();
    const running = receiveAt([join(dir, 'out')]);
    const port = await running.port();
    expect(await dumpToPort(port, form)).toBe(0);
    expect(await running.code()).toBe(0);
    expect(sorted(filesIn(join(dir, 'out')))).toEqual(sorted(filesOf(form, SPACES)));
    expect(readdirSync(dir)).toEqual(['out']);
    expect(running.out).toBe('');
    const lines = [
      `pagepipe: listening at 127\\.0\\.0\\.1:${port}`,
      'pagepipe: 127\\.0\\.0\\.1:\\d+: received 12 pages, 49152 bytes of 3 address spaces in [\\d.]+ s',
      `pagepipe: warning: ${join(dir, 'out')}: ${NEVER}`,
    ];
    expect(running.err).toMatch(new RegExp(`^${lines.join('\\n')}\\n$`));
  });

  it('prints JSON lines', async () => {
    const running = receiveAt([join(tempDir(), 'out'), '--json']);
    const [, first] = await running.prints(/^(.*)\n/, 'out');
    const { event, host, port } = JSON.parse(first as string);
    expect({ event, host }).toEqual({ event: 'listening', host: '127.0.0.1' });
    const wrong = message(32, { command: ADD_F, flags: 4, pages: 3, dstId: dst(1) });
    await new PageClient(connection(port).end(wrong), 32).rest();
    await running.prints(/expected OPEN2 or CLOSE/, 'out');
    expect(await dumpToPort(port)).toBe(0);
    expect(await running.code()).toBe(0);
    expectEvents('receive', running.out, ['listening', 'client', 'received']);
    expect(jsonLines(running.out)[2]).toMatchObject({
      spaces: 3,
      runs: 6,
      pages: 12,
      bytes: 49152,
    });
  });

  it('has one client at a time', async () => {
    const out = join(tempDir(), 'out');
    const running = receiveAt([out]);
    const port = await running.port();
    const socket = connection(port);
    const first = new PageClient(socket, 24);
    first.send({ command: PARENT, dstId: dst(1) });
    expect(await first.read(4)).toEqual(Buffer.alloc(4));
    const second = new PageClient(connection(port), 24);
    expect((await second.rest()).length).toBe(0);
    await running.prints(/turned away/);
    expect(await dumpTo(socket, first)).toBe(0);
    expect(await running.code()).toBe(0);
  });

  it('waits for the next one after connections that begin no dump', async () => {
    const dir = tempDir();
    const running = receiveAt([join(dir, 'out')]);
    const port = await running.port();
    const scan = async (bytes: Uint8Array) => {
      const client = new PageClient(connection(port).end(bytes), 32);
      expect((await client.rest()).length).toBe(0);
    };
    connection(port);
    await scan(new Uint8Array(0));
    await scan(Buffer.from('GET / HTTP/1.1\r\nHost: me\r\n\r\n'));
    await scan(Buffer.alloc(100, 0xff));
    await scan(message(32, { command: ADD_F, flags: 4, pages: 3, dstId: dst(1) }));
    await running.prints(/expected OPEN2 or CLOSE, found ADD_F of 0x101\n/);
    expect(await dumpToPort(port)).toBe(0);
    expect(await running.code()).toBe(0);
    expect(sorted(filesIn(join(dir, 'out')))).toEqual(sorted(filesOf(32, SPACES)));
  });

  type Socket = ReturnType<typeof connection>;
  const CUT = 'expected 8192 more bytes of pages, found the end of the connection';
  const BROKEN = 'the dump did not arrive completely: the connection broke';
  it.each([
    ['leaves', (client: Socket) => client.end(), [CUT]],
    // Whether the reset overtakes the bytes before it is up to the kernel.
    ['breaks off', (client: Socket) => client.resetAndDestroy(), [CUT, BROKEN]],
    [
      'falls silent',
      (_: Socket, timeouts: Timeouts) => timeouts.expire(),
      ['the dump did not arrive completely: nothing sent and nothing taken for 1 s'],
    ],
    [
      'talks nonsense',
      (client: Socket) => client.write(Buffer.alloc(8192 + 32, 9)),
      ['expected a command of a dump, found 0x909'],
    ],
  ])('leaves nothing of a client that %s', async (_, end, complaints) => {
    const dir = tempDir();
    const timeouts = new Timeouts();
    const running = receiveAt([join(dir, 'out'), '--idle-timeout', '1']);
    const port = await running.port();
    const socket = connection(port);
    const client = new PageClient(socket, 32);
    socket.write(open(32, SPACES[0] as SentSpace));
    await client.read(1);
    expect(timeouts.set).toEqual([1000]);
    const name = `127.0.0.1:${socket.localPort}`;
    socket.write(message(32, { command: ADD_F, flags: 4, pages: 3, dstId: dst(0x12a, SHMEM) }));
    socket.write(Buffer.alloc(PAGE), () => end(socket, timeouts));
    void client.rest();
    expect(await running.code()).toBe(1);
    const [listening, error, ...more] = running.err.split('\n');
    expect(listening).toBe(`pagepipe: listening at 127.0.0.1:${port}`);
    expect(complaints.map((complaint) => `pagepipe: error: ${name}: ${complaint}`)).toContain(error);
    expect(more).toEqual(['']);
    expect(readdirSync(dir)).toEqual([]);
  });

  it('does not answer CLOSE where the dump cannot be put in its place', async () => {
    const dir = tempDir();
    const out = join(dir, 'out');
    const running = receiveAt([out]);
    const socket = connection(await running.port());
    mkdirSync(out);
    writeFileSync(join(out, 'inventory.img'), '');
    await expect(dumpTo(socket, new PageClient(socket, 32))).rejects.toThrow('a status of 0 bytes');
    expect(await running.code()).toBe(1);
    expect(running.err.split('\n').slice(1)).toEqual([`pagepipe: error: ${out}: directory not empty (ENOTEMPTY)`, '']);
    expect(readdirSync(dir)).toEqual(['out']);
    expect(readdirSync(out)).toEqual(['inventory.img']);
  });

  it('refuses a place that is taken before anybody comes, unless it may replace it', async () => {
    const dir = tempDir();
    const out = join(dir, 'out');
    mkdirSync(out);
    writeFileSync(join(out, 'inventory.img'), '');
    const refused = await cli(['receive', out, '--listen', '127.0.0.1:0']);
    expect(refused.code).toBe(1);
    expect(refused.stderr).toBe(
      `pagepipe: error: ${out}: expected a new or empty directory, found files in it\n` +
        'pagepipe: hint: use --force to replace it\n',
    );
    const running = receiveAt([out, '--force']);
    expect(await dumpToPort(await running.port())).toBe(0);
    expect(await running.code()).toBe(0);
    expect(existsSync(join(out, 'other'))).toBe(false);
    expect(readdirSync(dir)).toEqual(['out']);
  });

  it('leaves nothing where it cannot listen', async () => {
    const dir = tempDir();
    const first = receiveAt([join(dir, 'out')]);
    const port = await first.port();
    const second = await cli(['receive', join(dir, 'second'), '--listen', `127.0.0.1:${port}`]);
    expect(second.code).toBe(75);
    expect(second.stderr).toBe(`pagepipe: error: 127.0.0.1:${port}: address already in use (EADDRINUSE)\n`);
    expect(await dumpToPort(port)).toBe(0);
    await first.code();
    expect(readdirSync(dir)).toEqual(['out']);
  });

  it('warns once where others may reach it', async () => {
    const dir = tempDir();
    const running = new Running(['receive', join(dir, 'out'), '--listen', '0.0.0.0:0']);
    expect(await dumpToPort(await running.port())).toBe(0);
    await running.code();
    expect(running.err.match(/^.*can connect.*$/gm)).toEqual([
      'pagepipe: warning: everybody who can connect to 0.0.0.0:0 can send a dump; --tls requires certificates',
    ]);
  });

  it('links to the parent dump', async () => {
    const dir = tempDir();
    mkdirSync(join(dir, '1'));
    writeFileSync(join(dir, '1/pagemap-1000.img'), image('PAGEMAP', [new Message().int(1, 1)]));
    const running = receiveAt([join(dir, '2'), '--prev-images-dir', '../1']);
    const socket = connection(await running.port());
    const client = new PageClient(socket, 32);
    socket.write(open(32, SPACES[1] as SentSpace));
    expect(await client.read(1)).toEqual(Buffer.of(1));
    expect(await client.close()).toBe(0);
    expect(await running.code()).toBe(0);
    expect(readlinkSync(join(dir, '2/parent'))).toBe('../1');
    expect(running.err).not.toContain('parent');
    const none = await cli(['receive', join(dir, '3'), '--prev-images-dir', '../0', '--listen', '127.0.0.1:0']);
    expect(none.code).toBe(1);
    expect(none.stderr).toBe(`pagepipe: error: ${join(dir, '0')}: the directory of the previous dump does not exist\n`);
    expect(readdirSync(dir).sort()).toEqual(['1', '2']);
  });

  it('asks for certificates', async () => {
    const folder = fileURLToPath(new URL('../serve/certificates/', import.meta.url));
    const file = (name: string) => join(folder, `${name}.pem`);
    const words = ['--tls', '--tls-cacert', file('ca'), '--tls-cert', file('server'), '--tls-key', file('server-key')];
    const out = join(tempDir(), 'out');
    const running = receiveAt([out, ...words]);
    const port = await running.port();
    const secure = (name: string) => {
      const pem = (what: string) => readFileSync(file(what));
      const socket = connectTls({ host: '127.0.0.1', port, ca: pem('ca'), cert: pem(name), key: pem(`${name}-key`) });
      socket.on('error', () => {});
      return socket;
    };
    // Who is not let in does not end it.
    secure('stranger');
    await running.prints(/: TLS: .*\n/);
    const socket = secure('client');
    expect(await dumpTo(socket, new PageClient(socket, 32))).toBe(0);
    expect(await running.code()).toBe(0);
    expect(sorted(filesIn(out))).toEqual(sorted(filesOf(32, SPACES)));
  });

  it.each([
    [['receive'], 'expected OUT, found nothing'],
    [['receive', 'a', 'b'], 'expected OUT, found one more: b'],
    [['receive', 'a', '--listen', 'here'], '--listen: expected HOST:PORT, found "here"'],
    [['receive', 'a', '--page-size', '5'], '--page-size: expected 4096, 8192, 16384, 32768, 65536, found 5'],
    [['receive', '-', '--stdio'], '--stdio: OUT must be a directory, because the answers go to stdout'],
    [['receive', '-', '--force'], '--force: OUT must be a directory'],
    [['receive', '-', '--prev-images-dir', '../1'], '--prev-images-dir: OUT must be a directory'],
    [['receive', '-'], 'refusing to write binary data to a terminal; pipe it, or send it to a file'],
  ])('refuses %j', async (words, complaint) => {
    const { code, stderr } = await cli(words as string[], { stdoutIsTerminal: true });
    expect([code, stderr]).toEqual([2, `pagepipe: ${complaint}\npagepipe: hint: pagepipe receive --help\n`]);
  });
});

describe('receive -', () => {
  /** A stream of the dump in a file. */
  async function streamTo(file: string, form: Form): Promise<void> {
    const stdoutFd = openSync(file, 'w');
    const running = receiveAt(['-', '--json'], { stdoutFd });
    const [, first] = await running.prints(/^(.*)\n/);
    expect(await dumpToPort(JSON.parse(first as string).port, form)).toBe(0);
    expect(await running.code()).toBe(0);
    closeSync(stdoutFd);
  }

  it.each(FORMS)('is a stream that becomes the same dump, or a small one: %d bytes a message', async (form) => {
    const dir = tempDir();
    const at = (name: string) => join(dir, name);
    await streamTo(at('stream'), form);
    expect((await cli(['write', at('out')], { stdin: at('stream') })).code).toBe(0);
    expect(sorted(filesIn(at('out')))).toEqual(sorted(filesOf(form, SPACES)));
    const small = SPACES.map((space) => ({
      ...space,
      entries: space.entries.map((entry) => ({ ...entry, flags: entry.flags === 6 ? 2 : entry.flags })),
    }));
    for (const stages of ['filter --drop lazy | rebuild', 'classify | filter --drop lazy | rebuild']) {
      expect((await cli(['run', stages], { stdin: at('stream'), stdout: at('small.stream') })).code).toBe(0);
      expect((await cli(['write', at('small'), '--force'], { stdin: at('small.stream') })).code).toBe(0);
      expect(sorted(filesIn(at('small')))).toEqual(sorted(filesOf(form, small)));
    }
  });

  it('is cut where the dump is, and its reader knows', async () => {
    const dir = tempDir();
    const stdoutFd = openSync(join(dir, 'stream'), 'w');
    const running = receiveAt(['-'], { stdoutFd });
    const socket = connection(await running.port());
    socket.end(conversation(32, SPACES).subarray(0, -40));
    expect(await running.code()).toBe(1);
    closeSync(stdoutFd);
    expectError(
      await cli(['write', join(dir, 'out')], { stdin: join(dir, 'stream') }),
      'stdin@0xc1ab: expected more frames and an end, found the end of the input: the stream was cut',
    );
    expect(readdirSync(dir)).toEqual(['stream']);
  });

  it('fails when its reader leaves, and so does the dump', async () => {
    const { child, stderr, prints } = start(['receive', '-', '--listen', '127.0.0.1:0']);
    const [, port] = await prints(/listening at [\d.]+:(\d+)\n/);
    child.stdout.destroy();
    const socket = connection(Number(port));
    const client = new PageClient(socket, 32);
    socket.write(conversation(32, SPACES.slice(0, 2)));
    // The answers of the two pagemaps at the most.
    expect((await client.rest()).length).toBeLessThan(4);
    expect(await exitOf(child)).toBe(1);
    expect(stderr.text.split('\n').slice(1)).toEqual([
      'pagepipe: error: stdout: the reader exited before the end of the dump (EPIPE)',
      '',
    ]);
  });
});

describe('receive as a process', () => {
  it('takes a dump from stdin and answers on stdout', async () => {
    const dir = tempDir();
    const { child, stderr } = start(['receive', join(dir, 'out'), '--stdio']);
    expect(await dumpTo(child.stdin, new PageClient(child, 24))).toBe(0);
    expect(await exitOf(child)).toBe(0);
    expect(stderr.text).toMatch(
      new RegExp(
        `^pagepipe: stdio: received 12 pages, 49152 bytes of 3 address spaces in [\\d.]+ s\npagepipe: warning: ${join(dir, 'out')}: ${NEVER}\n$`,
      ),
    );
    expect(sorted(filesIn(join(dir, 'out')))).toEqual(sorted(filesOf(24, SPACES)));
  });

  it('leaves nothing of half a dump from stdin', async () => {
    const dir = tempDir();
    const { child, stderr } = start(['receive', join(dir, 'out'), '--stdio']);
    child.stdin.end(conversation(24, SPACES).subarray(0, 10_000));
    expect(await exitOf(child)).toBe(1);
    expect(stderr.text).toBe(
      'pagepipe: error: stdin: expected 2336 more bytes of pages, found the end of the connection\n',
    );
    expect(readdirSync(dir)).toEqual([]);
  });

  it.each([
    ['SIGINT', 130, false],
    ['SIGTERM', 143, true],
  ] as const)('leaves nothing at %s', async (signal, code, connected) => {
    const dir = tempDir();
    const { child, prints } = start(['receive', join(dir, 'out'), '--listen', '127.0.0.1:0']);
    const [, port] = await prints(/listening at [\d.]+:(\d+)\n/);
    if (connected) {
      const socket = connection(Number(port));
      socket.write(open(32, SPACES[0] as SentSpace));
      await new PageClient(socket, 32).read(1);
    }
    child.kill(signal);
    expect(await exitOf(child)).toBe(code);
    expect(readdirSync(dir)).toEqual([]);
  });
});
