/** Dumps to serve, what must come out of them, and a server in this process. */
import { readdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, onTestFinished } from 'vitest';
import type { DumpFiles } from '../../src/dump/files.js';
import { DumpMemory, type DumpMemoryOptions } from '../../src/serve/memory.js';
import { type ClientEnd, listen, runClient, type Serve, type ServerOptions } from '../../src/serve/server.js';
import { Session } from '../../src/serve/session.js';
import { directory } from './dump-files.js';
import {
  ANON,
  compressed,
  type DumpSpec,
  type EntrySpec,
  FILE,
  image,
  type Message,
  PE,
  pageContent,
  pagemapEntry,
  readMemory,
  readPagemap,
  writeDump,
} from './dump-writer.js';
import { type PageClient, Wire } from './page-client.js';
import { tempDir } from './temp.js';

/** Two processes, entries of every state, holes between them. */
export function served(generation: DumpSpec['generation'], pagesPerBlock?: number): DumpSpec {
  // CRIU 2 knew no lazy pages.
  const lazy = generation === '2.x' ? PE.PRESENT : PE.PRESENT | PE.LAZY;
  const area = (start: bigint, pages: number, kind: typeof ANON | typeof FILE) => ({
    start,
    end: start + BigInt(pages) * 4096n,
    ...kind,
  });
  const entries = (base: bigint): EntrySpec[] => [
    { vaddr: base, pages: 5 },
    { vaddr: base + 0x5000n, pages: 9, flags: lazy, zeroPages: [3, 4, 5, 6] },
    // A hole of one page, one page, a hole of many.
    { vaddr: base + 0xf000n, pages: 1, flags: lazy },
    { vaddr: base + 0x100000n, pages: 300, flags: lazy },
    { vaddr: base + 0x22c000n, pages: 3 },
  ];
  return {
    ...(generation === undefined ? {} : { generation }),
    ...(pagesPerBlock === undefined ? {} : { pagesPerBlock }),
    tasks: [
      { pid: 15, vmas: [area(0x400000n, 1024, ANON)], entries: entries(0x400000n) },
      { pid: 16, vmas: [area(0x7fff_0000_0000n, 1024, FILE)], entries: entries(0x7fff_0000_0000n) },
      { pid: 17, dead: true },
    ],
    shmem: [{ id: 9, entries: [{ vaddr: 0n, pages: 2 }] }],
  };
}

/** Pages by pid and address. */
export type Oracle = Map<number, Map<bigint, Uint8Array>>;

/** The memory of tasks by pid and address, worked out by hand through the dumps of a chain, newest first. */
export function memoryOf(...dumps: string[]): Oracle {
  const pageSize = 4096;
  const levels = dumps.map((dump) => readMemory(dump, pageSize));
  const tasks = new Map<number, Map<bigint, Uint8Array>>();
  for (const pagemap of readdirSync(dumps[0] as string)) {
    const pid = Number(/^pagemap-(\d+)\.img$/.exec(pagemap)?.[1] ?? 0);
    if (!pid) continue;
    const pages = new Map(levels[0]?.get(pagemap));
    for (const { vaddr, pages: count, flags } of readPagemap(join(dumps[0] as string, pagemap)).entries) {
      for (let i = 0; flags & PE.PARENT && i < count; i++) {
        const address = vaddr + BigInt(i * pageSize);
        const page = levels.slice(1).find((level) => level.get(pagemap)?.has(address));
        pages.set(address, page?.get(pagemap)?.get(address) as Uint8Array);
      }
    }
    tasks.set(pid, pages);
  }
  return tasks;
}

/** What must answer a request: the stored pages at its beginning. */
export function pagesAt(pages: Map<bigint, Uint8Array> | undefined, vaddr: bigint, most: number, pageSize = 4096) {
  const found: Uint8Array[] = [];
  for (let page: Uint8Array | undefined; found.length < most; found.push(page)) {
    page = pages?.get(vaddr + BigInt(found.length * pageSize));
    if (!page) break;
  }
  return Buffer.concat(found);
}

/** Turns a dump of one task into one whose pages stand in LZ4 blocks, some raw and some of zeros alone. */
export function compressPages(dump: string, pid: number, pagesPerBlock: number): Map<bigint, Uint8Array> {
  const name = `pagemap-${pid}.img`;
  const { head, pagesId, entries } = readPagemap(join(dump, name));
  const memory = new Map<bigint, Uint8Array>();
  const messages: (Message | Uint8Array)[] = [head];
  const parts: Uint8Array[] = [];
  for (const { vaddr, pages, flags } of entries) {
    const plain = Buffer.concat(
      Array.from({ length: pages }, (_, i) => {
        const address = vaddr + BigInt(i * 4096);
        // Three kinds of pages: text that shrinks, noise that does not, zeros.
        const kind = Math.floor(i / pagesPerBlock) % 3;
        const text = Buffer.alloc(4096, `page ${address} of the process; `);
        const page = kind === 0 ? text : kind === 1 ? pageContent(name, address) : new Uint8Array(4096);
        memory.set(address, page);
        return page;
      }),
    );
    const blocks = compressed(plain, pagesPerBlock);
    if (blocks.isAligned) parts.push(new Uint8Array(-Buffer.concat(parts).length & 4095));
    parts.push(...blocks.stored);
    messages.push(pagemapEntry({ vaddr, pages, flags }, { generation: '4.3', pageSize: 4096 }, blocks));
  }
  writeFileSync(join(dump, name), image('PAGEMAP', messages));
  writeFileSync(join(dump, `pages-${pagesId}.img`), Buffer.concat(parts));
  return memory;
}

