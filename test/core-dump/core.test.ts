/** Whole cores, read by another reader: their memory against that of the dump, and what has a program header. */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import fc from 'fast-check';
import { beforeEach, describe, expect, it } from 'vitest';
import { Core, type CoreOptions } from '../../src/core-dump/core.js';
import { countSection, ELF64, elfHeader } from '../../src/core-dump/elf.js';
import { writeCore } from '../../src/core-dump/write.js';
import { Images } from '../../src/dump/images.js';
import { TaskMemories, type TaskMemory } from '../../src/explore/task-memory.js';
import { type AreaSpec, FIELD, file, image, mm, regularFile, TYPE } from '../explore/images.js';
import { directory } from '../helpers/dump-files.js';
import {
  ANON,
  type DumpSpec,
  type EntrySpec,
  MAP,
  mmImage,
  PE,
  pageContent,
  STATUS,
  writeDump,
} from '../helpers/dump-writer.js';
import { anyDump } from '../helpers/random-dumps.js';
import { fixture, tempDir } from '../helpers/temp.js';
import { ElfReader } from './elf-reader.js';
import { type CoreSpec, coreMessage, x86Info } from './registers.js';

let dump: string;
beforeEach(() => {
  dump = join(tempDir(), 'dump');
});

function layOut(path: string, pid: number, options: CoreOptions = {}): Core {
  const files = directory(path);
  return new Core(new Images(files), new TaskMemories(files), pid, options);
}

/** A core as it is written, with sizes that were said beforehand. */
async function coreOf(path: string, pid: number, options: CoreOptions = {}): Promise<{ bytes: Buffer; core: Core }> {
  const core = layOut(path, pid, options);
  const pieces: Uint8Array[] = [];
  await writeCore(core, { write: (piece) => void pieces.push(piece.slice()) });
  const bytes = Buffer.concat(pieces);
  expect(bytes.length).toBe(core.bytes);
  return { bytes, core };
}

const elfOf = async (...args: Parameters<typeof coreOf>): Promise<ElfReader> =>
  new ElfReader((await coreOf(...args)).bytes);

/** A dump whose processes have registers. */
function writeWithCores(spec: DumpSpec, core: CoreSpec = {}): void {
  writeDump(dump, spec);
  for (const { pid, dead } of spec.tasks) {
    if (!dead) writeFileSync(join(dump, `core-${pid}.img`), image('CORE', [coreMessage(core)]));
  }
}

function oneProcess(
  areas: AreaSpec[],
  entries: EntrySpec[],
  more: Record<string, Uint8Array> = {},
  { core, ...spec }: Partial<DumpSpec> & { core?: CoreSpec } = {},
): void {
  writeWithCores({ ...spec, tasks: [{ pid: 7, entries }] }, core);
  const images = { 'mm-7.img': image('MM', [mm(1, areas)]), ...more };
  for (const [name, bytes] of Object.entries(images)) writeFileSync(join(dump, name), bytes);
}

/** Each page of the areas: what the dump says of it, against what the core has. */
function expectSameMemory(elf: ElfReader, memory: TaskMemory): void {
  const size = memory.pageSize;
  const { areas } = memory;
  const wrong: string[] = [];
  let last = 0n;
  for (const { address, memoryBytes, fileBytes, offset, align } of elf.segments) {
    const isWhole = fileBytes === 0 || fileBytes === memoryBytes;
    if (address < last || offset % size !== 0 || align !== size || !isWhole)
      wrong.push(`segment ${address.toString(16)}`);
    last = address + BigInt(memoryBytes);
  }
  for (let area = 0; area < areas.length; area++) {
    const start = areas.starts[area] as number;
    for (const { pageNumber, pages, state, bytes } of memory.read(start, (areas.ends[area] as number) - start)) {
      // Of a hole of any size its first and last page.
      for (let i = 0; i < pages; i += bytes ? 1 : Math.max(1, pages - 1)) {
        const address = BigInt(pageNumber + i) * BigInt(size);
        const found = elf.at(address, size);
        const expected = bytes ? bytes.subarray(i * size, (i + 1) * size) : Buffer.alloc(size);
        const isSame = state === 'lazy' ? found === undefined : found?.equals(expected);
        if (!isSame) wrong.push(`page ${address.toString(16)}`);
      }
    }
  }
  expect(wrong).toEqual([]);
}

