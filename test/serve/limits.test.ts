/** What a session takes of the machine, and of a dump that changes under it. */
import { mkdirSync, readFileSync, renameSync, utimesSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it, vi } from 'vitest';
import { AddressSpace } from '../../src/memory/space.js';
import { runClient } from '../../src/serve/server.js';
import { Session } from '../../src/serve/session.js';
import { archiveOf } from '../helpers/archives.js';
import { openSource } from '../helpers/dump-files.js';
import { ANON, pageContent, writeDump } from '../helpers/dump-writer.js';
import { bufferBytes } from '../helpers/memory.js';
import { CLOSE, connection, FORMS, GET, message, PageClient, takeAnswers, Wire } from '../helpers/page-client.js';
import { converse, memoryOf, openMemory, startServer } from '../helpers/serving.js';
import { copyFixture, tempDir } from '../helpers/temp.js';

describe('a session reads from the dump', () => {
  /** A dump of one process whose pages file is a hole of so many MiB. */
  function large(mebibytes: number): string {
    const dump = join(tempDir(), 'dump');
    const entries = [{ vaddr: 0x10000n, pages: mebibytes * 256 }];
    writeDump(dump, { tasks: [{ pid: 5, vmas: [{ start: 0n, end: 1n << 40n, ...ANON }], entries }], sparse: true });
    return dump;
  }

  /** Counts the bytes that are read from pages files, and how far they are ahead of those that the client has taken. */
  function countReads(taken: () => number): { bytes: number; ahead: number } {
    const count = { bytes: 0, ahead: 0 };
    const { fill } = AddressSpace.prototype;
    vi.spyOn(AddressSpace.prototype, 'fill').mockImplementation(function (this: AddressSpace, bytes, ...at) {
      count.bytes += bytes.length;
      count.ahead = Math.max(count.ahead, count.bytes - taken());
      fill.call(this, bytes, ...at);
    });
    return count;
  }

  it('no more than the client takes', async () => {
    const memory = openMemory(large(64));
    const wire = new Wire();
    const count = countReads(() => wire.bytesTaken);
    wire.hold();
    const session = new Session(memory, wire);
    const running = runClient(wire, 'wire', () => session.run(), 0);
    // More than one answer's worth, pipelined.
    for (let i = 0; i < 10; i++) {
      wire.receive(message(32, { command: GET, pages: 1024, vaddr: 0x10000n + BigInt(i * 4096), dstId: 5 }));
    }
    await wire.stalled();
    wire.release();
    wire.receive(message(32, { command: CLOSE }));
    expect((await running).closed).toBe(true);
    expect(count.bytes).toBe(10 * 4 * 1024 * 1024);
    // Half a MiB is one piece on its way and one behind it.
    expect(count.ahead).toBeLessThanOrEqual(1024 * 1024);
  });

  it('no more than the sockets hold while the client does not read', async () => {
    const memory = openMemory(large(64));
    let socket: ReturnType<typeof connection> | undefined;
    const count = countReads(() => socket?.bytesRead ?? 0);
    let began = () => {};
    const begun = new Promise<void>((resolve) => {
      began = resolve;
    });
    const { port } = await startServer(memory, {}, (stream) => {
      const write = stream.write.bind(stream) as (...words: unknown[]) => boolean;
      stream.write = (...words: unknown[]) => {
        began();
        return write(...words);
      };
      return new Session(memory, stream).run();
    });
    socket = connection(port);
    const client = new PageClient(socket, 24);
    for (let i = 0; i < 12; i++) client.get(5, 0x10000n, 1024);
    // Until the first answer nothing is read. From then on the server has to wait for the client, answer after answer.
    await begun;
    for (let i = 0; i < 12; i++) expect((await client.answer())?.pages).toBe(1024);
    expect(await client.close()).toBe(0);
    expect(count.bytes).toBe(12 * 4 * 1024 * 1024);
    // What the buffers of both sockets hold, which the kernel lets grow.
    expect(count.ahead).toBeLessThan(32 * 1024 * 1024);
  });

  it.each(FORMS)('little for a GET of 2^40 pages as the first message of %d bytes', async (form) => {
    const memory = openMemory(large(256));
    const wire = new Wire();
    const session = new Session(memory, wire);
    const running = runClient(wire, 'wire', () => session.run(), 0);
    const before = bufferBytes();
    wire.hold();
    const pages = form === 24 ? 2 ** 32 - 1 : 2n ** 40n;
    wire.receive(message(form, { command: GET, pages, vaddr: 0x10000n, dstId: 5, padding: 0xffffffff }));
    await wire.stalled();
    expect(process.memoryUsage().arrayBuffers - before).toBeLessThan(4 * 1024 * 1024);
    wire.release();
    wire.receive(message(form, { command: CLOSE }));
    expect((await running).closed).toBe(true);
    const { answers } = takeAnswers(wire.bytes, form);
    expect(answers.length).toBe(1);
    expect(answers[0]?.pages).toBeGreaterThanOrEqual(1024);
    expect(answers[0]?.pages).toBeLessThanOrEqual(64 * 256);
  });
});

