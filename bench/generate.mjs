// Makes dumps and single images of any size for the benchmarks. Pages files are sparse unless they are to be dense, so
// tens of GiB cost no disk. Only what pagepipe reads is in the images of a dump: these dumps are not for CRIU.
import {
  closeSync,
  copyFileSync,
  fstatSync,
  ftruncateSync,
  mkdirSync,
  openSync,
  readFileSync,
  readSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import protobuf from 'protobufjs';

const PAGE = 4096;
const COMMON = 0x54564319;
const MAGIC = {
  INVENTORY: 0x58313116,
  PSTREE: 0x50273030,
  CORE: 0x55053847,
  IDS: 0x54432030,
  FS: 0x51403912,
  MM: 0x57492820,
  PAGEMAP: 0x56084025,
  FILES: 0x56303138,
};
const LAZY_PRESENT = 6;
const PRESENT = 4;
/** MAP_PRIVATE | MAP_ANONYMOUS, and the same with MAP_LOCKED. */
const ANON = 0x22;
const LOCKED = 0x2022;
/** VMA_AREA_REGULAR | VMA_ANON_PRIVATE. */
const STATUS = 0x201;
const BASE = 0x10000000;
/** What every current core has. */
const TASK = { task_state: 1, comm: 'bench', timers: { real: {}, virt: {}, prof: {} }, rlimits: {}, sigactions: [{}] };
/** Registers, of which `pagepipe core` wants to see that they are there. */
const REGISTERS =
  'r15 r14 r13 r12 bp bx r11 r10 r9 r8 ax cx dx si di orig_ax ip cs flags sp ss fs_base gs_base ds es fs gs'.split(' ');
const THREAD = {
  clear_tid_addr: 0,
  gpregs: Object.fromEntries(REGISTERS.map((name) => [name, 0])),
  fpregs: { cwd: 0, swd: 0, twd: 0, fop: 0, rip: 0, rdp: 0, mxcsr: 0, mxcsr_mask: 0 },
};
/** An image of a deleted file without content: its magic and its entry. What follows would be the content. */
const EMPTY_GHOST = join(import.meta.dirname, '../fixtures/zdtm/h-inotify00/ghost-file-1.img');

const { resolve } = createRequire(import.meta.url);
const schema = new protobuf.Root();
schema.resolvePath = (_origin, name) =>
  name.startsWith('google/') ? resolve(`protobufjs/${name}`) : join(import.meta.dirname, '../proto', name);

/** Makes a folder, and what writes images into it. */
async function imagesIn(dir) {
  await schema.load(['criu/inventory.proto', 'criu/memory.proto', 'criu/task.proto'], { keepCase: true });
  const message = (name, fields) => {
    const type = schema.lookupType(`criu.${name}`);
    return Buffer.from(type.encode(type.fromObject(fields)).finish());
  };
  mkdirSync(dir, { recursive: true, mode: 0o700 });
  const image = (name, type, ...entries) => {
    const magic = type === 'INVENTORY' ? [MAGIC.INVENTORY] : [COMMON, MAGIC[type]];
    writeFileSync(join(dir, name), Buffer.concat([words(...magic), ...entries.flatMap((e) => [words(e.length), e])]), {
      mode: 0o600,
    });
  };
  return { image, message };
}

/** What every process has, except its memory. */
function writeTask({ image, message }, pid) {
  image(
    `core-${pid}.img`,
    'CORE',
    message('core_entry', { mtype: 1, thread_info: THREAD, tc: TASK, thread_core: { creds: {} } }),
  );
  const ids = { vm_id: pid, files_id: pid, fs_id: pid, sighand_id: pid };
  image(`ids-${pid}.img`, 'IDS', message('task_kobj_ids_entry', ids));
  image(`fs-${pid}.img`, 'FS', message('fs_entry', { cwd_id: 1, root_id: 1 }));
}

/** Makes a dump of many processes with eight pages each, half of them eager. */
export async function generateTasks(dir, count) {
  const images = await imagesIn(dir);
  const { image, message } = images;
  const pids = Array.from({ length: count }, (_, i) => i + 1);
  image('inventory.img', 'INVENTORY', message('inventory_entry', { img_version: 2 }));
  const entry = (pid) => message('pstree_entry', { pid, ppid: pid > 1 ? 1 : 0, pgid: 1, sid: 1, threads: [pid] });
  image('pstree.img', 'PSTREE', ...pids.map(entry));
  image('files.img', 'FILES');
  const address = (run) => BASE + run * 4 * PAGE;
  const isEager = (run) => run === 0;
  for (const pid of pids) {
    writeTask(images, pid);
    image(
      `mm-${pid}.img`,
      'MM',
      message('mm_entry', { vmas: [areaOf(address, 0, 1, LOCKED), areaOf(address, 1, 2, ANON)] }),
    );
    writePagemap(join(dir, `pagemap-${pid}.img`), 2, { address, pages: () => 4, isEager, pagesId: pid });
    writeFileSync(join(dir, `pages-${pid}.img`), memoryBlock().subarray(0, 8 * PAGE), { mode: 0o600 });
  }
}

/**
 * Makes a dump of one process.
 * @param {string} dir must not exist
 * @param {{ lazyBytes: number, eagerBytes: number, runPages?: number, gapPages?: number, dense?: boolean,
 *   interleave?: boolean }} of
 *   runPages: pages of an entry (256, where CRIU cuts); gapPages: unmapped pages between entries; interleave: eager and
 *   lazy areas of one entry each, in turn, instead of all eager memory first
 */
export async function generateDump(
  dir,
  { lazyBytes, eagerBytes, runPages = 256, gapPages = 0, dense = false, interleave = false },
) {
  const { image, message } = await imagesIn(dir);
  const bytes = lazyBytes + eagerBytes;
  const runs = Math.ceil(bytes / PAGE / runPages);
  const eagerRuns = Math.round(eagerBytes / PAGE / runPages);
  const stepPages = runPages + gapPages;
  const isEager = (run) => (interleave ? run % 2 === 1 : run < eagerRuns);
  const address = (run) => BASE + run * stepPages * PAGE;
  const vma = (from, to, flags) => areaOf(address, from, to, flags);
  const vmas = interleave
    ? Array.from({ length: runs }, (_, run) => vma(run, run + 1, isEager(run) ? LOCKED : ANON))
    : [
        ...(eagerRuns > 0 ? [vma(0, eagerRuns, LOCKED)] : []),
        ...(eagerRuns < runs ? [vma(eagerRuns, runs, ANON)] : []),
      ];

  image('inventory.img', 'INVENTORY', message('inventory_entry', { img_version: 2 }));
  image('pstree.img', 'PSTREE', message('pstree_entry', { pid: 1, ppid: 0, pgid: 1, sid: 1, threads: [1] }));
  writeTask({ image, message }, 1);
  image('files.img', 'FILES');
  image('mm-1.img', 'MM', message('mm_entry', { vmas }));

  writePagemap(join(dir, 'pagemap-1.img'), runs, { address, pages: () => runPages, isEager });

  const pages = openSync(join(dir, 'pages-1.img'), 'wx', 0o600);
  const size = runs * runPages * PAGE;
  if (dense) writeDense(pages, size);
  else ftruncateSync(pages, size);
  closeSync(pages);
  return { runs, bytes: size };
}

/** An area from a run to another one. */
function areaOf(address, from, to, flags) {
  return { start: address(from), end: address(to), pgoff: 0, shmid: 0, prot: 3, flags, status: STATUS, fd: -1 };
}

/** Makes a pagemap with runs of 1 to 256 pages, every other one lazy. */
export function generatePagemap(path, runs) {
  writePagemap(path, runs, {
    address: (run) => BASE + run * 512 * PAGE,
    pages: (run) => 1 + (run % 256),
    isEager: (run) => run % 2 === 0,
  });
}

/** Makes a dump of one process with two pages, and of many deleted files without content. */
export async function generateFiles(dir, count) {
  await generateDump(dir, { lazyBytes: PAGE, eagerBytes: PAGE, runPages: 1, dense: true });
  for (let i = 1; i <= count; i++) copyFileSync(EMPTY_GHOST, join(dir, `ghost-file-${i}.img`));
}

/** Makes the image of a deleted file of this many bytes. */
export function generateGhostFile(path, bytes) {
  const file = openSync(path, 'wx', 0o600);
  writeSync(file, readFileSync(EMPTY_GHOST));
  writeDense(file, bytes);
  closeSync(file);
}

/** Each of the functions is given the number of a run. */
function writePagemap(path, runs, { address, pages, isEager, pagesId = 1 }) {
  const file = openSync(path, 'wx', 0o600);
  // The head: a field, and the number in the name of the pages file.
  const head = Buffer.alloc(8);
  head[0] = 0x08;
  const headEnd = putVarint(head, 1, pagesId);
  writeSync(file, Buffer.concat([words(COMMON, MAGIC.PAGEMAP, headEnd), head.subarray(0, headEnd)]));
  const piece = Buffer.alloc(1 << 20);
  let end = 0;
  for (let run = 0; run < runs; run++) {
    end = putEntry(piece, end, address(run), pages(run), isEager(run));
    // No entry is longer than 64 bytes.
    if (end > piece.length - 64) {
      writeSync(file, piece, 0, end);
      end = 0;
    }
  }
  writeSync(file, piece, 0, end);
  closeSync(file);
}

/**
 * Memory like that of real processes. Of a hundred pages so many are of a kind: the mean of the two kinds of dumps in fixtures/,
 * programs that fill their memory at random and those that do something.
 */
const KINDS = [
  [37, randomPage],
  [27, sparsePage],
  [16, codePage],
  [12, pointerPage],
  [8, () => {}],
];
/** Made once, and larger than any window of a compressor: repeating it is like not repeating. */
const BLOCK_PAGES = 4096;

/** Fills a file with memory, to its size in bytes. */
function writeDense(file, size) {
  const block = memoryBlock();
  for (let at = 0; at < size; at += block.length) {
    // No two blocks are equal, so that a file system cannot share them.
    block.writeDoubleLE(at + 1, 0);
    writeSync(file, block, 0, Math.min(block.length, size - at));
  }
}

let known;

function memoryBlock() {
  if (known) return known;
  known = Buffer.alloc(BLOCK_PAGES * PAGE);
  const random = randomNumbers(1);
  for (let at = 0; at < known.length; at += PAGE) {
    fillOf(random() % 100)(known.subarray(at, at + PAGE), random);
  }
  return known;
}

/** What fills a page; `hundredth` chooses among the kinds by their shares. */
function fillOf(hundredth) {
  let end = 0;
  for (const [share, fill] of KINDS) {
    end += share;
    if (hundredth < end) return fill;
  }
}

function randomPage(page, random) {
  for (let i = 0; i < page.length; i += 4) page.writeUInt32LE(random(), i);
}

/** Mostly zeros, and small numbers among them. */
function sparsePage(page, random) {
  for (let i = 0; i < page.length; i += 64) page.writeUInt32LE(random() % 4096, i + 4 * (random() % 16));
}

/** Machine code: that of Node. */
function codePage(page, random) {
  node ??= openSync(process.execPath, 'r');
  const pages = Math.floor(fstatSync(node).size / PAGE);
  readSync(node, page, 0, PAGE, PAGE * (Math.floor(pages / 4) + (random() % Math.floor(pages / 2))));
}

let node;

/** Addresses of one heap, and numbers between them. */
function pointerPage(page, random) {
  for (let i = 0; i < page.length; i += 16) {
    page.writeBigUInt64LE(0x7f3a00000000n + BigInt(random() % 0x4000000) * 16n, i);
    page.writeUInt32LE(random() % 256, i + 8);
  }
}

/** The same numbers of 32 bits at each run: xorshift. */
function randomNumbers(seed) {
  let state = seed;
  return () => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    state >>>= 0;
    return state;
  };
}

const words = (...values) => {
  const bytes = Buffer.alloc(4 * values.length);
  for (const [i, value] of values.entries()) bytes.writeUInt32LE(value, 4 * i);
  return bytes;
};

/** Puts an entry as CRIU 4.2 writes it, with its size; returns its end. */
function putEntry(piece, at, vaddr, pages, eager) {
  let end = at + 4;
  piece[end++] = 0x08;
  end = putVarint(piece, end, vaddr);
  // Where the number of pages was before 4.2.
  piece[end++] = 0x10;
  piece[end++] = 0;
  piece[end++] = 0x20;
  piece[end++] = eager ? PRESENT : LAZY_PRESENT;
  piece[end++] = 0x28;
  end = putVarint(piece, end, pages);
  piece.writeUInt32LE(end - at - 4, at);
  return end;
}

function putVarint(piece, at, value) {
  let end = at;
  let rest = value;
  for (; rest >= 128; rest = Math.floor(rest / 128)) piece[end++] = (rest % 128) | 128;
  piece[end++] = rest;
  return end;
}
