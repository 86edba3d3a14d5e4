/**
 * The files of a dump by id, and the parts of them that others refer to. Current dumps have all files in `files.img`, older
 * ones have an image for each type of file.
 */
import type { Messages } from '../generated/entries.js';
import type { MessageName } from '../protobuf/descriptor.js';
import type { CheckedDump } from './checked-dump.js';

/** Images of older dumps, by the type of their files. */
const OLDER = {
  REG: ['reg-files.img', 'reg_file_entry'],
  PIPE: ['pipes.img', 'pipe_entry'],
  FIFO: ['fifo.img', 'fifo_entry'],
  INETSK: ['inetsk.img', 'inet_sk_entry'],
  UNIXSK: ['unixsk.img', 'unix_sk_entry'],
  EVENTFD: ['eventfd.img', 'eventfd_file_entry'],
  EVENTPOLL: ['eventpoll.img', 'eventpoll_file_entry'],
  INOTIFY: ['inotify.img', 'inotify_file_entry'],
  SIGNALFD: ['signalfd.img', 'signalfd_entry'],
  PACKETSK: ['packetsk.img', 'packet_sock_entry'],
  TTY: ['tty.img', 'tty_file_entry'],
  FANOTIFY: ['fanotify.img', 'fanotify_file_entry'],
  NETLINKSK: ['netlinksk.img', 'netlink_sk_entry'],
  NS: ['ns-files.img', 'ns_file_entry'],
  TUNF: ['tunfile.img', 'tunfile_entry'],
  EXT: ['ext-files.img', 'ext_file_entry'],
  TIMERFD: ['timerfd.img', 'timerfd_entry'],
  BPFMAP: ['bpfmap-file.img', 'bpfmap_file_entry'],
  PIDFD: ['pidfd.img', 'pidfd_entry'],
} as const satisfies Record<string, readonly [string, MessageName]>;

/** A file as an entry of `files.img`, whatever image it comes from. */
export type FileEntry = Messages['file_entry'];

/** Fields of `file_entry` by the type of the file. */
const FIELDS = {
  REG: 'reg',
  PIPE: 'pipe',
  FIFO: 'fifo',
  INETSK: 'isk',
  UNIXSK: 'usk',
  EVENTFD: 'efd',
  EVENTPOLL: 'epfd',
  INOTIFY: 'ify',
  SIGNALFD: 'sgfd',
  PACKETSK: 'psk',
  TTY: 'tty',
  FANOTIFY: 'ffy',
  NETLINKSK: 'nlsk',
  NS: 'nsf',
  TUNF: 'tunf',
  EXT: 'ext',
  TIMERFD: 'tfd',
  BPFMAP: 'bpf',
  PIDFD: 'pidfd',
  MEMFD: 'memfd',
} as const satisfies Record<keyof typeof OLDER | 'MEMFD', keyof FileEntry>;

/** What the messages of most files have. */
interface FileMessage {
  id: number;
  flags?: number;
  pos?: bigint;
  fown?: Messages['fown_entry'];
}

/** The message of a file, which is that of its type. */
export function messageOf(file: FileEntry): FileMessage | undefined {
  const field = (FIELDS as Record<string, keyof FileEntry>)[String(file.type)];
  return field === undefined ? undefined : (file[field] as FileMessage | undefined);
}

/** The image has a socket that belongs to a process outside the dump. Source: CRIU, USK_EXTERN. */
export const EXTERNAL_SOCKET = 1;

/** Calls `take` for each file, with the name of its image. */
export function eachFile(dump: CheckedDump, take: (file: FileEntry, image: string, entry: number) => void): boolean {
  let sound = !dump.has('files.img') || dump.each('files.img', 'file_entry', (file, i) => take(file, 'files.img', i));
  for (const [type, [image, message]] of Object.entries(OLDER) as [keyof typeof OLDER, [string, MessageName]][]) {
    if (!dump.has(image)) continue;
    const read = dump.each(image, message, (entry, i) => {
      const { id } = entry as unknown as { id: number };
      take({ type, id, [FIELDS[type]]: entry } as unknown as FileEntry, image, i);
    });
    sound &&= read;
  }
  return sound;
}

/** Whether the dump has any image of files. */
export const hasFileImages = (dump: CheckedDump): boolean =>
  dump.has('files.img') || Object.values(OLDER).some(([image]) => dump.has(image));

/** The place of files, for messages. */
export const placeOfFiles = (dump: CheckedDump): string =>
  dump.has('files.img') ? 'files.img' : 'the images of its files';

/** Whether open(2) flags are those of a descriptor that nothing can be read from. */
export const isWriteOnly = (flags: number): boolean => (flags & 3) === 1;

export class FileIds {
  /** Types by id. An id may occur twice: a tun device has an entry for its path and one for itself. */
  private readonly types = new Map<number, string | Set<string>>();
  private readonly used = new Set<number>();
  /** Nobody in the dump has them open. */
  private readonly external = new Set<number>();
  /** Regular files, and paths of fifos, that are open for writing alone. */
  readonly writeOnly = new Set<number>();
  /** `st_mode` of regular files, where it is known. */
  readonly modes = new Map<number, number>();
  readonly pipes = new Set<number>();
  readonly fifos = new Set<number>();
  readonly maps = new Set<number>();
  /** Inodes of unix sockets. */
  readonly unixSockets = new Set<number>();

  add({ id, type, reg, pipe, fifo, bpf, usk }: FileEntry): void {
    const known = this.types.get(id);
    if (known instanceof Set) known.add(String(type));
    else this.types.set(id, known === undefined ? String(type) : new Set([known, String(type)]));
    if (reg && isWriteOnly(reg.flags)) this.writeOnly.add(id);
    if (reg?.mode !== undefined) this.modes.set(id, reg.mode);
    if (pipe) this.pipes.add(pipe.pipe_id);
    if (fifo) this.fifos.add(fifo.pipe_id);
    if (bpf) this.maps.add(bpf.map_id);
    if (usk) this.unixSockets.add(usk.ino);
    if (usk && (usk.uflags & EXTERNAL_SOCKET) !== 0) this.external.add(id);
  }

  /** Whether there is such a file; then it counts as used. */
  use(id: number): boolean {
    this.used.add(id);
    return this.types.has(id);
  }

  /** Types of a file, as text; undefined if there is none. */
  typesOf(id: number): string[] | undefined {
    const types = this.types.get(id);
    return types === undefined ? undefined : typeof types === 'string' ? [types] : [...types];
  }

  /** Files that nothing refers to. */
  *unused(): Generator<{ id: number; types: string[] }> {
    for (const id of this.types.keys()) {
      if (!this.used.has(id) && !this.external.has(id)) yield { id, types: this.typesOf(id) as string[] };
    }
  }
}
