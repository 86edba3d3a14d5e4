/**
 * Open files with their positions and flags, and the descriptors that lead to them. Dumps of today have all in files.img, older
 * ones an image for each type.
 */
import type { Images } from '../dump/images.js';
import type { Messages } from '../generated/entries.js';
import type { Attempt } from './gaps.js';
import { inetSocket, netlinkSocket, packetSocket, readQueues, type SocketData, unixSocket } from './sockets.js';
import { openFlags } from './words.js';

export interface OpenFile {
  id: number;
  /** As in `fd_types`: REG, PIPE, INETSK and so on. */
  type: string;
  /** A path, or what else tells this file from others; null if there is nothing. */
  name: string | null;
  /** O_* */
  flags: string | null;
  /** Bytes from the start; as text beyond 2^53. */
  position: number | string | null;
  /** Bytes of a regular file when it was dumped. */
  size: number | string | null;
  /** What a restore makes of a file whose path is gone. */
  remap?: string;
}

export interface DescriptorData extends OpenFile {
  fd: number;
  closeOnExec: boolean;
}

export interface ProcessFiles {
  pid: number;
  descriptors: DescriptorData[];
}

type FileEntry = Messages['file_entry'];

/** Older images: the field of `file_entry` that their entries became, and its type. */
const OLDER = [
  ['reg-files.img', 'reg_file_entry', 'reg', 'REG'],
  ['pipes.img', 'pipe_entry', 'pipe', 'PIPE'],
  ['fifo.img', 'fifo_entry', 'fifo', 'FIFO'],
  ['unixsk.img', 'unix_sk_entry', 'usk', 'UNIXSK'],
  ['inetsk.img', 'inet_sk_entry', 'isk', 'INETSK'],
  ['netlinksk.img', 'netlink_sk_entry', 'nlsk', 'NETLINKSK'],
  ['packetsk.img', 'packet_sock_entry', 'psk', 'PACKETSK'],
  ['eventfd.img', 'eventfd_file_entry', 'efd', 'EVENTFD'],
  ['eventpoll.img', 'eventpoll_file_entry', 'epfd', 'EVENTPOLL'],
  ['signalfd.img', 'signalfd_entry', 'sgfd', 'SIGNALFD'],
  ['timerfd.img', 'timerfd_entry', 'tfd', 'TIMERFD'],
  ['inotify.img', 'inotify_file_entry', 'ify', 'INOTIFY'],
  ['tty.img', 'tty_file_entry', 'tty', 'TTY'],
  ['ns-files.img', 'ns_file_entry', 'nsf', 'NS'],
] as const;

const FD_CLOEXEC = 1;

export class OpenFiles {
  readonly sockets = new Map<number, SocketData>();
  private readonly files = new Map<number, OpenFile>();
  private readonly remaps = new Map<number, string>();
  private readonly memfds = new Map<number, string>();

  constructor(
    private readonly images: Images,
    private readonly attempt: Attempt,
  ) {
    this.readRemaps();
    if (images.has('memfd.img')) {
      attempt('memfd.img', () =>
        images.each('memfd.img', 'memfd_inode_entry', ({ inode_id: inode, name }) => {
          this.memfds.set(Number(inode), name);
        }),
      );
    }
    const older = OLDER.filter(([image]) => images.has(image));
    if (images.has('files.img') || older.length === 0) {
      attempt('files.img', () => images.each('files.img', 'file_entry', (entry) => this.add(entry), 'pstree.img'));
    }
    for (const [image, message, field, type] of older) {
      attempt(image, () =>
        images.each(image, message, (entry) => this.add({ type, id: entry.id, [field]: entry } as FileEntry)),
      );
    }
    const queues = readQueues(images, attempt);
    for (const socket of this.sockets.values()) socket.received += queues.get(socket.id) ?? 0;
    this.namePeers();
  }

  /** The descriptors of a process; also makes it an owner of its sockets. */
  of(pid: number, filesId: number | undefined): DescriptorData[] {
    const name = `fdinfo-${filesId}.img`;
    const descriptors: DescriptorData[] = [];
    // An image without entries is not written.
    if (filesId === undefined || !this.images.has(name)) return descriptors;
    this.attempt(name, () =>
      this.images.each(name, 'fdinfo_entry', ({ fd, id, type, flags }) => {
        const file = this.files.get(id) ?? empty(id, String(type));
        descriptors.push({ fd, ...file, closeOnExec: (flags & FD_CLOEXEC) !== 0 });
        this.sockets.get(id)?.owners.push({ pid, fd });
      }),
    );
    return descriptors;
  }