describe('a dump that changes while it is served', () => {
  const get = (vaddr: bigint) => message(32, { command: GET, pages: 1, vaddr, dstId: 5 });
  const dumpOf = (dump: string) => {
    const entries = [{ vaddr: 0x10000n, pages: 8 }];
    writeDump(dump, { tasks: [{ pid: 5, vmas: [{ start: 0n, end: 1n << 40n, ...ANON }], entries }] });
    // Older than the clock of files is coarse.
    utimesSync(join(dump, 'pages-1.img'), 1, 1);
  };

  it.each(['written to', 'cut', 'longer'])('is noticed: pages %s', async (how) => {
    const dump = join(tempDir(), 'dump');
    dumpOf(dump);
    const memory = openMemory(dump);
    expect((await converse(memory, [get(0x10000n)])).end.error).toBe(undefined);
    const file = join(dump, 'pages-1.img');
    const bytes = readFileSync(file);
    writeFileSync(
      file,
      how === 'cut' ? bytes.subarray(0, 4096) : how === 'longer' ? Buffer.concat([bytes, bytes]) : bytes,
    );
    const { end, sent } = await converse(memory, [get(0x11000n)]);
    expect(end.error).toBe('pages-1.img: the file has changed since it was opened');
    expect(sent.length).toBe(0);
  });

  it('is noticed before anybody has asked for a page', async () => {
    const dir = tempDir();
    const dump = join(dir, 'dump');
    dumpOf(dump);
    const memory = openMemory(dump);
    renameSync(dump, join(dir, 'old'));
    dumpOf(dump);
    const { end } = await converse(memory, [get(0x10000n)]);
    expect(end.error).toBe('pagemap-5.img: the file has changed since it was opened');
  });

  it('is noticed in the parent, too', async () => {
    const dump = copyFixture('chain/mprotect00/3', tempDir());
    const oracle = memoryOf(dump, join(dump, '../2'), join(dump, '../1'));
    const memory = openMemory(dump);
    const file = join(dump, '../1/pages-1.img');
    writeFileSync(file, readFileSync(file).fill(1));
    const [[pid, pages]] = [...oracle] as [[number, Map<bigint, Uint8Array>]];
    const answers = [...pages.keys()].map(async (vaddr) => {
      const { end } = await converse(memory, [message(24, { command: GET, pages: 1, vaddr, dstId: pid })]);
      return end.error;
    });
    const errors = new Set(await Promise.all(answers));
    expect(errors).toContain('pages-1.img: the file has changed since it was opened');
  });

  it.each(['written to', 'cut', 'longer'])('is noticed in an archive, by everybody: %s', async (how) => {
    const dir = tempDir();
    dumpOf(join(dir, 'dump'));
    const archive = archiveOf(join(dir, 'dump'), join(dir, 'tar'));
    utimesSync(archive, 1, 1);
    const memory = openMemory(await openSource(archive));
    const [first, second] = [new Wire(), new Wire()];
    const running = [first, second].map((wire) => runClient(wire, 'wire', () => new Session(memory, wire).run(), 0));
    first.receive(get(0x10000n));
    await first.hasTaken(4096);
    const { end, sent } = await converse(memory, [get(0x12000n)]);
    expect(end.error).toBe(undefined);
    expect(takeAnswers(sent, 32).answers[0]?.bytes.equals(pageContent('pagemap-5.img', 0x12000n))).toBe(true);
    const bytes = readFileSync(archive);
    writeFileSync(
      archive,
      how === 'cut' ? bytes.subarray(0, 4096) : how === 'longer' ? Buffer.concat([bytes, bytes]) : bytes,
    );
    for (const wire of [first, second]) wire.receive(get(0x11000n));
    const ends = [...(await Promise.all(running)), (await converse(memory, [get(0x10000n)])).end];
    const changed = `${archive}: the file has changed since it was opened`;
    expect(ends.map(({ error, closed }) => [error, closed])).toEqual(ends.map(() => [changed, false]));
    expect(takeAnswers(first.bytes, 32).answers).toHaveLength(1);
    expect(second.bytes).toHaveLength(0);
  });

  it('is served as it was if another one took its place', async () => {
    const dir = tempDir();
    const dump = join(dir, 'dump');
    dumpOf(dump);
    const memory = openMemory(dump);
    expect((await converse(memory, [get(0x10000n)])).end.error).toBe(undefined);
    renameSync(dump, join(dir, 'old'));
    mkdirSync(dump);
    const { end, sent } = await converse(memory, [get(0x11000n)]);
    expect(end.error).toBe(undefined);
    expect(takeAnswers(sent, 32).answers[0]?.bytes.equals(pageContent('pagemap-5.img', 0x11000n))).toBe(true);
  });

  it('is noticed if a file took the place of one that is no longer open', async () => {
    const dump = join(tempDir(), 'dump');
    const tasks = Array.from({ length: 70 }, (_, i) => ({
      pid: 5 + i,
      vmas: [{ start: 0n, end: 1n << 40n, ...ANON }],
      entries: [{ vaddr: 0x10000n, pages: 2 }],
    }));
    writeDump(dump, { tasks });
    const memory = openMemory(dump);
    const gets = tasks.map(({ pid }) => message(32, { command: GET, pages: 1, vaddr: 0x10000n, dstId: pid }));
    expect((await converse(memory, gets)).end.error).toBe(undefined);
    const file = join(dump, 'pages-1.img');
    writeFileSync(`${file}.new`, readFileSync(file));
    renameSync(`${file}.new`, file);
    expect((await converse(memory, gets)).end.error).toBe('pages-1.img: the file has changed since it was opened');
  });
});
