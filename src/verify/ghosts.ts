/**
 * Files that were deleted while somebody had them open: their content is in the dump. What `remap-fpath.img` says of them, and
 * whether the content is all there.
 */
import type { Messages } from '../generated/entries.js';
import type { ImageHandler } from '../image/decoder.js';
import { type MessageDescriptor, messageDescriptor } from '../protobuf/descriptor.js';
import { readAnyObject } from '../protobuf/object.js';
import type { CheckedDump } from './checked-dump.js';
import { eachFile } from './file-ids.js';

/** File type in `ghost_file_entry.mode`, and regular files. */
const S_IFMT = 0o170000;
const S_IFREG = 0o100000;

const ghostName = (id: number): string => `ghost-file-${id.toString(16)}.img`;

/** Whether deleted files have their content, as long as they were. */
export function checkGhosts(dump: CheckedDump): void {
  const remaps = 'remap-fpath.img';
  /** By the id of the file: the image of its content. */
  const ghosts = new Map<number, string>();
  const named = new Set<string>();
  const read = dump.each(
    remaps,
    'remap_file_path_entry',
    ({ orig_id: file, remap_id: id, remap_type: type }, entry) => {
      if (type !== 'GHOST') return;
      const name = ghostName(id);
      dump.require(name, `entry ${entry} of ${remaps}`);
      ghosts.set(file, name);
      named.add(name);
    },
  );
  if (dump.has(remaps) && !read) return;
  const sizes = new Map<string, bigint>();
  if (ghosts.size > 0) {
    eachFile(dump, ({ id, reg }) => {
      const name = ghosts.get(id);
      if (name !== undefined && reg?.size !== undefined) sizes.set(name, reg.size);
    });
  }
  for (const [name, size] of sizes) checkSize(dump, name, Number(size));
  for (const name of dump.sizes.keys()) {
    if (!name.startsWith('ghost-file-') || named.has(name)) continue;
    dump.warning('GHOST_UNUSED', name, `expected an entry in ${remaps} that names it, found none`);
  }
}

function checkSize(dump: CheckedDump, name: string, size: number): void {
  const content = new Content();
  if (!dump.decode(name, content) || !content.isRegular) return;
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
  isRegular = false;
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
      this.isRegular = (mode & S_IFMT) === S_IFREG;
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
