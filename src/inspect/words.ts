/** Numbers of the kernel in words. Source: Linux, include/uapi and Documentation. */
import { numberText } from '../json/hints.js';
import type { Hints } from '../protobuf/descriptor.js';

const PLAIN: Hints = {
  hex: false,
  flags: undefined,
  dev: false,
  odev: false,
  ipadd: false,
  dict: undefined,
  unixName: false,
};

const O_ACCMODE = 3;

/** Flags of an open file: `O_RDWR|O_APPEND`. */
export function openFlags(flags: number): string {
  const names = flags === 0 ? '' : (numberText({ ...PLAIN, flags: 'rfile.flags' }, 'flags', flags) ?? '');
  const words = names === '' ? [] : names.split(' | ');
  return [...((flags & O_ACCMODE) === 0 ? ['O_RDONLY'] : []), ...words].join('|');
}

/** Family, type, protocol or state of a socket; the number where it has no name. */
export const socketWord = (field: 'family' | 'type' | 'proto' | 'state', value: number): string =>
  numberText({ ...PLAIN, dict: 'sk' }, field, value) ?? String(value);

const NETLINK = new Map([
  [0, 'ROUTE'],
  [2, 'USERSOCK'],
  [4, 'SOCK_DIAG'],
  [5, 'NFLOG'],
  [6, 'XFRM'],
  [7, 'SELINUX'],
  [9, 'AUDIT'],
  [10, 'FIB_LOOKUP'],
  [11, 'CONNECTOR'],
  [12, 'NETFILTER'],
  [15, 'KOBJECT_UEVENT'],
  [16, 'GENERIC'],
  [21, 'CRYPTO'],
]);

export const netlinkWord = (protocol: number): string => NETLINK.get(protocol) ?? String(protocol);

/** RLIMIT_*, in the order of their numbers; the first are the same on all machines but MIPS. */
export const LIMITS = [
  'cpu',
  'fsize',
  'data',
  'stack',
  'core',
  'rss',
  'nproc',
  'nofile',
  'memlock',
  'as',
  'locks',
  'sigpending',
  'msgqueue',
  'nice',
  'rtprio',
  'rttime',
];

const SIGNALS = [
  'HUP',
  'INT',
  'QUIT',
  'ILL',
  'TRAP',
  'ABRT',
  'BUS',
  'FPE',
  'KILL',
  'USR1',
  'SEGV',
  'USR2',
  'PIPE',
  'ALRM',
  'TERM',
  'STKFLT',
  'CHLD',
  'CONT',
  'STOP',
  'TSTP',
  'TTIN',
  'TTOU',
  'URG',
  'XCPU',
  'XFSZ',
  'VTALRM',
  'PROF',
  'WINCH',
  'IO',
  'PWR',
  'SYS',
];

const FIRST_REALTIME = 32;

/** The name of a signal, by the numbers that all machines but MIPS have. */
export function signalWord(signal: number): string {
  const name = SIGNALS[signal - 1];
  if (name) return `SIG${name}`;
  return signal >= FIRST_REALTIME && signal <= 64 ? `SIGRT${signal - FIRST_REALTIME}` : String(signal);
}

/** The signals of a mask. */
export function signalsOf(mask: bigint): string[] {
  const words: string[] = [];
  for (let signal = 1; signal <= 64; signal++) if ((mask >> BigInt(signal - 1)) & 1n) words.push(signalWord(signal));
  return words;
}

/** Machines, as `uname -m` calls them, by `core_entry.mtype`. */
export const MACHINES: Record<string, string> = {
  X86_64: 'x86_64',
  ARM: 'arm',
  AARCH64: 'aarch64',
  PPC64: 'ppc64le',
  S390: 's390x',
  MIPS: 'mips',
  LOONGARCH64: 'loongarch64',
  RISCV64: 'riscv64',
};

/** Types of namespaces, by their field in `task_kobj_ids_entry`. */
export const NAMESPACES = {
  pid_ns_id: 'pid',
  net_ns_id: 'net',
  ipc_ns_id: 'ipc',
  uts_ns_id: 'uts',
  mnt_ns_id: 'mnt',
  user_ns_id: 'user',
  cgroup_ns_id: 'cgroup',
  time_ns_id: 'time',
} as const;

/** Bits of `mnt_entry.flags` and `sb_flags`: MS_*. */
const MOUNT_FLAGS: readonly [bit: number, word: string][] = [
  [1, 'ro'],
  [2, 'nosuid'],
  [4, 'nodev'],
  [8, 'noexec'],
  [1 << 10, 'noatime'],
  [1 << 11, 'nodiratime'],
  [1 << 21, 'relatime'],
];

export const mountFlags = (flags: number): string[] =>
  MOUNT_FLAGS.flatMap(([bit, word]) => (flags & bit ? [word] : []));

/** Which file system a mount has, by `mnt_entry.fstype`. */
const FILE_SYSTEMS = [
  'unsupported',
  'proc',
  'sysfs',
  'devtmpfs',
  'binfmt_misc',
  'tmpfs',
  'devpts',
  'simfs',
  'pstore',
  'securityfs',
  'fusectl',
  'debugfs',
  'cgroup',
  'aufs',
  'mqueue',
  'fuse',
  'auto',
  'overlay',
  'autofs',
  'tracefs',
];
const CGROUP2 = 23;

export const fileSystem = (fstype: number): string =>
  fstype === CGROUP2 ? 'cgroup2' : (FILE_SYSTEMS[fstype] ?? String(fstype));
