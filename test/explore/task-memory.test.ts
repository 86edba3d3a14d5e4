/** The memory of processes, page by page against an oracle that takes dumps apart by hand. */
import { cpSync, readdirSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeEach, describe, expect, it } from 'vitest';
import { type MemoryPiece, type MemorySpan, TaskMemories, type TaskMemory } from '../../src/explore/task-memory.js';
import { directory, sourceFiles } from '../helpers/dump-files.js';
import {
  ANON,
  type EntrySpec,
  Message,
  PE,
  pageContent,
  readMemory,
  STATUS,
  writeDump,
} from '../helpers/dump-writer.js';
import { fixture, tempDir } from '../helpers/temp.js';
import { type AreaSpec, FIELD, file, image, mm, regularFile, TYPE } from './images.js';

let dump: string;
beforeEach(() => {
  dump = join(tempDir(), 'dump');
});

const ADDRESS = 4096n;

/** All stored pages by address, from the pieces that a walk gives. */
function pagesOf(pieces: Iterable<MemoryPiece>): Map<bigint, Buffer> {
  const pages = new Map<bigint, Buffer>();
  for (const { pageNumber, pages: count, bytes } of pieces) {
    if (!bytes) continue;
    expect(bytes.length).toBe(count * 4096);
    for (let i = 0; i < count; i++) {
      pages.set(BigInt(pageNumber + i) * ADDRESS, Buffer.from(bytes.subarray(i * 4096, (i + 1) * 4096)));
    }
  }
  return pages;
}

/** Names of the pages that differ. */
function differences(found: Map<bigint, Buffer>, expected: ReadonlyMap<bigint, Uint8Array>): string[] {
  const addresses = new Set([...found.keys(), ...expected.keys()]);
  return [...addresses]
    .filter((address) => !found.get(address)?.equals(expected.get(address) ?? new Uint8Array(0)))
    .map((address) => address.toString(16));
}

const memoryOf = (path: string, pid: number): TaskMemory => {
  const memory = new TaskMemories(directory(path)).of(pid);
  if (!memory) throw new Error(`${pid} is a zombie`);
  return memory;
};

/** Spans in areas as text: `10-12 stored 0`. */
const text = ({ pageNumber, pages, state, area, at }: MemorySpan): string =>
  `${pageNumber.toString(16)}-${(pageNumber + pages).toString(16)} ${state}${state === 'parent' && !at ? '?' : ''} ${area}`;
const inAreas = (memory: TaskMemory): string[] => [...memory.spans()].filter(({ area }) => area >= 0).map(text);

/** One process, whose areas have all fields; its own pages and those of segments have the content of the writer. */
function oneProcess(areas: AreaSpec[], entries: EntrySpec[], more: Record<string, Uint8Array> = {}, shmem = {}): void {
  const segments = Object.entries(shmem).map(([id, entries]) => ({ id: Number(id), entries: entries as EntrySpec[] }));
  writeDump(dump, { tasks: [{ pid: 7, entries }], shmem: segments });
  const images = { 'mm-7.img': image('MM', [mm(1, areas)]), ...more };
  for (const [name, bytes] of Object.entries(images)) writeFileSync(join(dump, name), bytes);
}

