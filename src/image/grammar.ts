/**
 * The parts of an image after its magic: which messages, and what follows each of them.
 *
 * image    := header, entry*                       pagemap: head, then entries
 *                                                  ghost file: one entry with `chunks`, then chunk entries
 * entry    := size:u32le, message[size], extra
 * extra    := nothing, or by type:
 *   PIPES_DATA, FIFO_DATA   bytes
 *   SK_QUEUES               bytes
 *   TCP_STREAM              inq bytes, outq bytes
 *   BPFMAP_DATA             keys and values
 *   IPCNS_SEM               u16le of each semaphore, to a multiple of 8
 *   IPCNS_MSG               (size:u32le, ipc_msg[size], bytes to a multiple of 8)*, as many as `qnum` says
 *   IPCNS_SHM               bytes to a multiple of 4; none if the segment is in a pagemap-shmem image
 *   GHOST_FILE              bytes: those of each chunk, or without chunks all that the file still holds
 */

import type { MessageName } from '../protobuf/descriptor.js';
import type { ImageType } from './magic.js';

/** A stretch of bytes behind an entry. */
export interface Payload {
  /** Its form in JSON: base64, or a list of 16-bit numbers. */
  form: 'bytes' | 'u16';
  /** Bytes; Infinity if it goes to the end of the file. */
  size: number;
  /** It takes room up to a multiple of this. */
  align: number;
  /** Key inside the extra, where there are several. */
  key?: 'inq' | 'outq';
  /** Of a deleted file. */
  ghost?: true;
}

/** What follows an entry. */
export interface Extra {
  payloads: Payload[];
  /** Messages, each with a payload, that follow. */
  messages: number;
}

/** The entries of each type; of a pagemap and a ghost file, the first one. */
const MESSAGE = {
  APPARMOR: 'apparmor_entry',
  AUTOFS: 'autofs_entry',
  BINFMT_MISC: 'binfmt_misc_entry',
  BPFMAP_DATA: 'bpfmap_data_entry',
  BPFMAP_FILE: 'bpfmap_file_entry',
  CGROUP: 'cgroup_entry',
  CORE: 'core_entry',
  CPUINFO: 'cpuinfo_entry',
  CREDS: 'creds_entry',
  EVENTFD_FILE: 'eventfd_file_entry',
  EVENTPOLL_FILE: 'eventpoll_file_entry',
  EVENTPOLL_TFD: 'eventpoll_tfd_entry',
  EXT_FILES: 'ext_file_entry',
  FANOTIFY_FILE: 'fanotify_file_entry',
  FANOTIFY_MARK: 'fanotify_mark_entry',
  FDINFO: 'fdinfo_entry',
  FIFO: 'fifo_entry',
  FIFO_DATA: 'pipe_data_entry',
  FILES: 'file_entry',
  FILE_LOCKS: 'file_lock_entry',
  FS: 'fs_entry',
  GHOST_FILE: 'ghost_file_entry',
  IDS: 'task_kobj_ids_entry',
  INETSK: 'inet_sk_entry',
  INOTIFY_FILE: 'inotify_file_entry',
  INOTIFY_WD: 'inotify_wd_entry',
  INVENTORY: 'inventory_entry',
  IPCNS_MSG: 'ipc_msg_entry',
  IPCNS_SEM: 'ipc_sem_entry',
  IPCNS_SHM: 'ipc_shm_entry',
  IPC_VAR: 'ipc_var_entry',
  IRMAP_CACHE: 'irmap_cache_entry',
  ITIMERS: 'itimer_entry',
  MEMFD_INODE: 'memfd_inode_entry',
  MM: 'mm_entry',
  MNTS: 'mnt_entry',
  NETDEV: 'net_device_entry',
  NETLINK_SK: 'netlink_sk_entry',
  NETNS: 'netns_entry',
  NS_FILES: 'ns_file_entry',
  PACKETSK: 'packet_sock_entry',
  PAGEMAP: 'pagemap_head',
  PIDFD: 'pidfd_entry',
  PIDNS: 'pidns_entry',
  PIPES: 'pipe_entry',
  PIPES_DATA: 'pipe_data_entry',
  POSIX_TIMERS: 'posix_timer_entry',
  PSTREE: 'pstree_entry',
  REG_FILES: 'reg_file_entry',
  REMAP_FPATH: 'remap_file_path_entry',
  RLIMIT: 'rlimit_entry',
  SECCOMP: 'seccomp_entry',
  SIGACT: 'sa_entry',
  SIGNAL: 'siginfo_entry',
  SIGNALFD: 'signalfd_entry',
  SK_QUEUES: 'sk_packet_entry',
  STATS: 'stats_entry',
  TCP_STREAM: 'tcp_stream_entry',
  TIMENS: 'timens_entry',
  TIMERFD: 'timerfd_entry',
  TTY_DATA: 'tty_data_entry',
  TTY_FILES: 'tty_file_entry',
  TTY_INFO: 'tty_info_entry',
  TUNFILE: 'tunfile_entry',
  UNIXSK: 'unix_sk_entry',
  USERNS: 'userns_entry',
  UTSNS: 'utsns_entry',
  VMAS: 'vma_entry',
} as const satisfies Record<ImageType, MessageName>;

