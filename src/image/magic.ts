/**
 * Image types by their magic numbers, and what each file name promises.
 *
 * image := COMMON|SERVICE magic u32le, type magic u32le, entry*      (inventory.img: its own magic alone)
 *
 * The numbers and names are those of CRIU 4.2.1 (magic.h, image-desc.c).
 */

/** First word of every image but the inventory and the service images. */
export const IMG_COMMON_MAGIC = 0x54564319;
/** First word of service images: `stats-*` and `irmap-cache`. */
export const IMG_SERVICE_MAGIC = 0x55105940;

/** Type magic of each kind of image. */
export const MAGIC = {
  APPARMOR: 0x59423047,
  AUTOFS: 0x49353943,
  BINFMT_MISC: 0x67343323,
  BPFMAP_DATA: 0x64324033,
  BPFMAP_FILE: 0x57506142,
  CGROUP: 0x59383330,
  CORE: 0x55053847,
  CPUINFO: 0x61404013,
  CREDS: 0x54023547,
  EVENTFD_FILE: 0x44523722,
  EVENTPOLL_FILE: 0x45023858,
  EVENTPOLL_TFD: 0x44433746,
  EXT_FILES: 0x59255641,
  FANOTIFY_FILE: 0x55096122,
  FANOTIFY_MARK: 0x56506035,
  FDINFO: 0x56213732,
  FIFO: 0x58364939,
  FIFO_DATA: 0x59333054,
  FILES: 0x56303138,
  FILE_LOCKS: 0x54323616,
  FS: 0x51403912,
  GHOST_FILE: 0x52583605,
  IDS: 0x54432030,
  INETSK: 0x56443851,
  INOTIFY_FILE: 0x48424431,
  INOTIFY_WD: 0x54562009,
  INVENTORY: 0x58313116,
  IPCNS_MSG: 0x55453737,
  IPCNS_SEM: 0x59573019,
  IPCNS_SHM: 0x46283044,
  IPC_VAR: 0x53115007,
  IRMAP_CACHE: 0x57004059,
  ITIMERS: 0x57464056,
  MEMFD_INODE: 0x48453499,
  MM: 0x57492820,
  MNTS: 0x55563928,
  NETDEV: 0x57373951,
  NETLINK_SK: 0x58005614,
  NETNS: 0x55933752,
  NS_FILES: 0x61394011,
  PACKETSK: 0x60454618,
  PAGEMAP: 0x56084025,
  PIDFD: 0x54435556,
  PIDNS: 0x61157326,
  PIPES: 0x56513555,
  PIPES_DATA: 0x56453709,
  POSIX_TIMERS: 0x52603957,
  PSTREE: 0x50273030,
  REG_FILES: 0x50363636,
  REMAP_FPATH: 0x59133954,
  RLIMIT: 0x57113925,
  SECCOMP: 0x64413049,
  SIGACT: 0x55344201,
  SIGNAL: 0x59255647,
  SIGNALFD: 0x57323820,
  SK_QUEUES: 0x56264026,
  STATS: 0x57093306,
  TCP_STREAM: 0x51465506,
  TIMENS: 0x43114433,
  TIMERFD: 0x50493712,
  TTY_DATA: 0x59413026,
  TTY_FILES: 0x59433025,
  TTY_INFO: 0x59453036,
  TUNFILE: 0x57143751,
  UNIXSK: 0x54373943,
  USERNS: 0x55474906,
  UTSNS: 0x54473203,
  VMAS: 0x54123737,
} as const;

export type ImageType = keyof typeof MAGIC;

const TYPE_BY_MAGIC = new Map<number, ImageType>(
  Object.entries(MAGIC).map(([type, magic]) => [magic, type as ImageType]),
);

/** The image type of a magic number, if it has one. */
export const typeOfMagic = (magic: number): ImageType | undefined => TYPE_BY_MAGIC.get(magic);

const SERVICE_NAMES = /^(stats-|irmap-cache)/;
const SERVICE_TYPES: ReadonlySet<ImageType> = new Set(['STATS', 'IRMAP_CACHE']);

