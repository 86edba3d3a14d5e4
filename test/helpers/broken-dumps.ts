/** Every way to break a dump, and what is to be said of each. */
import {
  appendFileSync,
  cpSync,
  mkdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { basename, join } from 'node:path';
import {
  ANON,
  type DumpSpec,
  type EntrySpec,
  FILE,
  image,
  MAP,
  Message,
  PE,
  pagemapBlocks,
  pagemapEntry,
  STATUS,
  splitImage,
  type VmaSpec,
  writeDump,
} from './dump-writer.js';
import { copyFixture, tempDir } from './temp.js';

export const AREAS: VmaSpec[] = [
  { start: 0x10000n, end: 0x20000n, ...ANON },
  { start: 0x20000n, end: 0x30000n, ...FILE },
  { start: 0x30000n, end: 0x40000n, flags: ANON.flags | MAP.LOCKED, status: ANON.status },
];
const ENTRIES: EntrySpec[] = [
  { vaddr: 0x10000n, pages: 3, flags: PE.PRESENT | PE.LAZY },
  { vaddr: 0x20000n, pages: 2 },
  { vaddr: 0x30000n, pages: 1 },
];
/** Two processes, one of them with two threads; a zombie; a shared memory segment. */
export const SOUND: DumpSpec = {
  tasks: [
    { pid: 7, vmas: AREAS, entries: ENTRIES },
    { pid: 9, threads: [10], vmas: AREAS.slice(0, 1), entries: ENTRIES.slice(0, 1) },
    { pid: 11, dead: true },
  ],
  shmem: [{ id: 3, entries: [{ vaddr: 0n, pages: 2 }] }],
};

/** The sound dump with other areas or entries in process 7. */
export const withTask = (task: { vmas?: VmaSpec[]; entries?: EntrySpec[] }): DumpSpec => ({
  ...SOUND,
  tasks: [{ pid: 7, vmas: AREAS, entries: ENTRIES, ...task }, ...SOUND.tasks.slice(1)],
});

/** Replaces the message of an entry; the head of a pagemap counts. */
function replaceEntry(path: string, type: 'PAGEMAP' | 'MM' | 'PSTREE' | 'CORE', index: number, body: Uint8Array): void {
  writeFileSync(path, image(type, Object.assign([...splitImage(readFileSync(path))], { [index]: body })));
}

/** Offset of the size of an entry; the head of a pagemap counts. */
function offsetOf(path: string, index: number): number {
  const before = splitImage(readFileSync(path)).slice(0, index);
  return before.reduce((at, body) => at + 4 + body.length, 8);
}

/** Overwrites the size of an entry. */
function setLength(path: string, index: number, length: number): void {
  const bytes = readFileSync(path);
  bytes.writeUInt32LE(length, offsetOf(path, index));
  writeFileSync(path, bytes);
}

/** An entry as 4.2 writes it. */
const entryBytes = (entry: EntrySpec): Uint8Array =>
  pagemapEntry(entry, { generation: '4.2', pageSize: 4096 }, undefined).finish();

export interface Row {
  what: string;
  /** The sound dump if left out. */
  dump?: DumpSpec | string;
  /** Breaks the dump at `dump`; `root` is the directory above it. May name another DUMP and OUT. */
  breaks?: (dump: string, root: string) => unknown;
  options?: string[];
  /** All that follows `pagepipe: error: `, with `DUMP` and `OUT` for the paths. */
  error: string;
  hint?: string;
}

const removes = (name: string) => (dump: string) => rmSync(join(dump, name));
const sets = (name: string, bytes: Uint8Array | string) => (dump: string) => writeFileSync(join(dump, name), bytes);

export const METADATA: Row[] = [
  { what: 'no pstree', breaks: removes('pstree.img'), error: 'DUMP: expected a dump, found no pstree.img' },
  { what: 'no inventory', breaks: removes('inventory.img'), error: 'DUMP: expected a dump, found no inventory.img' },
  {
    what: 'no core of a process',
    breaks: removes('core-7.img'),
    error: 'core-7.img: expected this image, named by pstree.img, found none',
  },
  {
    what: 'no core of a thread',
    breaks: removes('core-10.img'),
    error: 'core-10.img: expected this image, named by pstree.img, found none',
  },
  {
    what: 'no core of a zombie',
    breaks: removes('core-11.img'),
    error: 'core-11.img: expected this image, named by pstree.img, found none',
  },
  {
    what: 'no mm',
    breaks: removes('mm-9.img'),
    error: 'mm-9.img: expected this image, named by pstree.img, found none',
  },
  {
    what: 'no pagemap',
    breaks: removes('pagemap-9.img'),
    error: 'pagemap-9.img: expected this image, named by pstree.img, found none',
  },
  {
    what: 'no pages',
    breaks: removes('pages-2.img'),
    error: 'pages-2.img: expected this image, named by pagemap-9.img, found none',
  },
  {
    what: 'no pages of a segment',
    breaks: removes('pages-3.img'),
    error: 'pages-3.img: expected this image, named by pagemap-shmem-3.img, found none',
  },
  {
    what: 'a pagemap in place of a core',
    breaks: (dump) => cpSync(join(dump, 'pagemap-7.img'), join(dump, 'core-7.img')),
    error: 'core-7.img@0x4: expected CORE magic 0x55053847, found 0x56084025 (PAGEMAP)',
  },
  {
    what: 'a core in place of a pagemap',
    breaks: (dump) => cpSync(join(dump, 'core-7.img'), join(dump, 'pagemap-7.img')),
    error: 'pagemap-7.img@0x4: expected PAGEMAP magic 0x56084025, found 0x55053847 (CORE)',
  },
  {
    what: 'an mm in place of the core of a thread',
    breaks: (dump) => cpSync(join(dump, 'mm-9.img'), join(dump, 'core-10.img')),
    error: 'core-10.img@0x4: expected CORE magic 0x55053847, found 0x57492820 (MM)',
  },
  {
    what: 'a core in place of an image that is not decoded',
    breaks: (dump) => cpSync(join(dump, 'core-7.img'), join(dump, 'files.img')),
    error: 'files.img@0x4: expected FILES magic 0x56303138, found 0x55053847 (CORE)',
  },
  {
    what: 'no magic known to anybody',
    breaks: sets('inventory.img', 'hello, world'),
    error: 'inventory.img@0x0: expected INVENTORY magic 0x58313116, found 0x6c6c6568',
  },
  {
    what: 'an empty image that is not decoded',
    breaks: sets('files.img', ''),
    error: 'files.img@0x0: expected 8 bytes of magic (FILES), found 0',
  },
  {
    what: 'a pstree cut in an entry',
    breaks: (dump) => truncateSync(join(dump, 'pstree.img'), 8 + 4 + 3),
    error: 'pstree.img@0x8 entry 0: expected an entry of 14 bytes with its size, found 7',
  },
  {
    what: 'a pstree cut in a size',
    breaks: (dump) => truncateSync(join(dump, 'pstree.img'), offsetOf(join(dump, 'pstree.img'), 1) + 2),
    error: 'pstree.img@0x18 entry 0: expected the rest of an entry, found the end of the file',
  },
  {
    what: 'a pstree of no entries',
    breaks: sets('pstree.img', image('PSTREE', [])),
    error: 'pstree.img: expected at least one pstree_entry, found none',
  },
  {
    what: 'a pstree entry that is no message',
    breaks: (dump) => replaceEntry(join(dump, 'pstree.img'), 'PSTREE', 1, Uint8Array.of(0xff, 0xff, 0xff)),
    error: 'pstree.img@0x1a entry 1: expected a varint, found the end of the message',
  },
  {
    what: 'a core of no entry',
    breaks: sets('core-7.img', image('CORE', [])),
    error: 'core-7.img@0x8: expected a core_entry, found the end of the file',
  },
  {
    what: 'a folder in place of a core',
    breaks: (dump) => {
      rmSync(join(dump, 'core-7.img'));
      mkdirSync(join(dump, 'core-7.img'));
    },
    error: 'core-7.img: expected this image, named by pstree.img, found none',
  },
];

export const MM: Row[] = [
  {
    what: 'an mm cut in its entry',
    breaks: (dump) => truncateSync(join(dump, 'mm-7.img'), 50),
    error: 'mm-7.img@0x8 entry 0: expected an entry of 97 bytes with its size, found 42',
  },
  {
    what: 'an mm of 4 GiB, it says',
    breaks: (dump) => setLength(join(dump, 'mm-7.img'), 0, 0xffffffff),
    error: 'mm-7.img@0x8 entry 0: expected an entry of at most 67108864 bytes, found a length of 4294967295',
  },
  {
    what: 'an mm of no entry',
    breaks: sets('mm-7.img', image('MM', [])),
    error: 'mm-7.img@0x8: expected an mm_entry, found the end of the file',
  },
  {
    what: 'areas that overlap',
    dump: withTask({ vmas: [...AREAS, { start: 0x1f000n, end: 0x21000n, ...ANON }] }),
    error: 'mm-7.img: expected areas that do not overlap, found 0x1f000-0x21000 after 0x10000-0x20000',
  },
  {
    what: 'the same area twice',
    dump: withTask({ vmas: [...AREAS, AREAS[2] as VmaSpec] }),
    error: 'mm-7.img: expected areas that do not overlap, found 0x30000-0x40000 after 0x30000-0x40000',
  },
  {
    what: 'an area that is not aligned',
    dump: withTask({ vmas: [...AREAS, { start: 0x50010n, end: 0x51000n, ...ANON }] }),
    error:
      'mm-7.img@0xc entry 0: expected an mm_entry, found something else: an area that is not aligned to 4096 bytes, at 0x50010',
  },
  {
    what: 'an area that ends before it starts',
    dump: withTask({ vmas: [...AREAS, { start: 0x52000n, end: 0x51000n, ...ANON }] }),
    error: 'mm-7.img@0xc entry 0: expected an mm_entry, found something else: an area of no pages at 0x52000',
  },
];

const PAGEMAP: Row[] = [
  {
    what: 'an empty pagemap',
    breaks: sets('pagemap-7.img', ''),
    error: 'pagemap-7.img@0x0: expected 8 bytes of magic (PAGEMAP), found 0',
  },
  {
    what: 'a pagemap without a head',
    breaks: sets('pagemap-7.img', image('PAGEMAP', [])),
    error: 'pagemap-7.img@0x8: expected a pagemap_head, found the end of the file',
  },
  {
    what: 'a head without a pages_id',
    breaks: (dump) => replaceEntry(join(dump, 'pagemap-7.img'), 'PAGEMAP', 0, new Message().int(5, 1).finish()),
    error: 'pagemap-7.img@0xc: expected the required field pages_id of pagemap_head, found none',
  },
  {
    what: 'a pagemap cut in its head',
    breaks: (dump) => truncateSync(join(dump, 'pagemap-7.img'), 13),
    error: 'pagemap-7.img@0x8: expected an entry of 6 bytes with its size, found 5',
  },
  {
    what: 'a pagemap cut in an entry',
    breaks: (dump) => truncateSync(join(dump, 'pagemap-7.img'), offsetOf(join(dump, 'pagemap-7.img'), 2) + 4 + 5),
    error: 'pagemap-7.img@0x1c entry 1: expected an entry of 14 bytes with its size, found 9',
  },
  {
    what: 'a pagemap cut in a size',
    breaks: (dump) => truncateSync(join(dump, 'pagemap-7.img'), offsetOf(join(dump, 'pagemap-7.img'), 2) + 3),
    error: 'pagemap-7.img@0x1c entry 1: expected an entry of 4 bytes with its size, found 3',
  },
  {
    what: 'an entry of 4 GiB, it says',
    breaks: (dump) => setLength(join(dump, 'pagemap-7.img'), 2, 0xffffffff),
    error: 'pagemap-7.img@0x1c entry 1: expected an entry of at most 262144 bytes, found a length of 4294967295',
  },
  {
    what: 'a head of 4 GiB, it says',
    breaks: (dump) => setLength(join(dump, 'pagemap-7.img'), 0, 0xffffffff),
    error: 'pagemap-7.img@0x8: expected an entry of at most 1024 bytes, found a length of 4294967295',
  },
  {
    what: 'entries that overlap',
    dump: withTask({
      entries: [
        { vaddr: 0x10000n, pages: 3 },
        { vaddr: 0x12000n, pages: 2 },
      ],
    }),
    error:
      'pagemap-7.img@0x20 entry 1: expected an address of at least 0x13000, the end of the entry before, found 0x12000',
  },
  {
    what: 'entries that descend',
    dump: withTask({
      entries: [
        { vaddr: 0x20000n, pages: 3 },
        { vaddr: 0x10000n, pages: 2 },
      ],
    }),
    error:
      'pagemap-7.img@0x20 entry 1: expected an address of at least 0x23000, the end of the entry before, found 0x10000',
  },
  {
    what: 'an entry outside every area',
    dump: withTask({ entries: [{ vaddr: 0x50000n, pages: 1 }] }),
    error: "pagemap-7.img: expected pages inside the task's areas, found 0x50000 in none",
  },
  {
    what: 'an entry before every area',
    dump: withTask({ entries: [{ vaddr: 0x1000n, pages: 1 }, ...ENTRIES] }),
    error: "pagemap-7.img: expected pages inside the task's areas, found 0x1000 in none",
  },
  {
    what: 'an entry that runs out of its area',
    dump: withTask({ vmas: AREAS.slice(0, 1), entries: [{ vaddr: 0x1f000n, pages: 2 }] }),
    error: "pagemap-7.img: expected pages inside the task's areas, found 0x20000 in none",
  },
  {
    what: 'pages where there is no area at all',
    dump: withTask({ vmas: [] }),
    error: "pagemap-7.img: expected pages inside the task's areas, found 0x10000 in none",
  },
  {
    what: 'pages in a guard alone',
    dump: withTask({
      vmas: [...AREAS, { start: 0x50000n, end: 0x52000n, flags: ANON.flags, status: STATUS.GUARD }],
      entries: [{ vaddr: 0x50000n, pages: 1 }],
    }),
    error: "pagemap-7.img: expected pages inside the task's areas, found 0x50000 in none",
  },
  {
    what: 'an unknown field',
    dump: withTask({
      entries: [...ENTRIES.slice(0, 1), { ...ENTRIES[1], extra: new Message().int(9, 1).finish() } as EntrySpec],
    }),
    error: 'pagemap-7.img@0x20 entry 1: expected known fields only (1 to 6), found field 9, which may move the pages',
  },
  {
    what: 'an unknown message',
    dump: withTask({ entries: [{ ...ENTRIES[0], extra: new Message().field(10, 'blocks').finish() } as EntrySpec] }),
    error: 'pagemap-7.img@0x12 entry 0: expected known fields only (1 to 6), found field 10, which may move the pages',
  },
  {
    what: 'an unknown flag',
    dump: withTask({ entries: [{ vaddr: 0x10000n, pages: 1, flags: PE.PRESENT | 16 }] }),
    error:
      'pagemap-7.img@0x12 entry 0: expected known flags only (PARENT 1, LAZY 2, PRESENT 4, PAYLOAD_ALIGNED 8), found 0x14',
  },
  {
    what: 'a flag of the far future',
    dump: withTask({ entries: [{ vaddr: 0x10000n, pages: 1, flags: PE.PRESENT | 0x40000000 }] }),
    error:
      'pagemap-7.img@0x12 entry 0: expected known flags only (PARENT 1, LAZY 2, PRESENT 4, PAYLOAD_ALIGNED 8), found 0x40000004',
  },
  {
    what: 'an address that is not aligned',
    dump: withTask({ entries: [{ vaddr: 0x10800n, pages: 1 }] }),
    error: 'pagemap-7.img@0x12 entry 0: expected an address aligned to 4096 bytes, found 0x10800',
  },
  {
    what: 'an entry of no pages',
    dump: withTask({ entries: [{ vaddr: 0x10000n, pages: 0 }] }),
    error: 'pagemap-7.img@0x12 entry 0: expected at least one page, found 0',
  },
  {
    what: 'an entry of more pages than there are',
    dump: withTask({ entries: [] }),
    breaks: (dump) => {
      const far = entryBytes({ vaddr: 0x10000n, pages: 2 ** 53 });
      writeFileSync(join(dump, 'pagemap-7.img'), image('PAGEMAP', [new Message().int(1, 1), far]));
    },
    error: 'pagemap-7.img@0x12 entry 0: expected at most 4503599627370496 pages, found 9007199254740992',
  },
  {
    what: 'an entry that wraps around',
    dump: withTask({ entries: [] }),
    breaks: (dump) => {
      const last = entryBytes({ vaddr: 0xfffffffffffff000n, pages: 2 });
      writeFileSync(join(dump, 'pagemap-7.img'), image('PAGEMAP', [new Message().int(1, 1), last]));
    },
    error: 'pagemap-7.img@0x12 entry 0: expected an entry that ends inside the address space',
  },
  {
    what: 'an entry that is no message',
    breaks: (dump) => replaceEntry(join(dump, 'pagemap-7.img'), 'PAGEMAP', 1, Uint8Array.of(0x08, 0xff, 0xff)),
    error: 'pagemap-7.img@0x12 entry 0: expected a varint, found the end of the message',
  },
  {
    what: 'an entry without an address',
    breaks: (dump) => replaceEntry(join(dump, 'pagemap-7.img'), 'PAGEMAP', 1, new Message().int(2, 1).finish()),
    error: 'pagemap-7.img@0x12 entry 0: expected field 1 (vaddr)',
  },
  {
    what: 'an address as bytes',
    breaks: (dump) =>
      replaceEntry(join(dump, 'pagemap-7.img'), 'PAGEMAP', 1, new Message().field(1, 'x').int(2, 1).finish()),
    error: 'pagemap-7.img@0x12 entry 0: expected a varint in field 1, found wire type 2',
  },
  {
    what: 'pages in a parent where there is no parent',
    dump: withTask({ entries: [...ENTRIES.slice(0, 2), { vaddr: 0x30000n, pages: 1, flags: PE.PARENT }] }),
    error: 'pagemap-7.img entry 2: expected a parent dump, which has the pages of this entry, found no parent link',
  },
  {
    what: 'pages in a parent that CRIU 2 speaks of, and none there',
    dump: { ...withTask({ entries: [{ vaddr: 0x10000n, pages: 1, inParent: true }] }), generation: '2.x' },
    error: 'pagemap-7.img entry 0: expected a parent dump, which has the pages of this entry, found no parent link',
  },
  {
    what: 'a parent that leads nowhere',
    breaks: (dump) => symlinkSync('../gone', join(dump, 'parent')),
    error:
      'parent: expected a link to the directory of the parent dump, found a link to ../gone, which leads to no directory',
  },
  {
    what: 'a parent that leads to a file',
    breaks: (dump) => symlinkSync('pstree.img', join(dump, 'parent')),
    error:
      'parent: expected a link to the directory of the parent dump, found a link to pstree.img, which leads to no directory',
  },
  {
    what: 'a parent that leads to itself',
    breaks: (dump) => symlinkSync('parent', join(dump, 'parent')),
    error:
      'parent: expected a link to the directory of the parent dump, found a link to parent, which leads to no directory',
  },
  {
    what: 'a chain that was torn from its parent',
    dump: 'chain/mprotect00/3',
    breaks: (dump, root) => {
      renameSync(dump, join(root, 'alone'));
      return { dump: join(root, 'alone') };
    },
    error:
      'parent: expected a link to the directory of the parent dump, found a link to ../2, which leads to no directory',
  },
];

export const PAGES: Row[] = [
  {
    what: 'pages too short by a byte',
    breaks: (dump) => truncateSync(join(dump, 'pages-1.img'), 6 * 4096 - 1),
    error: 'pages-1.img@0x5fff: expected at least 24576 bytes of pages by entry 2 of pagemap-7.img, found 24575',
  },
  {
    what: 'pages too short by an entry',
    breaks: (dump) => truncateSync(join(dump, 'pages-1.img'), 3 * 4096),
    error: 'pages-1.img@0x3000: expected at least 20480 bytes of pages by entry 1 of pagemap-7.img, found 12288',
  },
  {
    what: 'no pages in the file',
    breaks: (dump) => truncateSync(join(dump, 'pages-1.img'), 0),
    error: 'pages-1.img@0x0: expected at least 12288 bytes of pages by entry 0 of pagemap-7.img, found 0',
  },
  {
    what: 'pages too long by a byte',
    breaks: (dump) => appendFileSync(join(dump, 'pages-1.img'), 'x'),
    error: 'pages-1.img@0x6000: expected 24576 bytes of pages by pagemap-7.img, found 24577',
  },
  {
    what: 'pages of a segment too long',
    breaks: (dump) => appendFileSync(join(dump, 'pages-3.img'), new Uint8Array(4096)),
    error: 'pages-3.img@0x2000: expected 8192 bytes of pages by pagemap-shmem-3.img, found 12288',
  },
  {
    what: 'real pages cut in the middle',
    dump: 'mosaic-criu-4.2.1',
    breaks: (dump) => truncateSync(join(dump, 'pages-2.img'), 400_000),
    error: 'pages-2.img@0x61a80: expected at least 401408 bytes of pages by entry 23 of pagemap-15.img, found 400000',
  },
];

/** The sound dump in the form of CRIU 4.3, and one entry of it changed. */
const compressed = (entry: Message): Pick<Row, 'dump' | 'breaks'> => ({
  dump: { ...SOUND, generation: '4.3' },
  breaks: (dump) => replaceEntry(join(dump, 'pagemap-7.img'), 'PAGEMAP', 1, entry.finish()),
});
const start = (flags: number = PE.PRESENT | PE.LAZY) => new Message().int(1, 0x10000).int(2, 0).int(4, flags).int(5, 3);

const COMPRESSED: Row[] = [
  {
    what: 'fewer compressed blocks than pages',
    ...compressed(start().field(6, pagemapBlocks([4096, 0], 1))),
    error: 'pagemap-7.img@0x12 entry 0: expected 3 compressed blocks for 3 pages, found 2',
  },
  {
    what: 'a compressed block larger than its pages',
    ...compressed(start().field(6, pagemapBlocks([4096, 4097, 0], 1))),
    error: 'pagemap-7.img@0x12 entry 0: expected at most 4096 bytes in block 1, found 4097',
  },
  {
    what: 'a last block larger than its pages',
    ...compressed(start().field(6, pagemapBlocks([8192, 4097], 2))),
    error: 'pagemap-7.img@0x12 entry 0: expected at most 4096 bytes in block 1, found 4097',
  },
  {
    what: 'a sum that is not that of the blocks',
    ...compressed(
      start().field(
        6,
        new Message()
          .field(1, Message.packed([4096, 4096, 4096]))
          .int(2, 4096)
          .int(3, 1),
      ),
    ),
    error: 'pagemap-7.img@0x12 entry 0: expected total_payload_size 12288, the sum of the blocks, found 4096',
  },
  {
    what: 'blocks without a sum',
    ...compressed(start().field(6, new Message().field(1, Message.packed([4096, 4096, 4096])).int(3, 1))),
    error: 'pagemap-7.img@0x12 entry 0: expected total_payload_size in pagemap_blocks',
  },
  {
    what: 'blocks beyond 4 MiB',
    ...compressed(start().field(6, pagemapBlocks([4096], 1025))),
    error: 'pagemap-7.img@0x12 entry 0: expected blocks of 1 to 1024 pages, found 1025',
  },
  {
    what: 'blocks whose length lies',
    ...compressed(start().raw(Uint8Array.of(0x32, 0x7f, 1, 2, 3))),
    error: 'pagemap-7.img@0x12 entry 0: expected a field of at most 3 bytes, found a length of 127',
  },
  {
    what: 'blocks in an entry that has no pages here',
    ...compressed(start(PE.LAZY).field(6, pagemapBlocks([0, 0, 0], 1))),
    error: 'pagemap-7.img@0x12 entry 0: expected compressed blocks only in an entry that is PRESENT',
  },
  {
    what: 'alignment of pages that are not here',
    ...compressed(start(PE.LAZY | PE.PAYLOAD_ALIGNED)),
    error: 'pagemap-7.img@0x12 entry 0: expected PAYLOAD_ALIGNED only in an entry that is PRESENT',
  },
  {
    what: 'compressed pages as they were before CRIU 4.3',
    ...compressed(
      start()
        .field(6, Message.packed([4096, 0, 0]))
        .int(7, 4096),
    ),
    error:
      'pagemap-7.img@0x12 entry 0: expected compressed pages in the layout of CRIU 4.3, found field 7 of an earlier one, which no release of CRIU had',
  },
  {
    what: 'a compressed block that is cut',
    dump: { ...SOUND, generation: '4.3' },
    breaks: (dump) => {
      const pages = join(dump, 'pages-1.img');
      truncateSync(pages, statSync(pages).size - 1);
    },
    error: 'pages-1.img@0x5fff: expected at least 24576 bytes of pages by entry 2 of pagemap-7.img, found 24575',
  },
  {
    what: 'a compressed block across lazy and eager memory',
    dump: {
      tasks: [{ pid: 7, vmas: AREAS, entries: [{ vaddr: 0x1e000n, pages: 4 }] }],
      generation: '4.3',
      pagesPerBlock: 4,
    },
    options: ['--policy', 'vma'],
    error: 'pagemap-7.img: a compressed block would have to be cut at 0x20000, where lazy and eager memory meet',
  },
];

const POLICY: Row[] = [
  {
    what: 'the rule of 2016 on locked memory',
    options: ['--policy', 'seed'],
    error:
      'policy seed would take pages out of the locked area 0x30000-0x40000 of pagemap-7.img, which CRIU 3 and later restore as zeros',
    hint: 'use --policy auto; or --unsafe-policy if an older CRIU is to restore it',
  },
  {
    what: 'the rule of 2016 on a real dump with locked memory',
    dump: 'mosaic-criu-4.2.1',
    options: ['--policy', 'seed'],
    error:
      'policy seed would take pages out of the locked area 0x7efdbc5f4000-0x7efdbc5fc000 of pagemap-15.img, which CRIU 3 and later restore as zeros',
    hint: 'use --policy auto; or --unsafe-policy if an older CRIU is to restore it',
  },
];

const PLACES: Row[] = [
  {
    what: 'no DUMP',
    breaks: (_, root) => ({ dump: join(root, 'gone') }),
    error: 'DUMP: no such file or directory (ENOENT)',
  },
  {
    what: 'a file for a DUMP',
    breaks: (dump) => ({ dump: join(dump, 'pstree.img') }),
    error: 'DUMP: expected a dump directory, tar, shards or a page stream, found an image',
    hint: 'name the directory that it is in',
  },
  {
    what: 'OUT in a directory that is not there',
    breaks: (_, root) => ({ out: join(root, 'gone/out') }),
    error: 'OUT: no such file or directory (ENOENT)',
  },
  {
    what: 'OUT inside DUMP',
    breaks: (dump) => ({ out: join(dump, 'out') }),
    error: 'OUT: the output must be outside of what is read: DUMP',
  },
  {
    what: 'OUT is DUMP',
    breaks: (dump) => ({ out: dump }),
    error: 'OUT: the output must be outside of what is read: DUMP',
  },
  {
    what: 'OUT inside DUMP by a link',
    breaks: (dump, root) => {
      symlinkSync(dump, join(root, 'link'));
      return { out: join(root, 'link/out') };
    },
    error: 'OUT: the output must be outside of what is read: DUMP',
  },
  {
    what: 'OUT a link to DUMP',
    breaks: (dump, root) => {
      symlinkSync(dump, join(root, 'link'));
      return { out: join(root, 'link') };
    },
    error: 'OUT: the output must be outside of what is read: DUMP',
  },
  {
    what: 'OUT is DUMP by another way, by force',
    breaks: (dump, root) => ({ out: join(root, 'x/..', basename(dump)) }),
    options: ['--unsafe-policy'],
    error: 'OUT: the output must be outside of what is read: DUMP',
  },
];

export const TABLES = { METADATA, MM, PAGEMAP, PAGES, COMPRESSED, POLICY, PLACES };

/** Makes the dump of a row. */
export function build(row: Row): { root: string; dump: string; out: string } {
  const root = tempDir();
  let dump = join(root, 'dump');
  if (typeof row.dump === 'string') dump = copyFixture(row.dump, root);
  else writeDump(dump, row.dump ?? SOUND);
  const other = (row.breaks?.(dump, root) ?? {}) as { dump?: string; out?: string };
  return { root, dump: other.dump ?? dump, out: other.out ?? join(root, 'out') };
}
