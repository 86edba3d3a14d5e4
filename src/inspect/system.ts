/** What surrounds the processes: mounts, namespaces, groups, files of GPU plugins, the machine. */
import type { DumpFiles } from '../dump/files.js';
import type { Images } from '../dump/images.js';
import type { Messages } from '../generated/entries.js';
import type { Attempt } from './gaps.js';
import { fileSystem, mountFlags } from './words.js';

export interface MountData {
  /** Of the mount namespace. */
  namespace: number;
  id: number;
  parent: number;
  mountpoint: string;
  fileSystem: string;
  source: string;
  /** The folder of the file system that is mounted. */
  root: string;
  flags: string[];
  options: string;
  isExternal: boolean;
}

export interface NamespaceData {
  type: string;
  id: number;
  pids: number[];
  /** Of a uts namespace. */
  hostname?: string;
  domainname?: string;
  /** Of a user namespace: first id inside, first id outside, count. */
  users?: [number, number, number][];
  groups?: [number, number, number][];
  /** Of a time namespace, in seconds. */
  monotonic?: string;
  boottime?: string;
}

export interface PluginData {
  /** Plugins that a restore needs. */
  needed: string[];
  /** Of AMD GPUs. */
  files: { name: string; bytes: number }[];
}

export function readMounts(images: Images, files: Pick<DumpFiles, 'entries'>, attempt: Attempt): MountData[] {
  const mounts: MountData[] = [];
  for (const [image, namespace] of imagesOf(files, /^mountpoints-(\d+)\.img$/)) {
    attempt(image, () =>
      images.each(image, 'mnt_entry', (entry) => {
        const { fstype, mnt_id: id, parent_mnt_id: parent, flags, root, mountpoint, source, options } = entry;
        const words = new Set([...mountFlags(flags), ...mountFlags(entry.sb_flags ?? 0)]);
        mounts.push({
          namespace,
          id,
          parent,
          mountpoint,
          fileSystem: entry.fsname ?? fileSystem(fstype),
          source,
          root,
          flags: [...words],
          options,
          isExternal: entry.ext_mount ?? false,
        });
      }),
    );
  }
  return mounts;
}

/** The namespaces that processes are in. @param idsOf by process: id of each type */
export function readNamespaces(
  images: Images,
  idsOf: ReadonlyMap<number, Record<string, number>>,
  attempt: Attempt,
): NamespaceData[] {
  const byKey = new Map<string, NamespaceData>();
  for (const [pid, ids] of idsOf) {
    for (const [type, id] of Object.entries(ids)) {
      const key = `${type} ${id}`;
      const known = byKey.get(key);
      if (known) known.pids.push(pid);
      else byKey.set(key, { type, id, pids: [pid], ...detailsOf(images, type, id, attempt) });
    }
  }
  return [...byKey.values()].sort((a, b) => (a.type === b.type ? a.id - b.id : a.type < b.type ? -1 : 1));
}

function detailsOf(images: Images, type: string, id: number, attempt: Attempt): Partial<NamespaceData> {
  const name = `${type}ns-${id}.img`;
  if (!images.has(name)) return {};
  const read = () => {
    if (type === 'uts') {
      const { nodename: hostname, domainname } = images.first(name, 'utsns_entry');
      return { hostname, domainname };
    }
    if (type === 'user') {
      const { uid_map: users = [], gid_map: groups = [] } = images.first(name, 'userns_entry');
      return { users: users.map(extent), groups: groups.map(extent) };
    }
    if (type !== 'time') return {};
    const { monotonic, boottime } = images.first(name, 'timens_entry');
    return { monotonic: seconds(monotonic), boottime: seconds(boottime) };
  };
  return attempt(name, read) ?? {};
}

const extent = ({ first, lower_first: outside, count }: Messages['uid_gid_extent']): [number, number, number] => [
  first,
  outside,
  count,
];

const seconds = ({ tv_sec: whole, tv_nsec: fraction }: Messages['timespec']): string =>
  `${whole}.${fraction.toString().padStart(9, '0')}`;

export function readPlugins(
  inventory: Messages['inventory_entry'] | undefined,
  files: Pick<DumpFiles, 'entries'>,
): PluginData {
  const ofGpus = files.entries().filter(({ name }) => name.startsWith('amdgpu-'));
  return {
    needed: inventory?.plugins_entry?.plugins ?? [],
    files: ofGpus.map(({ name, size }) => ({ name, bytes: size })),
  };
}

/** Names of images, and the number in each. */
function imagesOf(files: Pick<DumpFiles, 'entries'>, pattern: RegExp): [string, number][] {
  return files.entries().flatMap(({ name }) => {
    const id = pattern.exec(name)?.[1];
    return id === undefined ? [] : [[name, Number(id)] satisfies [string, number]];
  });
}