/** The messages that an image of a type holds, those in its extras included. */
export type MessagesIn<T extends ImageType> =
  | (typeof MESSAGE)[T]
  | (T extends 'PAGEMAP' ? 'pagemap_entry' : never)
  | (T extends 'GHOST_FILE' ? 'ghost_chunk_entry' : never)
  | (T extends 'IPCNS_MSG' ? 'ipc_msg' : never);

/** The message that an image of a type begins with. */
export const firstMessage = (type: ImageType): MessageName => MESSAGE[type];

/** The message of the entries behind the first of an image. */
export function nextMessage(type: ImageType): MessageName {
  if (type === 'PAGEMAP') return 'pagemap_entry';
  return type === 'GHOST_FILE' ? 'ghost_chunk_entry' : MESSAGE[type];
}

/** A message as an object, as far as its extra depends on it. */
type Fields = Readonly<Record<string, unknown>>;

const NO_EXTRA: Extra = { payloads: [], messages: 0 };

const payload = (size: unknown, align = 1): Payload => ({ form: 'bytes', size: Number(size ?? 0), align });
const onePayload = (size: unknown, align = 1): Extra => ({ payloads: [payload(size, align)], messages: 0 });

const ghostPayload = (size: unknown): Extra => ({ payloads: [{ ...payload(size), ghost: true }], messages: 0 });

/** What follows each message that is not alone. Source: where CRIU 4.2.1 writes them (pipes.c, sk-queue.c, ipc_ns.c, …). */
const EXTRAS: Partial<Record<MessageName, (fields: Fields) => Extra>> = {
  pipe_data_entry: ({ bytes }) => onePayload(bytes),
  sk_packet_entry: ({ length }) => onePayload(length),
  tcp_stream_entry: (fields) => ({
    payloads: [
      { ...payload(fields['inq_len']), key: 'inq' },
      { ...payload(fields['outq_len']), key: 'outq' },
    ],
    messages: 0,
  }),
  bpfmap_data_entry: (fields) => onePayload(Number(fields['keys_bytes']) + Number(fields['values_bytes'])),
  ipc_sem_entry: ({ nsems }) => ({ payloads: [{ form: 'u16', size: 2 * Number(nsems), align: 8 }], messages: 0 }),
  ipc_msg_entry: ({ qnum }) => ({ payloads: [], messages: Number(qnum) }),
  ipc_msg: ({ msize }) => onePayload(msize, 8),
  ipc_shm_entry: (fields) => onePayload(fields['in_pagemaps'] === true ? 0 : fields['size'], 4),
  ghost_file_entry: ({ chunks }) => (chunks === true ? NO_EXTRA : ghostPayload(Number.POSITIVE_INFINITY)),
  ghost_chunk_entry: ({ len }) => ghostPayload(len),
};

/** Whether something may follow a message, so that it has to be looked into. */
export const mayHaveExtra = (name: MessageName): boolean => EXTRAS[name] !== undefined;

/** What follows a message, by its fields. */
export const extraOf = (name: MessageName, fields: Fields): Extra => EXTRAS[name]?.(fields) ?? NO_EXTRA;

/** Bytes behind a payload up to its alignment. */
export const paddingOf = ({ size, align }: Payload): number =>
  Number.isFinite(size) ? (align - (size % align)) % align : 0;