/** Leaves of a dump nothing but pagemaps and pages: a cold directory. */
export function makeCold(dump: string): void {
  for (const name of readdirSync(dump)) {
    if (!/^(pagemap|pages)-/.test(name) && name !== 'parent') rmSync(join(dump, name));
  }
}

/** The memory of a dump, closed with the test. */
export function openMemory(dump: string | DumpFiles, options: DumpMemoryOptions = {}): DumpMemory {
  const memory = new DumpMemory(typeof dump === 'string' ? directory(dump, { guard: true }) : dump, options);
  onTestFinished(() => memory.close());
  return memory;
}

/** One session with all it was sent and has sent, without a network. */
export async function converse(
  memory: DumpMemory,
  chunks: readonly Uint8Array[],
): Promise<{ end: ClientEnd; sent: Buffer; session: Session }> {
  const wire = new Wire();
  const session = new Session(memory, wire);
  for (const chunk of chunks) wire.receive(chunk);
  wire.push(null);
  const end = await runClient(wire, 'wire', () => session.run(), 0);
  return { end, sent: wire.bytes, session };
}

export interface TestServer {
  port: number;
  /** Of the clients that have gone, in their order. */
  ends: ClientEnd[];
  /** Resolves when so many clients have gone. */
  ended(count: number): Promise<ClientEnd[]>;
  stop(): void;
  /** Resolves when the server has stopped. */
  finished: Promise<void>;
}

/** A server on a free port, stopped with the test. Its clients are served as `serve` does it, without streams. */
export async function startServer(
  memory: DumpMemory,
  options: Partial<ServerOptions> = {},
  serve: Serve = (stream) => new Session(memory, stream).run(),
): Promise<TestServer> {
  const controller = new AbortController();
  const ends: ClientEnd[] = [];
  const watchers = new Set<() => void>();
  let finished: Promise<void> = Promise.resolve();
  const port = await new Promise<number>((resolve, reject) => {
    finished = listen(
      {
        address: { host: '127.0.0.1', port: 0 },
        maxClients: 64,
        idleSeconds: 0,
        isDirect: true,
        isLast: () => false,
        signal: controller.signal,
        ...options,
      },
      serve,
      {
        onListening: (address) => resolve(address.port),
        onEnd: (end) => {
          ends.push(end);
          for (const watcher of watchers) watcher();
        },
      },
    );
    finished.catch(reject);
  });
  onTestFinished(async () => {
    controller.abort();
    await finished.catch(() => {});
  });
  return {
    port,
    ends,
    finished,
    stop: () => controller.abort(),
    ended: (count) =>
      new Promise((resolve) => {
        const check = () => {
          if (ends.length < count) return;
          watchers.delete(check);
          resolve(ends);
        };
        watchers.add(check);
        check();
      }),
  };
}

/** A dump of some processes, the memory to serve it from, and what must come out. */
export function servedDump(): { path: string; memory: DumpMemory; oracle: Oracle } {
  const path = join(tempDir(), 'dump');
  writeDump(path, served('4.2'));
  return { path, memory: openMemory(path), oracle: memoryOf(path) };
}

/** Fetches all of a process, with requests of so many pages in flight. */
export async function drain(client: PageClient, pid: number, oracle: Oracle, step: number): Promise<number> {
  const pages = oracle.get(pid) as Map<bigint, Uint8Array>;
  const starts: bigint[] = [];
  let next = 0n;
  for (const vaddr of pages.keys()) {
    if (vaddr < next) continue;
    next = vaddr + BigInt(pagesAt(pages, vaddr, step).length);
    starts.push(vaddr);
    client.get(pid, vaddr, step);
  }
  let total = 0;
  for (const vaddr of starts) {
    const answer = await client.answer();
    expect(answer?.vaddr).toBe(vaddr);
    expect(answer?.bytes.equals(pagesAt(pages, vaddr, step))).toBe(true);
    total += answer?.pages ?? 0;
  }
  expect(total).toBe(pages.size);
  return total;
}

/** Some requests of each kind, and the end. */
export async function visit(client: PageClient, oracle: Oracle): Promise<void> {
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
