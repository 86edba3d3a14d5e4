// Makes dumps and single images of any size for the benchmarks. Pages files are sparse unless they are to be dense, so
// tens of GiB cost no disk. Only what pagepipe reads is in the images of a dump: these dumps are not for CRIU.
import { closeSync, ftruncateSync, mkdirSync, openSync, readFileSync, writeFileSync, writeSync } from 'node:fs';
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
};
const LAZY_PRESENT = 6;
const PRESENT = 4;
/** MAP_PRIVATE | MAP_ANONYMOUS, and the same with MAP_LOCKED. */
const ANON = 0x22;
const LOCKED = 0x2022;
/** VMA_AREA_REGULAR | VMA_ANON_PRIVATE. */
const STATUS = 0x201;
const BASE = 0x10000000;
/** What every core of today has. */
const TASK = { task_state: 1, comm: 'bench', timers: { real: {}, virt: {}, prof: {} }, rlimits: {}, sigactions: [{}] };
/** An image of a deleted file without content: its magic and its entry. What follows would be the content. */
const EMPTY_GHOST = join(import.meta.dirname, '../fixtures/zdtm/h-inotify00/ghost-file-1.img');

const { resolve } = createRequire(import.meta.url);
const schema = new protobuf.Root();
schema.resolvePath = (_origin, name) =>
  name.startsWith('google/') ? resolve(`protobufjs/${name}`) : join(import.meta.dirname, '../proto', name);

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

  const bytes = lazyBytes + eagerBytes;
  const runs = Math.ceil(bytes / PAGE / runPages);
  const eagerRuns = Math.round(eagerBytes / PAGE / runPages);
  const stepPages = runPages + gapPages;
  const isEager = (run) => (interleave ? run % 2 === 1 : run < eagerRuns);
  const address = (run) => BASE + run * stepPages * PAGE;
  const vma = (from, to, flags) => ({
    start: address(from),
    end: address(to),
    pgoff: 0,
    shmid: 0,
    prot: 3,
    flags,
    status: STATUS,
    fd: -1,
  });
  const vmas = interleave
    ? Array.from({ length: runs }, (_, run) => vma(run, run + 1, isEager(run) ? LOCKED : ANON))
    : [
        ...(eagerRuns > 0 ? [vma(0, eagerRuns, LOCKED)] : []),
        ...(eagerRuns < runs ? [vma(eagerRuns, runs, ANON)] : []),
      ];

  image('inventory.img', 'INVENTORY', message('inventory_entry', { img_version: 2 }));
  image('pstree.img', 'PSTREE', message('pstree_entry', { pid: 1, ppid: 0, pgid: 1, sid: 1, threads: [1] }));
  image('core-1.img', 'CORE', message('core_entry', { mtype: 1, tc: TASK, thread_core: { creds: {} } }));
  image('ids-1.img', 'IDS', message('task_kobj_ids_entry', { vm_id: 1, files_id: 1, fs_id: 1, sighand_id: 1 }));
  image('fs-1.img', 'FS', message('fs_entry', { cwd_id: 1, root_id: 1 }));
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

/** Makes a pagemap with runs of 1 to 256 pages, every other one lazy. */
export function generatePagemap(path, runs) {
  writePagemap(path, runs, {
    address: (run) => BASE + run * 512 * PAGE,
    pages: (run) => 1 + (run % 256),
    isEager: (run) => run % 2 === 0,
  });
}

/** Makes the image of a deleted file with so many bytes in it. */
export function generateGhostFile(path, bytes) {
  const file = openSync(path, 'wx', 0o600);
  writeSync(file, readFileSync(EMPTY_GHOST));
  writeDense(file, bytes);
  closeSync(file);
}

/** Each of the functions is given the number of a run. */
function writePagemap(path, runs, { address, pages, isEager }) {
  const file = openSync(path, 'wx', 0o600);
  // The head: a field, and the 1 in pages-1.img.
  writeSync(file, Buffer.concat([words(COMMON, MAGIC.PAGEMAP, 2), Buffer.of(0x08, 1)]));
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

/** Bytes that do not repeat, to the end of a file. */
function writeDense(file, size) {
  const piece = Buffer.alloc(1 << 20);
  for (let i = 0; i < piece.length; i += 4) piece.writeUInt32LE((i * 2654435761) >>> 0, i);
  for (let at = 0; at < size; at += piece.length) {
    piece.writeDoubleLE(at);
    writeSync(file, piece, 0, Math.min(piece.length, size - at));
  }
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
