/**
 * Dumps out of thin air, and real dumps turned into other generations of the pagemap.
 *
 * Nothing here uses the code under test: messages are put together and taken apart by hand, so that what reads and
 * writes dumps in `src/` is held against something else. The images have all fields that CRIU requires in them.
 *
 *     writeDump(dir, { tasks: [{ pid: 7, vmas: [...], entries: [{ vaddr: 0x10000n, pages: 2 }] }] });
 *     readMemory(dir).get('pagemap-7.img')?.get(0x11000n)   // equals pageContent('pagemap-7.img', 0x11000n)
 *     rewriteGeneration('fixtures/mosaic-criu-4.2.1', out, '2.x');
 */
import {
  closeSync,
  cpSync,
  ftruncateSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { join } from 'node:path';
import { compressSync, uncompressSync } from 'lz4-napi';

/**
 * `2.x`: no flags. `3.x`: field 2 and flags. `4.2`: field 5, field 2 is 0. `both-counts`: 4.2 with field 2 filled. `4.3`: 4.2
 * with compressed pages.
 */
export const GENERATIONS = ['2.x', '3.x', '4.2', 'both-counts', '4.3'] as const;
export type Generation = (typeof GENERATIONS)[number];

/** Flags of a pagemap entry. */
export const PE = { PARENT: 1, LAZY: 2, PRESENT: 4, PAYLOAD_ALIGNED: 8 } as const;

/** MAP_* on x86-64. */
export const MAP = { SHARED: 0x1, PRIVATE: 0x2, ANON: 0x20, LOCKED: 0x2000, HUGETLB: 0x40000 } as const;

/** Bits of `vma_entry.status`. */
export const STATUS = {
  REGULAR: 1,
  STACK: 1 << 1,
  VSYSCALL: 1 << 2,
  VDSO: 1 << 3,
  HEAP: 1 << 5,
  FILE_PRIVATE: 1 << 6,
  ANON_SHARED: 1 << 8,
  ANON_PRIVATE: 1 << 9,
  VVAR: 1 << 12,
  GUARD: 1 << 16,
} as const;

/** Private anonymous memory: the plainest lazy area. */
export const ANON = { flags: MAP.PRIVATE | MAP.ANON, status: STATUS.REGULAR | STATUS.ANON_PRIVATE } as const;
/** A private file mapping: never lazy. */
export const FILE = { flags: MAP.PRIVATE, status: STATUS.REGULAR | STATUS.FILE_PRIVATE } as const;

/** Type magics of the images that are written here. */
export const MAGIC = {
  COMMON: 0x54564319,
  INVENTORY: 0x58313116,
  PSTREE: 0x50273030,
  CORE: 0x55053847,
  MM: 0x57492820,
  PAGEMAP: 0x56084025,
  FILES: 0x56303138,
  IDS: 0x54432030,
  FS: 0x51403912,
} as const;

/** An area. Addresses are bytes, `end` exclusive. */
export interface VmaSpec {
  start: bigint;
  end: bigint;
  flags: number;
  status: number;
}

/** A pagemap entry. */
export interface EntrySpec {
  vaddr: bigint;
  pages: number;
  /** PE_*; PRESENT if left out. */
  flags?: number;
  /** Says PARENT by field 3, as CRIU 2 did; `2.x` does so for the flag PARENT, too. */
  inParent?: boolean;
  /** Pages of the entry, from 0, that hold zeros. */
  zeroPages?: readonly number[];
  /** Bytes behind the known fields of the message: for fields that nobody knows. */
  extra?: Uint8Array;
}

export interface TaskSpec {
  pid: number;
  /** Name of the command; `task` and the pid if left out. */
  comm?: string;
  /** A zombie: it has a core alone. */
  dead?: boolean;
  /** Ids of its other threads. */
  threads?: readonly number[];
  /** In the order in which they are to stand in the image. */
  vmas?: readonly VmaSpec[];
  entries?: readonly EntrySpec[];
  /** Counts from 1 over tasks, then segments, if left out. */
  pagesId?: number;
}

/** A shared memory segment; addresses are offsets. */
export interface ShmemSpec {
  id: number;
  entries: readonly EntrySpec[];
  pagesId?: number;
}

export interface DumpSpec {
  tasks: readonly TaskSpec[];
  shmem?: readonly ShmemSpec[];
  /** `4.2` if left out. */
  generation?: Generation;
  /** Bytes; 4096 if left out. */
  pageSize?: number;
  /** `core_entry.mtype`; 1 (x86-64) if left out. */
  march?: number;
  /** Pages in a compressed block of `4.3`; 1 if left out. */
  pagesPerBlock?: number;
  /** What is in a page; {@link pageContent} if left out. */
  content?: typeof pageContent;
  /** Pages files are made as holes of their size: for dumps that need only be large. */
  sparse?: boolean;
}

/** A message of protobuf, field by field. */
export class Message {
  private bytes = new Uint8Array(64);
  private length = 0;

  /** A varint field. */
  int(field: number, value: number | bigint | boolean): this {
    this.varint(field * 8);
    this.varint(value);
    return this;
  }

  /** A field of bytes, a string or a message. */
  field(field: number, value: Uint8Array | string | Message): this {
    const bytes = value instanceof Message ? value.finish() : typeof value === 'string' ? Buffer.from(value) : value;
    this.varint(field * 8 + 2);
    this.varint(bytes.length);
    return this.raw(bytes);
  }

  /** A field of four bytes. */
  fixed32(field: number, value: number): this {
    this.varint(field * 8 + 5);
    return this.raw(u32(value));
  }

  /** Bytes as they are. */
  raw(bytes: Uint8Array): this {
    this.reserve(bytes.length);
    this.bytes.set(bytes, this.length);
    this.length += bytes.length;
    return this;
  }

  finish(): Uint8Array {
    return this.bytes.slice(0, this.length);
  }

  /** Numbers without tags: the body of a packed field. */
  static packed(values: readonly number[]): Uint8Array {
    const message = new Message();
    for (const value of values) message.varint(value);
    return message.finish();
  }

  private varint(value: number | bigint | boolean): void {
    this.reserve(10);
    if (typeof value === 'number' && value >= 0 && value < 2 ** 31) {
      let rest = value;
      for (; rest > 127; rest >>= 7) this.bytes[this.length++] = (rest & 127) | 128;
      this.bytes[this.length++] = rest;
      return;
    }
    let rest = BigInt.asUintN(64, BigInt(value));
    for (; rest > 127n; rest >>= 7n) this.bytes[this.length++] = Number(rest & 127n) | 128;
    this.bytes[this.length++] = Number(rest);
  }

  private reserve(bytes: number): void {
    if (this.length + bytes <= this.bytes.length) return;
    const larger = new Uint8Array(2 * (this.length + bytes));
    larger.set(this.bytes.subarray(0, this.length));
    this.bytes = larger;
  }
}

const u32 = (value: number): Buffer => {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32LE(value);
  return bytes;
};

/** An image: its magic and its entries. */
export function image(type: keyof typeof MAGIC, entries: readonly (Message | Uint8Array)[]): Uint8Array {
  const parts: Uint8Array[] = type === 'INVENTORY' ? [] : [u32(MAGIC.COMMON)];
  parts.push(u32(MAGIC[type]));
  for (const entry of entries) {
    const body = entry instanceof Message ? entry.finish() : entry;
    parts.push(u32(body.length), body);
  }
  return Buffer.concat(parts);
}

/**
 * What stands in the page of a space (the name of its pagemap) at an address: the same in every run. One page in four can be
 * compressed.
 */
export function pageContent(pagemap: string, address: bigint, pageSize = 4096): Uint8Array {
  let state = 2166136261;
  for (const char of `${pagemap}@${address}`) state = Math.imul(state ^ char.charCodeAt(0), 16777619) | 1;
  const words = new Uint32Array(pageSize / 4);
  const period = (address / BigInt(pageSize)) % 4n === 3n ? 64 : words.length;
  for (let i = 0; i < words.length; i++) {
    if (i >= period) {
      words[i] = words[i - period] as number;
      continue;
    }
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    words[i] = state;
  }
  return new Uint8Array(words.buffer);
}

/** Writes a dump into `directory`, which is made if it is not there. */
export function writeDump(directory: string, spec: DumpSpec): void {
  mkdirSync(directory, { recursive: true });
  const write = (name: string, bytes: Uint8Array) => writeFileSync(join(directory, name), bytes);
  const { generation = '4.2', pageSize = 4096, march = 1, pagesPerBlock, sparse = false, content } = spec;
  const form: EntryForm = {
    generation,
    pageSize,
    ...(pagesPerBlock === undefined ? {} : { pagesPerBlock }),
    ...(content && { content }),
  };

  write('inventory.img', inventoryImage(form));
  write('files.img', image('FILES', []));
  const [root] = spec.tasks;
  const trees = spec.tasks.map(({ pid, threads = [] }) => {
    const tree = new Message()
      .int(1, pid)
      .int(2, pid === root?.pid ? 0 : (root?.pid ?? 0))
      .int(3, pid)
      .int(4, pid);
    for (const tid of [pid, ...threads]) tree.int(5, tid);
    return tree;
  });
  write('pstree.img', image('PSTREE', trees));

  let pagesId = 1;
  for (const task of spec.tasks) {
    write(`core-${task.pid}.img`, image('CORE', [coreEntry(task, march)]));
    if (task.dead) continue;
    for (const tid of task.threads ?? []) write(`core-${tid}.img`, image('CORE', [threadEntry(march)]));
    write(`mm-${task.pid}.img`, mmImage(task.vmas ?? []));
    write(`ids-${task.pid}.img`, image('IDS', [numbers(1, 1, 1, 1)]));
    write(`fs-${task.pid}.img`, image('FS', [numbers(1, 1)]));
    const id = task.pagesId ?? pagesId++;
    writeSpace(directory, `pagemap-${task.pid}.img`, id, task.entries ?? [], form, sparse);
  }
  for (const segment of spec.shmem ?? []) {
    const id = segment.pagesId ?? pagesId++;
    writeSpace(directory, `pagemap-shmem-${segment.id}.img`, id, segment.entries, form, sparse);
  }
}

/** How entries are written. */
interface EntryForm {
  generation: Generation;
  pageSize: number;
  pagesPerBlock?: number;
  content?: typeof pageContent;
}

function inventoryImage({ generation, pageSize, pagesPerBlock = 1 }: EntryForm, before?: Uint8Array): Uint8Array {
  const inventory = before ? new Message().raw(before) : new Message().int(1, 2).int(2, true).int(4, true);
  if (generation === '4.3') {
    // A later img_version overrides the one before it.
    inventory
      .int(1, 3)
      .int(15, 1)
      .int(16, pagesPerBlock * pageSize);
  }
  return image('INVENTORY', [inventory]);
}

function coreEntry({ pid, comm = `task${pid}`, dead }: TaskSpec, march: number): Message {
  const task = new Message()
    .int(1, dead ? 2 : 1)
    .int(2, 0)
    .int(3, 0)
    .int(4, 0)
    .int(5, 0)
    .field(6, comm);
  const core = new Message().int(1, march);
  if (dead) return core.field(3, task);
  const timer = numbers(0, 0, 0, 0);
  task.field(7, new Message().field(1, timer).field(2, timer).field(3, timer)).field(8, '').field(15, timer);
  const credentials = numbers(0, 0, 0, 0, 0, 0, 0, 0).int(13, 0);
  return core.field(3, task).field(5, numbers(0, 0).field(10, credentials));
}

/** Fields from 1 on. */
function numbers(...values: number[]): Message {
  const message = new Message();
  for (const [i, value] of values.entries()) message.int(i + 1, value);
  return message;
}

const threadEntry = (march: number): Message => new Message().int(1, march).field(5, numbers(0, 0));

/** An mm image with these areas. */
export function mmImage(vmas: readonly VmaSpec[]): Uint8Array {
  const mm = new Message();
  for (let field = 1; field <= 12; field++) mm.int(field, 0);
  for (const { start, end, flags, status } of vmas) {
    // -1 as sint64: no file.
    mm.field(
      14,
      new Message().int(1, start).int(2, end).int(3, 0).int(4, 0).int(5, 3).int(6, flags).int(7, status).int(8, 1),
    );
  }
  return image('MM', [mm]);
}

/** Pagemap and pages of one space. */
function writeSpace(
  directory: string,
  pagemap: string,
  pagesId: number,
  entries: readonly EntrySpec[],
  form: EntryForm,
  sparse: boolean,
): void {
  const { pageSize, content = pageContent } = form;
  const messages: Message[] = [new Message().int(1, pagesId)];
  const fd = openSync(join(directory, `pages-${pagesId}.img`), 'w');
  try {
    let size = 0;
    for (const entry of entries) {
      const present = presentOf(entry);
      if (sparse) {
        size += present ? entry.pages * pageSize : 0;
        messages.push(pagemapEntry(entry, form, undefined));
        continue;
      }
      const plain = new Uint8Array(present ? entry.pages * pageSize : 0);
      for (let i = 0; i * pageSize < plain.length; i++) {
        if (entry.zeroPages?.includes(i)) continue;
        plain.set(content(pagemap, entry.vaddr + BigInt(i * pageSize), pageSize), i * pageSize);
      }
      const blocks = blocksOf(plain, present, form);
      messages.push(pagemapEntry(entry, form, blocks));
      for (const stored of [...paddingOf(blocks, size, pageSize), ...(blocks?.stored ?? [plain])]) {
        writeSync(fd, stored);
        size += stored.length;
      }
    }
    if (sparse) ftruncateSync(fd, size);
  } finally {
    closeSync(fd);
  }
  writeFileSync(join(directory, pagemap), image('PAGEMAP', messages));
}

const presentOf = ({ flags = PE.PRESENT, inParent }: EntrySpec): boolean =>
  !inParent && (flags & (PE.PRESENT | PE.PARENT)) === PE.PRESENT;

/** How the pages of an entry are stored. */
export interface Blocks {
  stored: readonly Uint8Array[];
  sizes: readonly number[];
  pagesPerBlock: number;
  /** Whether the first block that is stored is raw: the payload begins at a page boundary then. */
  isAligned: boolean;
  /** Whether all of them are raw: the entry does not name them then. */
  isPlain: boolean;
}

/** The blocks of a present entry of `4.3`; undefined for any other. */
function blocksOf(plain: Uint8Array, present: boolean, form: EntryForm): Blocks | undefined {
  const { generation, pageSize, pagesPerBlock = 1 } = form;
  return generation === '4.3' && present ? compressed(plain, pagesPerBlock, pageSize) : undefined;
}

/** Plain memory in blocks as CRIU makes them: LZ4 where that saves an eighth, nothing where all is zero, else raw. */
export function compressed(plain: Uint8Array, pagesPerBlock: number, pageSize = 4096): Blocks {
  const stored: Uint8Array[] = [];
  const kinds: ('zero' | 'lz4' | 'raw')[] = [];
  for (let at = 0; at < plain.length; at += pagesPerBlock * pageSize) {
    const block = plain.subarray(at, at + pagesPerBlock * pageSize);
    // The library puts the plain size before the block.
    const packed = compressSync(Buffer.from(block)).subarray(4);
    const isZero = block.every((byte) => byte === 0);
    const kind = isZero ? 'zero' : packed.length < (block.length * 7) / 8 ? 'lz4' : 'raw';
    kinds.push(kind);
    stored.push({ zero: new Uint8Array(0), lz4: packed, raw: block }[kind]);
  }
  return {
    stored,
    sizes: stored.map(({ length }) => length),
    pagesPerBlock,
    isAligned: kinds.find((kind) => kind !== 'zero') === 'raw',
    isPlain: kinds.every((kind) => kind === 'raw'),
  };
}

/** What comes before these blocks in a pages file that has come to `position`. */
const paddingOf = (blocks: Blocks | undefined, position: number, pageSize: number): Uint8Array[] =>
  blocks?.isAligned ? [new Uint8Array(-position & (pageSize - 1))] : [];

/** One pagemap entry, in its generation. */
export function pagemapEntry(entry: EntrySpec, form: EntryForm, blocks: Blocks | undefined): Message {
  const { vaddr, pages, flags = PE.PRESENT, inParent } = entry;
  const { generation } = form;
  const parent = inParent || (flags & PE.PARENT) !== 0;
  const message = new Message().int(1, vaddr);
  message.int(2, generation === '4.2' || generation === '4.3' ? 0 : pages);
  if (generation === '2.x') {
    if (!parent && !(flags & PE.PRESENT)) throw new Error('CRIU 2 cannot say that pages are neither here nor there');
    if (parent) message.int(3, true);
  } else {
    if (inParent) message.int(3, true);
    message.int(4, flags | (blocks?.isAligned ? PE.PAYLOAD_ALIGNED : 0));
    if (generation !== '3.x') message.int(5, pages);
    if (blocks && !blocks.isPlain) message.field(6, pagemapBlocks(blocks.sizes, blocks.pagesPerBlock));
  }
  return entry.extra ? message.raw(entry.extra) : message;
}

/** The message of compressed blocks. */
export const pagemapBlocks = (sizes: readonly number[], pagesPerBlock: number): Message =>
  new Message()
    .field(1, Message.packed(sizes))
    .int(
      2,
      sizes.reduce((sum, bytes) => sum + bytes, 0),
    )
    .int(3, pagesPerBlock);

/**
 * Copies a dump with its pagemaps in another generation; everything else stays, but for the inventory of `4.3`.
 * `2.x` loses the flag LAZY. `4.3` compresses the pages.
 */
export function rewriteGeneration(
  dump: string,
  out: string,
  generation: Generation,
  { pageSize = 4096, pagesPerBlock }: { pageSize?: number; pagesPerBlock?: number } = {},
): void {
  const form: EntryForm = { generation, pageSize, ...(pagesPerBlock === undefined ? {} : { pagesPerBlock }) };
  cpSync(dump, out, { recursive: true, verbatimSymlinks: true });
  for (const pagemap of readdirSync(dump).filter((name) => name.startsWith('pagemap-'))) {
    const { head, pagesId, entries } = readPagemap(join(dump, pagemap));
    const memory = readFileSync(join(dump, `pages-${pagesId}.img`));
    const messages: (Message | Uint8Array)[] = [head];
    const pages: Uint8Array[] = [];
    let at = 0;
    let size = 0;
    for (const entry of entries) {
      const present = presentOf(entry);
      const plain: Uint8Array[] = present ? expand(entry, memory, at, pageSize) : [];
      if (present) at += entry.storedBytes ?? entry.pages * pageSize;
      const blocks = blocksOf(Buffer.concat(plain), present, form);
      messages.push(pagemapEntry(entry, form, blocks));
      const stored = [...paddingOf(blocks, size, pageSize), ...(blocks?.stored ?? plain)];
      for (const { length } of stored) size += length;
      pages.push(...stored);
    }
    writeFileSync(join(out, pagemap), image('PAGEMAP', messages));
    writeFileSync(join(out, `pages-${pagesId}.img`), Buffer.concat(pages));
  }
  if (generation === '4.3') {
    const inventory = readFileSync(join(dump, 'inventory.img'));
    writeFileSync(join(out, 'inventory.img'), inventoryImage(form, inventory.subarray(8)));
  }
}

/** A pagemap entry as it was read. */
export interface ReadEntry {
  vaddr: bigint;
  pages: number;
  /** PE_*, whatever the generation says them with, but for PAYLOAD_ALIGNED. */
  flags: number;
  /** Whether its payload begins at a page boundary. */
  isAligned: boolean;
  /** Which fields stand in the entry. */
  fields: number[];
  /** What field 2 says. */
  oldCount: number;
  /** Bytes in the pages file where blocks are compressed. */
  storedBytes?: number;
  blocks?: number[];
  pagesPerBlock?: number;
}

/** Reads a pagemap by the rule over all generations. */
export function readPagemap(path: string): { head: Uint8Array; pagesId: number; entries: ReadEntry[] } {
  const [head, ...rest] = splitImage(readFileSync(path));
  if (!head) throw new Error(`${path} has no head`);
  const entries = rest.map((body): ReadEntry => {
    const { ints, bytes, order } = takeApart(body);
    const parent = ints.get(3) === 1n;
    const flags = parent ? Number(ints.get(4) ?? 0n) | PE.PARENT : Number(ints.get(4) ?? BigInt(PE.PRESENT));
    const blocks = bytes.get(6) && takeApart(bytes.get(6) as Uint8Array);
    return {
      vaddr: ints.get(1) ?? 0n,
      pages: Number(ints.get(5) ?? ints.get(2) ?? 0n),
      flags: flags & ~PE.PAYLOAD_ALIGNED,
      isAligned: (flags & PE.PAYLOAD_ALIGNED) !== 0,
      fields: order,
      oldCount: Number(ints.get(2) ?? 0n),
      ...(blocks && {
        blocks: varints(blocks.bytes.get(1) ?? new Uint8Array(0)).map(Number),
        storedBytes: Number(blocks.ints.get(2)),
        pagesPerBlock: Number(blocks.ints.get(3)),
      }),
    };
  });
  return { head, pagesId: Number(takeApart(head).ints.get(1)), entries };
}

/** Bodies of the entries of an image with two magics. */
export function splitImage(bytes: Uint8Array): Uint8Array[] {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const bodies: Uint8Array[] = [];
  for (let at = 8; at < bytes.length; ) {
    const size = view.getUint32(at, true);
    bodies.push(bytes.subarray(at + 4, at + 4 + size));
    at += 4 + size;
  }
  return bodies;
}

/** All pages that a dump itself holds: by name of the pagemap, then by address. */
export function readMemory(dump: string, pageSize = 4096): Map<string, Map<bigint, Uint8Array>> {
  const spaces = new Map<string, Map<bigint, Uint8Array>>();
  for (const pagemap of readdirSync(dump).filter((name) => name.startsWith('pagemap-'))) {
    const { pagesId, entries } = readPagemap(join(dump, pagemap));
    const file = readFileSync(join(dump, `pages-${pagesId}.img`));
    const pages = new Map<bigint, Uint8Array>();
    let at = 0;
    for (const entry of entries.filter(presentOf)) {
      if (entry.isAligned) at += -at & (pageSize - 1);
      expand(entry, file, at, pageSize).forEach((page, i) => {
        pages.set(entry.vaddr + BigInt(i * pageSize), page);
      });
      at += entry.storedBytes ?? entry.pages * pageSize;
    }
    if (at !== file.length) throw new Error(`pages-${pagesId}.img has ${file.length} bytes, its pagemap says ${at}`);
    spaces.set(pagemap, pages);
  }
  return spaces;
}

/** Where two memories differ; nothing if they are the same. Deep equality by a test runner takes seconds for this. */
export function diffMemory(a: ReturnType<typeof readMemory>, b: ReturnType<typeof readMemory>): string[] {
  const differences: string[] = [];
  for (const pagemap of new Set([...a.keys(), ...b.keys()])) {
    const [pagesA, pagesB] = [a.get(pagemap), b.get(pagemap)];
    for (const address of new Set([...(pagesA?.keys() ?? []), ...(pagesB?.keys() ?? [])])) {
      const [pageA, pageB] = [pagesA?.get(address), pagesB?.get(address)];
      if (!pageA || !pageB || Buffer.compare(pageA, pageB) !== 0) {
        const what = pageA ? (pageB ? 'differs' : 'is missing in the second') : 'is missing in the first';
        differences.push(`${pagemap} 0x${address.toString(16)} ${what}`);
      }
    }
  }
  return differences;
}

/** The pages of an entry. */
function expand(entry: ReadEntry, file: Uint8Array, at: number, pageSize: number): Uint8Array[] {
  let plain = file.subarray(at, at + entry.pages * pageSize);
  if (entry.blocks) {
    const blockBytes = (entry.pagesPerBlock ?? 1) * pageSize;
    const parts: Uint8Array[] = [];
    let left = entry.pages * pageSize;
    let position = at;
    for (const stored of entry.blocks) {
      const size = Math.min(blockBytes, left);
      const bytes = file.subarray(position, position + stored);
      parts.push(stored === 0 ? new Uint8Array(size) : stored === size ? bytes : unpacked(bytes, size));
      position += stored;
      left -= size;
    }
    plain = Buffer.concat(parts);
  }
  if (plain.length !== entry.pages * pageSize) throw new Error(`no pages for 0x${entry.vaddr.toString(16)}`);
  return Array.from({ length: entry.pages }, (_, i) => plain.subarray(i * pageSize, (i + 1) * pageSize));
}

/** An LZ4 block of so many plain bytes. */
function unpacked(block: Uint8Array, plainBytes: number): Uint8Array {
  const size = Buffer.alloc(4);
  size.writeUInt32LE(plainBytes);
  return uncompressSync(Buffer.concat([size, block]));
}

/** Fields of a message; of a repeated one the last. */
function takeApart(body: Uint8Array): { ints: Map<number, bigint>; bytes: Map<number, Uint8Array>; order: number[] } {
  const ints = new Map<number, bigint>();
  const bytes = new Map<number, Uint8Array>();
  const order: number[] = [];
  for (const [field, value] of fieldsOf(body)) {
    order.push(field);
    if (typeof value === 'bigint') ints.set(field, value);
    else bytes.set(field, value);
  }
  return { ints, bytes, order };
}

/** Number and value of each field of a message, in order. */
export function* fieldsOf(body: Uint8Array): Generator<[field: number, value: bigint | Uint8Array]> {
  for (let at = 0; at < body.length; ) {
    let tag: bigint;
    let value: bigint;
    [tag, at] = varint(body, at);
    [value, at] = varint(body, at);
    if ((tag & 7n) === 2n) {
      yield [Number(tag >> 3n), body.subarray(at, at + Number(value))];
      at += Number(value);
    } else {
      yield [Number(tag >> 3n), value];
    }
  }
}

function varint(bytes: Uint8Array, from: number): [value: bigint, at: number] {
  let value = 0n;
  for (let at = from, shift = 0n; at < bytes.length; at++, shift += 7n) {
    const byte = bytes[at] as number;
    value |= BigInt(byte & 127) << shift;
    if (byte < 128) return [value, at + 1];
  }
  throw new Error('a varint that does not end');
}

function varints(bytes: Uint8Array): bigint[] {
  const values: bigint[] = [];
  for (let at = 0; at < bytes.length; ) {
    let value: bigint;
    [value, at] = varint(bytes, at);
    values.push(value);
  }
  return values;
}
