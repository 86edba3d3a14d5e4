/**
 * Files that were deleted while somebody had them open: their content is in the dump. What `remap-fpath.img` says of them, and
 * whether the content is all there.
 */
import { posix } from 'node:path';
import type { Messages } from '../generated/entries.js';
import type { ImageHandler } from '../image/decoder.js';
import { type MessageDescriptor, messageDescriptor } from '../protobuf/descriptor.js';
import { readAnyObject } from '../protobuf/object.js';
import type { CheckedDump } from './checked-dump.js';
import { eachFile } from './file-ids.js';
import { ValueCheck } from './values.js';

/** File type in `ghost_file_entry.mode`, and regular files. */
const S_IFMT = 0o170000;
const S_IFREG = 0o100000;

const ghostName = (id: number): string => `ghost-file-${id.toString(16)}.img`;

const REMAPS = 'remap-fpath.img';

/** Content of a file without a name. */
const LINK_NAME = /\/link_remap\.\d+$/;

/** A file that remap-fpath.img says something of. */
interface Remap {
  entry: number;
  type: unknown;
  /** The image of the content of a ghost. */
  ghost?: string;
  /** The file that a link restores. */
  link?: number;
}

/** Whether deleted files have their content, as long as they were, or a link that leads to it. */
export function checkGhosts(dump: CheckedDump): void {
  const remaps = new Map<number, Remap>();
  const named = new Set<string>();
  const linked = new Set<number>();
  const read = dump.each(
    REMAPS,
    'remap_file_path_entry',
    ({ orig_id: file, remap_id: id, remap_type: type = 'LINKED' }, entry) => {
      if (type === 'GHOST') {
        const ghost = ghostName(id);
        dump.require(ghost, `entry ${entry} of ${REMAPS}`);
        remaps.set(file, { entry, type, ghost });
        named.add(ghost);
      } else {
        if (type === 'LINKED') linked.add(id);
        remaps.set(file, { entry, type, ...(type === 'LINKED' ? { link: id } : {}) });
      }
      new ValueCheck(dump, REMAPS, entry).must(typeof type === 'string', 'a known remap_type', type);
    },
  );
  if (dump.has(REMAPS) && !read) return;
  checkRemapped(dump, remaps, linked);
  for (const name of dump.sizes.keys()) {
    if (!name.startsWith('ghost-file-') || named.has(name)) continue;
    if (dump.has(REMAPS)) dump.warning('GHOST_UNUSED', name, `no entry of ${REMAPS} names it`);
    // Of an earlier dump there would be that image as well.
    else dump.require(REMAPS, name);
  }
}

/** @param linked files that links restore */
function checkRemapped(dump: CheckedDump, remaps: ReadonlyMap<number, Remap>, linked: ReadonlySet<number>): void {
  const folders = new Map<number, string>();
  eachFile(dump, ({ id, reg }) => {
    if (reg && (linked.has(id) || remaps.get(id)?.link !== undefined)) folders.set(id, posix.dirname(reg.name));
  });
  eachFile(dump, ({ id, reg }, image, fileEntry) => {
    if (!reg) return;
    if (LINK_NAME.test(reg.name) && !linked.has(id)) {
      dump.error('NO_FILE', image, `no entry of ${REMAPS} says which file ${reg.name} is`, { entry: fileEntry });
    }
    const remap = remaps.get(id);
    if (!remap) return;
    const { entry, type, ghost, link } = remap;
    const values = new ValueCheck(dump, REMAPS, entry);
    const isProcess = reg.name.startsWith('/proc/') || reg.name === '/proc';
    values.mustNot(type === 'PROCFS' && !isProcess, `file ${id} is said to be of a process, but is ${reg.name}`);
    const folder = link === undefined ? undefined : folders.get(link);
    const isElsewhere = folder !== undefined && folder !== folders.get(id);
    values.mustNot(isElsewhere, `file ${id} is in another folder than its link, file ${link}`);
    if (ghost) checkContent(dump, ghost, reg);
  });
}

function checkContent(dump: CheckedDump, name: string, reg: Messages['reg_file_entry']): void {
  const content = new Content();
  if (!dump.decode(name, content)) return;
  const { mode } = content;
  const isRight = reg.mode === undefined || mode === reg.mode;
  new ValueCheck(dump, name).must(isRight, `mode 0${reg.mode?.toString(8)} of the file`, `0${mode.toString(8)}`);
  if (!isRight || reg.size === undefined || (mode & S_IFMT) !== S_IFREG) return;
  const size = Number(reg.size);
  const found = content.size ?? content.held;
  if (found !== size) {
    dump.error('GHOST_SIZE', name, `expected ${size} bytes of a deleted file, found ${found}`);
  } else if (content.chunksEnd > size) {
    dump.error(
      'GHOST_SIZE',
      name,
      `expected chunks inside the ${size} bytes of a deleted file, found an end at ${content.chunksEnd}`,
    );
  }
}

/** How long the content of a deleted file is. */
class Content implements ImageHandler {
  /** `st_mode` */
  mode = 0;
  /** Of a file in chunks, with the holes between them. */
  size: number | undefined;
  /** Where the last chunk ends. */
  chunksEnd = 0;
  /** Bytes that are here. */
  held = 0;

  entry(descriptor: MessageDescriptor, bytes: Uint8Array, start: number, end: number): void {
    const object = readAnyObject(descriptor, bytes, start, end);
    if (descriptor === messageDescriptor('ghost_file_entry')) {
      const { mode, chunks, size } = object as unknown as Messages['ghost_file_entry'];
      this.mode = mode;
      if (chunks) this.size = Number(size ?? 0n);
    } else {
      const { len, off } = object as unknown as Messages['ghost_chunk_entry'];
      this.chunksEnd = Math.max(this.chunksEnd, Number(off + len));
    }
  }

  bytes(_bytes: Uint8Array, start: number, end: number): void {
    this.held += end - start;
  }
}