  private add(entry: FileEntry): void {
    // A fifo has an entry for its path and one for its pipe: the first one has the path.
    const known = this.files.get(entry.id);
    if (known && known.name !== null) return;
    this.files.set(entry.id, { ...empty(entry.id, String(entry.type)), ...this.describe(entry) });
  }

  private describe({
    id,
    reg,
    isk,
    nsf,
    psk,
    nlsk,
    efd,
    epfd,
    sgfd,
    tfd,
    ify,
    usk,
    fifo,
    pipe,
    tty,
    memfd,
  }: FileEntry): Partial<OpenFile> {
    if (reg) {
      const remap = this.remaps.get(id);
      const size = reg.size === undefined ? null : exact(reg.size);
      const file = { name: reg.name, flags: openFlags(reg.flags), position: exact(reg.pos), size };
      return remap === undefined ? file : { ...file, remap };
    }
    if (pipe) return { name: `pipe:[${pipe.pipe_id}]`, flags: openFlags(pipe.flags) };
    if (fifo) return { name: null };
    if (memfd) {
      const name = this.memfds.get(memfd.inode_id);
      return {
        name: name === undefined ? null : `memfd:${name}`,
        flags: openFlags(memfd.flags),
        position: exact(memfd.pos),
      };
    }
    if (efd) return { name: `eventfd: count ${efd.counter}`, flags: openFlags(efd.flags) };
    if (epfd)
      return { name: `epoll: ${epfd.tfd?.map(({ tfd: fd }) => fd).join(' ') ?? ''}`, flags: openFlags(epfd.flags) };
    if (sgfd) return { name: `signalfd: 0x${sgfd.sigmask.toString(16)}`, flags: openFlags(sgfd.flags) };
    if (tfd) return { name: `timerfd: clock ${tfd.clockid}`, flags: openFlags(tfd.flags) };
    if (ify) return { name: `inotify: ${ify.wd?.length ?? 0} watches`, flags: openFlags(ify.flags) };
    if (tty) return { name: `tty: ${tty.tty_info_id}`, flags: openFlags(tty.flags) };
    if (nsf) return { name: `namespace: ${nsf.ns_id}`, flags: openFlags(nsf.flags) };
    const socket = this.socketOf({ isk, psk, nlsk, usk });
    if (!socket) return {};
    this.sockets.set(id, socket);
    const { flags } = (isk ?? psk ?? nlsk ?? usk) as { flags: number };
    return { name: socketName(socket), flags: openFlags(flags) };
  }

  private socketOf({ isk, psk, nlsk, usk }: Record<'isk' | 'psk' | 'nlsk' | 'usk', unknown>): SocketData | undefined {
    if (isk) return inetSocket(isk as Messages['inet_sk_entry'], this.images, this.attempt);
    if (psk) return packetSocket(psk as Messages['packet_sock_entry']);
    if (nlsk) return netlinkSocket(nlsk as Messages['netlink_sk_entry']);
    return usk ? unixSocket(usk as Messages['unix_sk_entry']) : undefined;
  }

  private readRemaps(): void {
    if (!this.images.has('remap-fpath.img')) return;
    this.attempt('remap-fpath.img', () =>
      this.images.each(
        'remap-fpath.img',
        'remap_file_path_entry',
        ({ orig_id: id, remap_id: other, remap_type: type }) => {
          const kind = String(type ?? 'GHOST').toLowerCase();
          this.remaps.set(id, kind === 'ghost' ? `ghost-file-${other.toString(16)}.img` : kind);
        },
      ),
    );
  }

  /** The other end of a unix socket, by its inode. */
  private namePeers(): void {
    const byInode = new Map<number, SocketData>();
    for (const socket of this.sockets.values()) if (socket.inode !== null) byInode.set(socket.inode, socket);
    for (const socket of this.sockets.values()) {
      if (socket.peer !== undefined) socket.remote = byInode.get(socket.peer)?.local ?? null;
    }
  }
}

const empty = (id: number, type: string): OpenFile => ({
  id,
  type,
  name: null,
  flags: null,
  position: null,
  size: null,
});

const exact = (value: bigint): number | string => (value < 2n ** 53n ? Number(value) : value.toString());

function socketName({ protocol, state, local, remote, peer, inode }: SocketData): string {
  if (protocol !== 'unix') return `${protocol} ${local ?? ''}${remote === null ? '' : ` > ${remote}`} ${state}`;
  return `unix ${inode}${peer === undefined ? '' : ` > ${peer}`}${local === null ? '' : ` ${local}`}`;
}