const SOURCES = [
  'family-criu-4.2.1',
  'mosaic-criu-4.1.1',
  'compressed-criu-4.3/region64k-aligned',
  'chain/mprotect00/3',
];

describe('the memory in a core', () => {
  it.each(SOURCES)('is that of the dump: %s', async (name) => {
    const memories = new TaskMemories(directory(fixture(name)));
    for (const pid of memories.pids) {
      const memory = memories.of(pid);
      if (memory) expectSameMemory(await elfOf(fixture(name), pid), memory);
    }
  });

  it('is that of any dump', async () => {
    await fc.assert(
      fc.asyncProperty(anyDump, async (spec) => {
        dump = join(tempDir(), 'dump');
        writeWithCores(spec);
        const memories = new TaskMemories(directory(dump));
        for (const pid of memories.pids) {
          const memory = memories.of(pid);
          if (memory) expectSameMemory(await elfOf(dump, pid, { incomplete: true }), memory);
        }
      }),
      { numRuns: 60 },
    );
  });
});

/** An mm image of areas of one page, each behind a page of nothing. */
const manyAreas = (count: number): Uint8Array =>
  mmImage(
    Array.from({ length: count }, (_, i) => {
      const start = BigInt(i + 1) << 13n;
      return { start, end: start + 4096n, ...ANON };
    }),
  );

/** Segments as text: start, end, access, whether they have bytes. */
const segmentsOf = (elf: ElfReader): string[] =>
  elf.segments.map(({ address, memoryBytes, fileBytes, flags }) => {
    const access = [flags & 4 ? 'r' : '-', flags & 2 ? 'w' : '-', flags & 1 ? 'x' : '-'].join('');
    return `${address.toString(16)}-${(address + BigInt(memoryBytes)).toString(16)} ${access}${fileBytes > 0 ? ' stored' : ''}`;
  });

const LIBC = { 'files.img': image('FILES', [file(TYPE.REG, 4, FIELD.reg, regularFile(4, '/lib/libc.so'))]) };
const mapped = (start: bigint, end: bigint, prot: number, pgoff = 0n): AreaSpec => ({
  start,
  end,
  prot,
  pgoff,
  flags: MAP.PRIVATE,
  status: STATUS.REGULAR | STATUS.FILE_PRIVATE,
  shmid: 4n,
});