describe('the memory of a process', () => {
  it.each(['mosaic-criu-4.1.1', 'mosaic-criu-4.2.1', 'family-criu-4.2.1', 'compressed-criu-4.3/raw'])(
    'has every page of %s, in areas',
    (name) => {
      const expected = readMemory(fixture(name));
      const memories = new TaskMemories(directory(fixture(name)));
      for (const pid of memories.pids) {
        const memory = memories.of(pid);
        if (!memory) continue;
        const own = expected.get(`pagemap-${pid}.img`) as Map<bigint, Uint8Array>;
        const isShared = ({ area }: MemorySpan) => area >= 0 && memory.area(area).segment !== undefined;
        const [shared, rest] = [new Map<bigint, Buffer>(), new Map<bigint, Buffer>()];
        for (const piece of memory.read()) {
          expect(piece.bytes === undefined || piece.area >= 0).toBe(true);
          for (const [address, bytes] of pagesOf([piece])) (isShared(piece) ? shared : rest).set(address, bytes);
        }
        expect(differences(rest, own)).toEqual([]);
        const segments = [...expected.keys()].filter((pagemap) => pagemap.startsWith('pagemap-shmem-'));
        expect(shared.size).toBe(segments.reduce((sum, pagemap) => sum + (expected.get(pagemap)?.size ?? 0), 0));
      }
      for (const segment of memories.segments()) {
        const pages = expected.get(`pagemap-shmem-${segment.id}.img`) as Map<bigint, Uint8Array>;
        expect(differences(pagesOf(segment.read()), pages)).toEqual([]);
      }
    },
  );

  it.each(['page', 'region64k-aligned', 'region256k'])('reads compressed blocks: %s', (name) => {
    const path = fixture(`compressed-criu-4.3/${name}`);
    const memories = new TaskMemories(directory(path));
    const [pid = 0] = memories.pids;
    const plain = pagesOf(memoryOf(fixture('compressed-criu-4.3/raw'), pid).read());
    expect(plain.size).toBe(89);
    for (const pieceBytes of [4096, 5 * 4096, 2 ** 20]) {
      const pages = pagesOf(memories.of(pid)?.read(0, 2 ** 52, pieceBytes) ?? []);
      expect(differences(pages, plain)).toEqual([]);
    }
  });

  it.each(['mprotect00', 'socket_queues'])('reads parents of parents: %s', (name) => {
    const [pre, second, last] = ['1', '2', '3'].map((level) => readMemory(fixture(`chain/${name}/${level}`)));
    const memories = new TaskMemories(directory(fixture(`chain/${name}/3`)));
    for (const pid of memories.pids) {
      const memory = memories.of(pid) as TaskMemory;
      const spans = [...memory.spans()];
      expect(spans.some(({ state }) => state === 'parent')).toBe(true);
      const pages = pagesOf(memory.read());
      for (const address of pages.keys()) {
        if (memory.area(memory.areas.at(Number(address / ADDRESS))).segment) pages.delete(address);
      }
      const pagemap = `pagemap-${pid}.img`;
      const expected = new Map([...pages.keys()].map((address) => [address, newest(pagemap, address)]));
      expect(differences(pages, expected)).toEqual([]);
      expect(pages.size).toBeGreaterThan(0);
    }
    function newest(pagemap: string, address: bigint): Uint8Array {
      const [page] = [last, second, pre].flatMap((level) => level?.get(pagemap)?.get(address) ?? []);
      return page ?? new Uint8Array(0);
    }
  });

  it('is the same in an archive, of which the pages are held', async () => {
    const files = await sourceFiles(fixture('podman/counter.tar.gz'), { pages: 'hold' });
    const memories = new TaskMemories(files);
    const [pid = 0] = memories.pids;
    const [, second] = [...(memories.of(pid)?.read() ?? [])].filter(({ bytes }) => bytes);
    expect(second?.state).toBe('stored');
    expect(pagesOf(memories.of(pid)?.read() ?? []).size).toBeGreaterThan(64);
  });

  it('says what is where: stored, lazy, zero, of a file, absent', () => {
    oneProcess(
      [
        { start: 0x10000n, end: 0x14000n },
        {
          start: 0x14000n,
          end: 0x18000n,
          flags: 2,
          status: STATUS.REGULAR | STATUS.FILE_PRIVATE,
          shmid: 4n,
          pgoff: 0x3000n,
        },
        { start: 0x20000n, end: 0x22000n, status: STATUS.REGULAR | STATUS.VVAR },
        { start: 0x12000n, end: 0x13000n, status: STATUS.GUARD | STATUS.ANON_PRIVATE },
      ],
      [
        { vaddr: 0x11000n, pages: 4 },
        { vaddr: 0x16000n, pages: 1, flags: PE.LAZY },
        { vaddr: 0x1f000n, pages: 1 },
      ],
      { 'files.img': image('FILES', [file(TYPE.REG, 4, FIELD.reg, regularFile(4, '/lib/libc.so'))]) },
    );
    const memory = memoryOf(dump, 7);
    expect([...memory.spans(0x10, 0x12)].map(text)).toEqual([
      '10-11 zero 0',
      '11-14 stored 0',
      '14-15 stored 1',
      '15-16 file 1',
      '16-17 lazy 1',
      '17-18 file 1',
      '18-1f absent -1',
      '1f-20 stored -1',
      '20-22 absent 2',
    ]);
    expect(memory.area(1)).toMatchObject({
      start: 0x14,
      end: 0x18,
      prot: 3,
      kind: 'file-private',
      file: { id: 4, path: '/lib/libc.so', pageOffset: 3 },
    });
    expect([memory.areas.at(0x13), memory.areas.at(0x18), memory.areas.at(0x21), memory.areas.at(0x22)]).toEqual([
      0, -1, 2, -1,
    ]);
    // A range that begins and ends inside of a span.
    expect([...memory.spans(0x12, 3)].map(text)).toEqual(['12-14 stored 0', '14-15 stored 1']);
    expect([...memory.spans(0x12, 0)]).toEqual([]);
  });

  it('reads the last page of the address space', () => {
    const start = 0xffffffffff600000n;
    oneProcess(
      [{ start, end: start + 0x1000n, status: STATUS.REGULAR | STATUS.VSYSCALL }],
      [{ vaddr: start, pages: 1 }],
    );
    expect(pagesOf(memoryOf(dump, 7).read()).get(start)).toEqual(Buffer.from(pageContent('pagemap-7.img', start)));
  });

  it('follows shared memory to its segment: of a memfd, anonymous and of System V', () => {
    const own = [{ vaddr: 0x31000n, pages: 1 }];
    const memfd = new Message().field(1, 'cache').int(2, 0).int(3, 0).int(4, 0x9000).int(5, 44).int(6, 0).int(7, 5);
    oneProcess(
      [
        { start: 0x10000n, end: 0x13000n, flags: 0x21, status: STATUS.REGULAR | STATUS.ANON_SHARED, shmid: 11n },
        { start: 0x20000n, end: 0x22000n, flags: 1, status: STATUS.REGULAR | (1 << 10), shmid: 22n, pgoff: 0x1000n },
        { start: 0x30000n, end: 0x34000n, flags: 2, status: (1 << 6) | (1 << 14), shmid: 9n, pgoff: 0x2000n },
        { start: 0x40000n, end: 0x41000n, flags: 1, status: (1 << 7) | (1 << 14), shmid: 10n },
        { start: 0x50000n, end: 0x51000n, flags: 0x21, status: STATUS.ANON_SHARED, shmid: 99n },
      ],
      own,
      {
        'files.img': image('FILES', [
          new Message()
            .int(1, 20)
            .int(2, 9)
            .field(20, new Message().int(1, 9).int(2, 0).int(3, 0).field(4, fown()).int(5, 5)),
        ]),
        'memfd.img': Buffer.concat([words(0x54564319, 0x48453499), words(memfd.finish().length), memfd.finish()]),
      },
      {
        11: [{ vaddr: 0x1000n, pages: 1 }],
        22: [{ vaddr: 0x1000n, pages: 2 }],
        44: [{ vaddr: 0x2000n, pages: 3 }],
      },
    );
    const memories = new TaskMemories(directory(dump));
    const memory = memories.of(7) as TaskMemory;
    expect(inAreas(memory)).toEqual([
      '10-11 zero 0',
      '11-12 stored 0',
      '12-13 zero 0',
      '20-22 stored 1',
      '30-31 stored 2',
      // A private mapping has changed this page.
      '31-32 stored 2',
      '32-33 stored 2',
      '33-34 zero 2',
      '40-41 absent 3',
      '50-51 absent 4',
    ]);
    const content = (id: number, address: bigint) => Buffer.from(pageContent(`pagemap-shmem-${id}.img`, address));
    const pages = pagesOf(memory.read());
    expect(pages.get(0x11000n)).toEqual(content(11, 0x1000n));
    expect(pages.get(0x21000n)).toEqual(content(22, 0x2000n));
    expect(pages.get(0x30000n)).toEqual(content(44, 0x2000n));
    expect(pages.get(0x31000n)).toEqual(Buffer.from(pageContent('pagemap-7.img', 0x31000n)));
    expect(pages.get(0x32000n)).toEqual(content(44, 0x4000n));
    expect([0, 1, 2, 3, 4].map((index) => memory.area(index).segment?.id)).toEqual([11, 22, 44, undefined, 99]);
    expect(memories.segments().map(({ id, name, pages: count }) => [id, name, count])).toEqual([
      [11, undefined, 2],
      [22, undefined, 3],
      [44, 'cache', 9],
    ]);
    expect(pagesOf(memories.segments()[2]?.read() ?? []).size).toBe(3);
  });

  it('has pages that a parent should have, but does not', () => {
    const entries = [{ vaddr: 0x10000n, pages: 2, flags: PE.PARENT }];
    oneProcess([{ start: 0x10000n, end: 0x13000n }], entries);
    expect(inAreas(memoryOf(dump, 7))).toEqual(['10-12 parent? 0', '12-13 zero 0']);
    // The parent has another process.
    const parent = join(tempDir(), 'parent');
    writeDump(parent, { tasks: [{ pid: 8, entries: [] }] });
    symlinkSync(parent, join(dump, 'parent'));
    expect(inAreas(memoryOf(dump, 7))).toEqual(['10-12 parent? 0', '12-13 zero 0']);
    // And only one of the pages.
    rmSync(parent, { recursive: true });
    writeDump(parent, { tasks: [{ pid: 7, entries: [{ vaddr: 0x11000n, pages: 1 }] }] });
    expect(inAreas(memoryOf(dump, 7))).toEqual(['10-11 parent? 0', '11-12 parent 0', '12-13 zero 0']);
    // A chain may lead in circles.
    rmSync(join(dump, 'parent'));
    symlinkSync('nowhere', join(dump, 'parent'));
    expect(inAreas(memoryOf(dump, 7))).toEqual(['10-12 parent? 0', '12-13 zero 0']);
  });

  it('can be looked at without its pages', () => {
    cpSync(fixture('mosaic-criu-4.2.1'), dump, { recursive: true });
    const whole = inAreas(memoryOf(dump, 15));
    for (const name of readdirSync(dump)) if (name.startsWith('pages-')) rmSync(join(dump, name));
    const memory = memoryOf(dump, 15);
    expect(inAreas(memory)).toEqual(whole);
    expect(() => [...memory.read()]).toThrow(/pages-\d\.img/);
  });

  it('refuses areas that overlap or end before they begin', () => {
    oneProcess(
      [
        { start: 0x10000n, end: 0x13000n },
        { start: 0x12000n, end: 0x14000n },
      ],
      [],
    );
    expect(() => memoryOf(dump, 7)).toThrow(
      'mm-7.img: expected an area of at least a page from 0x13000 on, found 0x12000-0x14000',
    );
    oneProcess([{ start: 0x10000n, end: 0x10000n }], []);
    expect(() => memoryOf(dump, 7)).toThrow(/found 0x10000-0x10000/);
    oneProcess([{ start: 0x10001n, end: 0x12000n }], []);
    expect(() => memoryOf(dump, 7)).toThrow(/not aligned to 4096 bytes/);
  });

  it('sorts areas', () => {
    oneProcess(
      [
        { start: 0x20000n, end: 0x21000n, status: STATUS.REGULAR | STATUS.HEAP | STATUS.ANON_PRIVATE },
        { start: 0x10000n, end: 0x12000n },
      ],
      [{ vaddr: 0x11000n, pages: 1 }],
    );
    const memory = memoryOf(dump, 7);
    expect(inAreas(memory)).toEqual(['10-11 zero 0', '11-12 stored 0', '20-21 zero 1']);
    expect([memory.area(0).kind, memory.area(1).kind]).toEqual(['anon', 'heap']);
  });

  it('reads many short runs with few reads, and long ones in pieces', () => {
    const entries = Array.from({ length: 600 }, (_, i) => ({ vaddr: BigInt(0x100000 + i * 0x2000), pages: 1 }));
    entries.push({ vaddr: 0x1000000n, pages: 600 });
    writeDump(dump, { tasks: [{ pid: 7, vmas: [{ start: 0x100000n, end: 0x2000000n, ...ANON }], entries }] });
    const files = directory(dump);
    let reads = 0;
    const readSome = files.readSome.bind(files);
    files.readSome = (name, buffer, position) => {
      reads += name.startsWith('pages-') ? 1 : 0;
      return readSome(name, buffer, position);
    };
    const memory = new TaskMemories(files).of(7) as TaskMemory;
    const own = readMemory(dump).get('pagemap-7.img') as Map<bigint, Uint8Array>;
    expect(differences(pagesOf(memory.read()), own)).toEqual([]);
    expect(reads).toBeLessThan(20);
    const sizes = [...memory.read(0x1000, 0x1000, 2 ** 19)].map(({ bytes }) => bytes?.length ?? 0);
    expect(Math.max(...sizes)).toBe(2 ** 19);
    expect(
      differences(pagesOf(memory.read(0x1000, 0x1000, 1)), new Map([...own].filter(([at]) => at >= 0x1000000n))),
    ).toEqual([]);
  });

  it('has no memory for a zombie, and none without an mm image', () => {
    const memories = new TaskMemories(directory(fixture('family-criu-4.2.1')));
    expect(memories.pids.map((pid) => memories.of(pid) === undefined)).toEqual([false, false, false, true]);
    oneProcess([], []);
    rmSync(join(dump, 'mm-7.img'));
    expect(() => memoryOf(dump, 7)).toThrow(/mm-7.img/);
  });
});

const fown = (): Message => new Message().int(1, 0).int(2, 0).int(3, 0).int(4, 0).int(5, 0);
const words = (...values: number[]): Buffer => Buffer.from(Uint32Array.from(values).buffer);