/** File names (without `.img`) of each type; `<id>` and `<hex>` stand for numbers. */
const NAMES: Record<ImageType, string[]> = {
  APPARMOR: ['apparmor'],
  AUTOFS: ['autofs-<id>'],
  BINFMT_MISC: ['binfmt-misc'],
  BPFMAP_DATA: ['bpfmap-data'],
  BPFMAP_FILE: ['bpfmap-file'],
  CGROUP: ['cgroup'],
  CORE: ['core-<id>'],
  CPUINFO: ['cpuinfo'],
  CREDS: ['creds-<id>'],
  EVENTFD_FILE: ['eventfd'],
  EVENTPOLL_FILE: ['eventpoll'],
  EVENTPOLL_TFD: ['eventpoll-tfd'],
  EXT_FILES: ['ext-files'],
  FANOTIFY_FILE: ['fanotify'],
  FANOTIFY_MARK: ['fanotify-mark'],
  FDINFO: ['fdinfo-<id>'],
  FIFO: ['fifo'],
  FIFO_DATA: ['fifo-data'],
  FILES: ['files'],
  FILE_LOCKS: ['filelocks'],
  FS: ['fs-<id>'],
  GHOST_FILE: ['ghost-file-<hex>'],
  IDS: ['ids-<id>'],
  INETSK: ['inetsk'],
  INOTIFY_FILE: ['inotify'],
  INOTIFY_WD: ['inotify-wd'],
  INVENTORY: ['inventory'],
  IPCNS_MSG: ['ipcns-msg-<id>'],
  IPCNS_SEM: ['ipcns-sem-<id>'],
  IPCNS_SHM: ['ipcns-shm-<id>'],
  IPC_VAR: ['ipcns-var-<id>'],
  IRMAP_CACHE: ['irmap-cache'],
  ITIMERS: ['itimers-<id>'],
  MEMFD_INODE: ['memfd'],
  MM: ['mm-<id>'],
  MNTS: ['mountpoints-<id>'],
  NETDEV: ['netdev-<id>'],
  NETLINK_SK: ['netlinksk'],
  NETNS: ['netns-<id>'],
  NS_FILES: ['ns-files'],
  PACKETSK: ['packetsk'],
  PAGEMAP: ['pagemap-<id>', 'pagemap-shmem-<id>'],
  PIDFD: ['pidfd'],
  PIDNS: ['pidns-<id>'],
  PIPES: ['pipes'],
  PIPES_DATA: ['pipes-data'],
  POSIX_TIMERS: ['posix-timers-<id>'],
  PSTREE: ['pstree'],
  REG_FILES: ['reg-files'],
  REMAP_FPATH: ['remap-fpath'],
  RLIMIT: ['rlimit-<id>'],
  SECCOMP: ['seccomp'],
  SIGACT: ['sigacts-<id>'],
  SIGNAL: ['signal-s-<id>', 'signal-p-<id>'],
  SIGNALFD: ['signalfd'],
  SK_QUEUES: ['sk-queues'],
  STATS: ['stats-dump', 'stats-restore'],
  TCP_STREAM: ['tcp-stream-<hex>'],
  TIMENS: ['timens-<id>'],
  TIMERFD: ['timerfd'],
  TTY_DATA: ['tty-data'],
  TTY_FILES: ['tty'],
  TTY_INFO: ['tty-info'],
  TUNFILE: ['tunfile'],
  UNIXSK: ['unixsk'],
  USERNS: ['userns-<id>'],
  UTSNS: ['utsns-<id>'],
  VMAS: ['vmas-<id>'],
};

/** By the whole name. Service images carry no extension. */
const TYPE_OF_NAME = new Map<string, ImageType>();
/** Names with a number, by what is before it. */
const TYPE_OF_STEM = new Map<string, { type: ImageType; number: RegExp }>();

for (const [type, forms] of Object.entries(NAMES) as [ImageType, string[]][]) {
  for (const form of forms) {
    const [stem, number] = form.split('<') as [string, string?];
    if (number) TYPE_OF_STEM.set(stem, { type, number: number === 'id>' ? /^\d+$/ : /^[0-9a-f]+$/ });
    else TYPE_OF_NAME.set(SERVICE_NAMES.test(form) ? form : `${form}.img`, type);
  }
}

/** The image type that a file name promises, or undefined for raw images, logs and foreign files. */
export function typeOfName(name: string): ImageType | undefined {
  const type = TYPE_OF_NAME.get(name);
  if (type || !name.endsWith('.img')) return type;
  const numberAt = name.lastIndexOf('-') + 1;
  const form = TYPE_OF_STEM.get(name.slice(0, numberAt));
  return form?.number.test(name.slice(numberAt, -'.img'.length)) ? form.type : undefined;
}

/** Bytes before the first entry of an image of this type. */
export const headerBytes = (type: ImageType): number => (type === 'INVENTORY' ? 4 : 8);

/** The first word that an image of this type carries. */
export const firstMagic = (type: ImageType): number =>
  type === 'INVENTORY' ? MAGIC.INVENTORY : SERVICE_TYPES.has(type) ? IMG_SERVICE_MAGIC : IMG_COMMON_MAGIC;