describe('the program headers', () => {
  it('follow areas and what is stored; guards have none, and pages outside of areas', async () => {
    oneProcess(
      [
        { start: 0x10000n, end: 0x40000n },
        mapped(0x40000n, 0x44000n, 5, 0x3000n),
        mapped(0x44000n, 0x46000n, 1, 0x7000n),
        { start: 0x50000n, end: 0x52000n, prot: 1, status: STATUS.REGULAR | STATUS.VVAR },
        { start: 0x30000n, end: 0x31000n, status: STATUS.GUARD },
        { start: 0xffffffffff600000n, end: 0xffffffffff601000n, prot: 4, status: STATUS.VSYSCALL },
      ],
      [
        { vaddr: 0x11000n, pages: 2 },
        { vaddr: 0x3f000n, pages: 2 },
        { vaddr: 0x43000n, pages: 2 },
        { vaddr: 0x60000n, pages: 1 },
      ],
      LIBC,
    );
    expect(segmentsOf(await elfOf(dump, 7))).toEqual([
      '10000-11000 rw-',
      '11000-13000 rw- stored',
      '13000-3f000 rw-',
      '3f000-40000 rw- stored',
      '40000-41000 r-x stored',
      '41000-43000 r-x',
      '43000-44000 r-x stored',
      '44000-45000 r-- stored',
      '45000-46000 r--',
      '50000-52000 r--',
      'ffffffffff600000-ffffffffff601000 --x',
    ]);
  });

  it('are few where pages and zeros alternate, and at most half of what is stored is such zeros', async () => {
    const entries = [
      { vaddr: 0x10000n, pages: 1 },
      { vaddr: 0x12000n, pages: 3 },
      { vaddr: 0x18000n, pages: 20 },
    ];
    oneProcess([{ start: 0x10000n, end: 0x80000n }], [...entries, { vaddr: 0x3c000n, pages: 1 }]);
    expect(segmentsOf(await elfOf(dump, 7))).toEqual([
      '10000-2c000 rw- stored',
      '2c000-3c000 rw-',
      '3c000-3d000 rw- stored',
      '3d000-80000 rw-',
    ]);
  });

  it('may be more than 65,535', async () => {
    const layout = { elf: ELF64, machine: 62, pageSize: 4096, noteBytes: 0 };
    // With the notes there are 65,534, which the ELF header can say.
    const most = Buffer.from(elfHeader({ ...layout, segments: 65_533 }));
    expect([
      most.readUInt16LE(56),
      most.readUInt16LE(60),
      countSection({ ...layout, segments: 65_533 }).length,
    ]).toEqual([65_534, 0, 0]);
    oneProcess([], [{ vaddr: 65_534n << 13n, pages: 1 }], { 'mm-7.img': manyAreas(65_534) });
    const { bytes } = await coreOf(dump, 7);
    expect([bytes.readUInt16LE(56), bytes.readUInt16LE(58), bytes.readUInt16LE(60)]).toEqual([0xffff, 64, 1]);
    const elf = new ElfReader(bytes);
    expect(elf.segments).toHaveLength(65_534);
    const last = 65_534n << 13n;
    expect(elf.at(last, 4096)?.equals(pageContent('pagemap-7.img', last))).toBe(true);
  });

  it('leave out shared memory that is in no pagemap, and have what is', async () => {
    const shared = (start: bigint, shmid: bigint): AreaSpec => ({
      start,
      end: start + 0x3000n,
      flags: MAP.SHARED | MAP.ANON,
      status: STATUS.REGULAR | STATUS.ANON_SHARED,
      shmid,
      pgoff: 0x1000n,
    });
    oneProcess(
      [shared(0x10000n, 11n), shared(0x20000n, 12n)],
      [],
      {},
      {
        shmem: [{ id: 11, entries: [{ vaddr: 0x2000n, pages: 1 }] }],
      },
    );
    const { bytes, core } = await coreOf(dump, 7);
    const elf = new ElfReader(bytes);
    expect(segmentsOf(elf)).toEqual(['10000-11000 rw-', '11000-13000 rw- stored']);
    expect(core.amounts).toEqual({ stored: 8192, holes: 4096, missing: 0, unknown: 12288 });
    const [segment] = [...(new TaskMemories(directory(dump)).segment(11)?.read(2, 1) ?? [])];
    expect(elf.at(0x11000n, 4096)?.equals(segment?.bytes ?? Buffer.alloc(0))).toBe(true);
  });
});

describe('pages that are not in the dump', () => {
  it.each([
    { what: 'lazy ones', entry: { vaddr: 0x11000n, pages: 2, flags: PE.LAZY } },
    { what: 'those of a parent that is not there', entry: { vaddr: 0x11000n, pages: 2, flags: PE.PARENT } },
  ])('are refused, or have no program header: $what', async ({ entry }) => {
    oneProcess([{ start: 0x10000n, end: 0x14000n }], [entry]);
    expect(() => layOut(dump, 7)).toThrow(
      expect.objectContaining({ code: 'PARTIAL_DUMP', message: '2 pages of process 7 are not in the dump' }),
    );
    const { bytes, core } = await coreOf(dump, 7, { incomplete: true });
    expect(segmentsOf(new ElfReader(bytes))).toEqual(['10000-11000 rw-', '13000-14000 rw-']);
    expect(core.amounts.missing).toBe(8192);
  });
});

