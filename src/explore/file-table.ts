/**
 * The files that descriptors and mappings refer to by id.
 *
 * A current dump has all files in `files.img`, where an id may occur twice: a fifo has an entry for its path and one for its
 * pipe. The first one counts, as for crit. Older dumps have one image for each type of file.
 */

import type { Images } from '../dump/images.js';
import { DumpError } from '../errors.js';
import type { Messages } from '../generated/entries.js';
import { encodeQuotedPrintable } from '../json/quoted-printable.js';
import type { MessageName } from '../protobuf/descriptor.js';
import { decodeText } from '../protobuf/object.js';

/** The part of a file that is kept: the field of `file_entry` that crit prints. */
interface Known {
  reg?: string;
  pipe?: number;
  usk?: UnixSocket;
  memfd?: number;
}

/** What dumps from before `files.img` had as well. */
type OlderKind = Exclude<keyof Known, 'memfd'>;

interface UnixSocket {
  ino: number;
  peer: number;
  name: Uint8Array;
}

/** A descriptor of a process: type and id of its file. */
export type FileRef = Pick<Messages['fdinfo_entry'], 'type' | 'id'>;

/** A file in JSON. */
export interface FileData {
  type: string;
  id: number;
  /** Of regular files, directories, devices and fifos; null if the dump does not say. */
  path?: string | null;
  /** Both ends of a pipe have the same. */
  pipe?: number | null;
  /** Inode numbers of a unix socket and of its peer, and its name; abstract names begin with a zero byte. */
  unix?: { ino: number; peer: number; name: string | null } | null;
}

const OLDER = {
  reg: { image: 'reg-files.img', message: 'reg_file_entry' },
  pipe: { image: 'pipes.img', message: 'pipe_entry' },
  usk: { image: 'unixsk.img', message: 'unix_sk_entry' },
} as const satisfies Record<OlderKind, { image: string; message: MessageName }>;

/** The files of a dump. An image is read when a file in it is first needed. */
export class FileTable {
  private files: Map<number, Known> | undefined;
  private readonly older: Partial<Record<OlderKind, Map<number, Known>>> = {};

  constructor(private readonly images: Images) {}

  /** As crit writes it. */
  describe({ type, id }: FileRef): string {
    switch (type) {
      case 'REG':
        return this.pathText(id);
      case 'PIPE':
        return `pipe[${this.find('pipe', id) ?? '?'}]`;
      case 'UNIXSK':
        return unixText(this.find('usk', id));
      default:
        return `${type}.${id}`;
    }
  }

  /** The path of a file with a path, as crit writes it. */
  pathText(id: number): string {
    return this.find('reg', id) || 'unknown path';
  }

  /** The path of a file with a path, or null. */
  path(id: number): string | null {
    return this.find('reg', id) || null;
  }

  /** The same where the dump may lack the image of files. */
  pathIfKnown(id: number): string | null {
    return this.images.has('files.img') || this.images.has(OLDER.reg.image) ? this.path(id) : null;
  }

  /** For JSON. */
  data({ type, id }: FileRef): FileData {
    const file = { type: String(type), id };
    if (type === 'REG' || type === 'FIFO') return { ...file, path: this.path(id) };
    if (type === 'PIPE') return { ...file, pipe: this.find('pipe', id) ?? null };
    if (type !== 'UNIXSK') return file;
    const socket = this.find('usk', id);
    return { ...file, unix: socket ? { ino: socket.ino, peer: socket.peer, name: unixName(socket.name) } : null };
  }

  /** The inode number of a memfd; undefined for any other file. */
  memfdInode(id: number): number | undefined {
    this.files ??= this.readFiles();
    return this.files.get(id)?.memfd;
  }

  private find<K extends OlderKind>(kind: K, id: number): Known[K] | undefined {
    this.files ??= this.readFiles();
    const known = this.files.get(id) ?? this.olderFiles(kind).get(id);
    return known?.[kind];
  }

  private readFiles(): Map<number, Known> {
    const files = new Map<number, Known>();
    if (!this.images.has('files.img')) return files;
    this.images.each('files.img', 'file_entry', ({ id, reg, pipe, usk, memfd }) => {
      if (files.has(id)) return;
      const known: Known = {};
      if (reg) known.reg = reg.name;
      if (pipe) known.pipe = pipe.pipe_id;
      if (usk) known.usk = { ino: usk.ino, peer: usk.peer, name: usk.name };
      if (memfd) known.memfd = memfd.inode_id;
      files.set(id, known);
    });
    return files;
  }

  private olderFiles(kind: OlderKind): Map<number, Known> {
    let files = this.older[kind];
    if (!files) {
      files = this.readOlder(kind);
      this.older[kind] = files;
    }
    return files;
  }

  private readOlder(kind: OlderKind): Map<number, Known> {
    const { image, message } = OLDER[kind];
    const files = new Map<number, Known>();
    if (!this.images.has(image)) {
      if (this.images.has('files.img')) return files;
      throw new DumpError('MISSING_IMAGE', `expected this image, or ${image} of older dumps, found neither`, {
        file: 'files.img',
      });
    }
    this.images.each(image, message, (entry) => {
      if (files.has(entry.id)) return;
      if ('pipe_id' in entry) files.set(entry.id, { pipe: entry.pipe_id });
      else if ('ino' in entry) files.set(entry.id, { usk: entry });
      else files.set(entry.id, { reg: entry.name });
    });
    return files;
  }
}

function unixText(socket: UnixSocket | undefined): string {
  if (!socket) return 'unix[?]';
  const name = encodeQuotedPrintable(socket.name);
  return `unix[${socket.ino} (${socket.peer})${name === '' ? '' : ` ${name}`}]`;
}

/** Without the zero byte that ends the name of a socket in the file system. */
function unixName(bytes: Uint8Array): string | null {
  if (bytes.length === 0) return null;
  const ends = bytes.length > 1 && bytes[0] !== 0 && bytes.at(-1) === 0;
  return decodeText(ends ? bytes.subarray(0, -1) : bytes);
}
