// Makes dumps of any size for the benchmarks. Pages files are sparse unless they are to be dense, so tens of GiB cost
// no disk. Only what pagepipe reads is in the images: these dumps are not for CRIU.
import { closeSync, ftruncateSync, mkdirSync, openSync, writeFileSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import protobuf from 'protobufjs';

const PAGE = 4096;
const COMMON = 0x54564319;
const MAGIC = { INVENTORY: 0x58313116, PSTREE: 0x50273030, CORE: 0x55053847, MM: 0x57492820, PAGEMAP: 0x56084025 };
const LAZY_PRESENT = 6;
const PRESENT = 4;
/** MAP_PRIVATE | MAP_ANONYMOUS, and the same with MAP_LOCKED. */
const ANON = 0x22;
const LOCKED = 0x2022;
/** VMA_AREA_REGULAR | VMA_ANON_PRIVATE. */
const STATUS = 0x201;
const BASE = 0x10000000;

const proto = (name) => join(import.meta.dirname, '../proto/criu', name);

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
  const root = await new protobuf.Root().load([proto('task.proto'), proto('memory.proto')], { keepCase: true });
  const message = (name, fields) => {
    const type = root.lookupType(`criu.${name}`);
    return Buffer.from(type.encode(type.create(fields)).finish());
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
  image('core-1.img', 'CORE', message('core_entry', { mtype: 1, tc: { task_state: 1, comm: 'bench' } }));
  image('mm-1.img', 'MM', message('mm_entry', { vmas }));

  const pagemap = openSync(join(dir, 'pagemap-1.img'), 'wx', 0o600);
  const head = message('pagemap_head', { pages_id: 1 });
  writeSync(pagemap, Buffer.concat([words(COMMON, MAGIC.PAGEMAP, head.length), head]));
  for (let from = 0; from < runs; from += 4096) {
    const entries = [];
    for (let run = from; run < Math.min(from + 4096, runs); run++)
      entries.push(entry(address(run), runPages, isEager(run)));
    writeSync(pagemap, Buffer.concat(entries));
  }
  closeSync(pagemap);

  const pages = openSync(join(dir, 'pages-1.img'), 'wx', 0o600);
  const size = runs * runPages * PAGE;
  if (dense) {
    const piece = Buffer.alloc(1 << 20);
    for (let i = 0; i < piece.length; i += 4) piece.writeUInt32LE((i * 2654435761) >>> 0, i);
    for (let at = 0; at < size; at += piece.length) {
      piece.writeDoubleLE(at);
      writeSync(pages, piece, 0, Math.min(piece.length, size - at));
    }
  } else {
    ftruncateSync(pages, size);
  }
  closeSync(pages);
  return { runs, bytes: size };
}

const words = (...values) => {
  const bytes = Buffer.alloc(4 * values.length);
  for (const [i, value] of values.entries()) bytes.writeUInt32LE(value, 4 * i);
  return bytes;
};

/** An entry as CRIU 4.2 writes it, with its size. */
function entry(vaddr, pages, eager) {
  const body = [0x08, ...varint(vaddr), 0x10, 0, 0x20, eager ? PRESENT : LAZY_PRESENT, 0x28, ...varint(pages)];
  return Buffer.concat([words(body.length), Buffer.from(body)]);
}

function varint(value) {
  const bytes = [];
  for (let rest = value; ; rest = Math.floor(rest / 128)) {
    if (rest < 128) return [...bytes, rest];
    bytes.push((rest % 128) | 128);
  }
}