describe('the notes of a process', () => {
  it('come first those of the process, then its threads, its auxiliary vector and its files', async () => {
    oneProcess([mapped(0x40000n, 0x44000n, 5, 0x3000n), mapped(0x50000n, 0x51000n, 1)], [], {
      ...LIBC,
      'mm-7.img': image('MM', [
        mm(1, [
          mapped(0x40000n, 0x44000n, 5, 0x3000n),
          { start: 0x45000n, end: 0x46000n },
          mapped(0x50000n, 0x51000n, 1),
        ])
          .int(13, 6)
          .int(13, 4096),
      ]),
    });
    const { notes } = await elfOf(dump, 7);
    expect(notes.map(({ name, type }) => `${name} ${type.toString(16)}`)).toEqual([
      'CORE 3',
      'CORE 1',
      'CORE 2',
      'CORE 53494749',
      'CORE 6',
      'CORE 46494c45',
    ]);
    const words = [2n, 4096n, 0x40000n, 0x44000n, 3n, 0x50000n, 0x51000n, 0n];
    const names = Buffer.from('/lib/libc.so\0/lib/libc.so\0');
    expect(notes.at(-1)?.data).toEqual(Buffer.concat([Buffer.from(BigUint64Array.from(words).buffer), names]));
  });

  it('have the arguments from memory, across pages', async () => {
    const text = 'the-program\0--an-option\0';
    const at = 0x12000 - 5;
    oneProcess(
      [{ start: 0x10000n, end: 0x14000n }],
      [{ vaddr: 0x11000n, pages: 2 }],
      {},
      {
        content: (_, address) => {
          const page = new Uint8Array(4096);
          for (const [i, byte] of Buffer.from(text).entries()) {
            const place = at + i - Number(address);
            if (place >= 0 && place < 4096) page[place] = byte;
          }
          return page;
        },
      },
    );
    const areas = mm(1, [{ start: 0x10000n, end: 0x14000n }])
      .int(8, at)
      .int(9, at + text.length);
    writeFileSync(join(dump, 'mm-7.img'), image('MM', [areas]));
    const note = (await elfOf(dump, 7)).note(3);
    expect(note?.data.toString('latin1', 56, 136)).toBe('the-program --an-option'.padEnd(80, '\0'));
  });

  it('are those of i386 for a 32-bit process, whose core has 32 bits', async () => {
    oneProcess(
      [
        mapped(0x8048000n, 0x804a000n, 5),
        { start: 0xffff_e000n, end: 0x1_0000_0000n },
        { start: 0xffffffffff600000n, end: 0xffffffffff601000n },
      ],
      [{ vaddr: 0xffff_f000n, pages: 1 }],
      LIBC,
      { core: { info: x86Info({ mode: 2 }) } },
    );
    const elf = await elfOf(dump, 7);
    expect([elf.isWide, elf.machine]).toEqual([false, 3]);
    expect(segmentsOf(elf)).toEqual(['8048000-804a000 r-x', 'ffffe000-fffff000 rw-', 'fffff000-100000000 rw- stored']);
    const words = Uint32Array.of(1, 4096, 0x8048000, 0x804a000, 0);
    expect(elf.note(0x46494c45)?.data).toEqual(
      Buffer.concat([Buffer.from(words.buffer), Buffer.from('/lib/libc.so\0')]),
    );
  });

  it('are those of aarch64, with its page size', async () => {
    oneProcess([mapped(0x40000n, 0x60000n, 5, 0x10000n)], [{ vaddr: 0x50000n, pages: 1 }], LIBC, {
      march: 3,
      pageSize: 65536,
      core: { march: 3 },
    });
    const elf = await elfOf(dump, 7);
    expect([elf.isWide, elf.machine]).toEqual([true, 183]);
    expect(segmentsOf(elf)).toEqual(['40000-50000 r-x', '50000-60000 r-x stored']);
    expect(elf.note(0x46494c45)?.data.readBigUInt64LE(8)).toBe(65536n);
    expect(elf.note(0x46494c45)?.data.readBigUInt64LE(32)).toBe(1n);
  });
});

it('names no file of which the dump has no path', async () => {
  oneProcess([{ ...mapped(0x40000n, 0x44000n, 5), shmid: 5n }], [], LIBC);
  expect((await elfOf(dump, 7)).note(0x46494c45)).toBeUndefined();
});
