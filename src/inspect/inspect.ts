/**
 * What is in a dump: who made it and of what, its processes, their memory, files and sockets. One function gives all of it as
 * data. It reads only the images that it needs, and of pages only those with arguments and environments. What cannot be read is
 * left out and listed in `gaps`.
 */
import { statSync } from 'node:fs';
import { join } from 'node:path';
import type { DumpFiles } from '../dump/files.js';
import { Images } from '../dump/images.js';
import { INVENTORY, isPagesName, OUTSIDE } from '../dump/names.js';
import { findPageSize, MIN_PAGE_BYTES } from '../dump/page-size.js';
import { processesOf } from '../explore/processes.js';
import { TaskMemories, type TaskMemory } from '../explore/task-memory.js';
import type { Messages } from '../generated/entries.js';
import { type ContainerData, readContainer } from './container.js';
import { type Attempt, attempting, type Gap } from './gaps.js';
import { type MemoryData, readMemoryData } from './memory-totals.js';
import { OpenFiles, type ProcessFiles } from './open-files.js';
import { OutsideFiles } from './outside.js';
import { type ProcessDetails, ProcessReader } from './processes.js';
import type { SocketData } from './sockets.js';
import {
  type MountData,
  type NamespaceData,
  type PluginData,
  readMounts,
  readNamespaces,
  readPlugins,
} from './system.js';
import { MACHINES } from './words.js';

/** Parts of an inspection beyond the first screen. */
export const SECTIONS = [
  'psTree',
  'cmd',
  'env',
  'files',
  'sockets',
  'mounts',
  'memory',
  'container',
  'kernel',
] as const;
export type Section = (typeof SECTIONS)[number];

export interface InspectOptions {
  /** More than the first screen shows. */
  sections?: readonly Section[];
  /** Bytes; by default found in the dump. */
  pageSize?: number;
}

/** The dump as a whole. */
export interface DumpData {
  path: string;
  /** What it is in: directory, tar, oci, stream or shards. */
  container: string;
  compression: string | null;
  /** RFC 3339: of a directory or a prefix in an object store, when its inventory was written. */
  written: string | null;
  /** As `uname -m` calls it. */
  machine: string | null;
  /** Bytes. */
  pageSize: number;
  criu: { version: string | null; imagesVersion: number | null; runId: string | null; isCompressed: boolean };
  /** Seconds since the boot of the machine, when the dump was made. */
  uptime: number | null;
  hasParent: boolean;
  /** Bytes: of pages, of the other images, and of what GPU plugins wrote. */
  bytes: { pages: number; images: number; gpu: number };
  /** What the dump took, in microseconds and pages, as CRIU says. */
  statistics: Record<string, number> | null;
}

export interface Inspection {
  dump: DumpData;
  /** Null for a dump that no container engine has made, as far as it shows. */
  container: ContainerData | null;
  processes: ProcessDetails[];
  memory: MemoryData | null;
  sockets: SocketData[];
  plugins: PluginData;
  files?: ProcessFiles[];
  mounts?: MountData[];
  namespaces?: NamespaceData[];
  /** What could not be read. */
  gaps: Gap[];
}

/**
 * Looks into a dump.
 * @param files with the files outside of the dump, and with the pages that {@link inspectionPages} wants
 * @throws {DumpError} if there are no processes, and SYSTEM, CHANGED
 */
export function inspect(files: DumpFiles, { sections = [], pageSize }: InspectOptions = {}): Inspection {
  const gaps: Gap[] = [];
  const attempt = attempting(gaps);
  const images = new Images(files);
  const shows = (section: Section) => sections.includes(section);
  const entries = processesOf(images);
  const found = pageSize ?? attempt('core', () => findPageSize(files)) ?? MIN_PAGE_BYTES;
  const memories = attempt('memfd.img', () => new TaskMemories(files, { pageSize: found, attempt }));
  const memory = once((pid: number) => memories && attempt(`mm-${pid}.img`, () => memories.of(pid)));

  const outside = new OutsideFiles(files);
  const container = readContainer(outside, files.origin?.image, attempt) ?? null;
  const inventory = attempt(INVENTORY, () => images.first(INVENTORY, 'inventory_entry'));
  const options = { cmd: shows('cmd') || shows('psTree'), env: shows('env'), kernel: shows('kernel') };
  const reader = new ProcessReader(images, memories, attempt, options);
  const open = new OpenFiles(images, attempt);
  const processes: ProcessDetails[] = [];
  const openFiles: ProcessFiles[] = [];
  const namespaces = new Map<number, Record<string, number>>();
  for (const entry of entries) {
    const { pid } = entry;
    const process = reader.read(entry, memory(pid));
    processes.push(process);
    if (process.namespaces) namespaces.set(pid, process.namespaces);
    if (process.state === 'zombie') continue;
    const descriptors = open.of(pid, filesIdOf(images, pid, attempt));
    if (shows('files')) openFiles.push({ pid, descriptors });
  }
  return {
    dump: readDump(files, {
      images,
      entries,
      pageSize: found,
      inventory,
      outside,
      criu: container?.criu ?? null,
      attempt,
    }),
    container,
    processes,
    memory: memories ? readMemoryData(memories, memory, attempt, shows('memory')) : null,
    sockets: [...open.sockets.values()],
    plugins: readPlugins(inventory, files),
    ...(shows('files') ? { files: openFiles } : {}),
    ...(shows('mounts') ? { mounts: readMounts(images, files, attempt) } : {}),
    ...(shows('kernel') ? { namespaces: readNamespaces(images, namespaces, attempt) } : {}),
    gaps,
  };
}

/** The memory of the process that was asked for last: it is needed twice, and may have a million areas. */
function once(open: (pid: number) => TaskMemory | undefined): (pid: number) => TaskMemory | undefined {
  let last: { pid: number; memory: TaskMemory | undefined } | undefined;
  return (pid) => {
    if (last?.pid !== pid) last = { pid, memory: open(pid) };
    return last.memory;
  };
}

function filesIdOf(images: Images, pid: number, attempt: Attempt): number | undefined {
  const name = `ids-${pid}.img`;
  return attempt(name, () => images.first(name, 'task_kobj_ids_entry', 'pstree.img').files_id);
}

interface DumpParts {
  images: Images;
  entries: readonly Messages['pstree_entry'][];
  pageSize: number;
  inventory: Messages['inventory_entry'] | undefined;
  outside: OutsideFiles;
  criu: string | null;
  attempt: Attempt;
}

function readDump(files: DumpFiles, parts: DumpParts): DumpData {
  const { images, entries, pageSize, inventory, outside, attempt } = parts;
  const core = attempt('core', () => images.first(`core-${entries[0]?.pid}.img`, 'core_entry'));
  const { origin, kind } = files;
  const machine = core ? (MACHINES[String(core.mtype)] ?? null) : null;
  const listed = files.entries();
  return {
    path: files.path,
    container: origin?.kind ?? (kind === 'tar' ? 'tar' : 'directory'),
    compression: origin?.compression ?? null,
    written: writtenAt(files),
    machine,
    pageSize,
    criu: {
      version: parts.criu ?? versionInLog(outside),
      imagesVersion: inventory?.img_version ?? null,
      runId: inventory?.dump_criu_run_id ?? null,
      isCompressed: (inventory?.compress ?? 0) > 0,
    },
    uptime: inventory?.dump_uptime === undefined ? null : Number(inventory.dump_uptime / 1_000_000n),
    hasParent: listed.some(({ name }) => name === 'parent'),
    bytes: sizesOf(listed),
    statistics: statisticsOf(files, images, attempt),
  };
}

function sizesOf(entries: ReturnType<DumpFiles['entries']>): DumpData['bytes'] {
  const bytes = { pages: 0, images: 0, gpu: 0 };
  for (const { name, size } of entries) {
    if (name.startsWith(OUTSIDE)) continue;
    if (isPagesName(name)) bytes.pages += size;
    else if (name.startsWith('amdgpu-')) bytes.gpu += size;
    else bytes.images += size;
  }
  return bytes;
}

/** The time of the inventory. That of a member of an archive may be anything. */
function writtenAt(files: DumpFiles): string | null {
  const { kind, path } = files;
  const onDisk = kind === 'directory' ? statSync(join(path, INVENTORY), { throwIfNoEntry: false }) : undefined;
  const timeMs = onDisk?.mtimeMs ?? files.stat(INVENTORY)?.modifiedMs;
  return timeMs ? `${new Date(timeMs).toISOString().slice(0, 19)}Z` : null;
}

/** CRIU writes its version at the beginning of its log. */
const LOG_START_BYTES = 16 * 1024;

function versionInLog(outside: OutsideFiles): string | null {
  for (const name of ['dump.log', 'criu-dump.log']) {
    const version = /Version: (\d+(?:\.\d+)+)/.exec(outside.start(name, LOG_START_BYTES) ?? '')?.[1];
    if (version) return version;
  }
  return null;
}

function statisticsOf(files: DumpFiles, images: Images, attempt: Attempt): DumpData['statistics'] {
  const name = ['stats-dump', `${OUTSIDE}stats-dump`].find((each) => files.stat(each));
  const entry = name === undefined ? undefined : attempt('stats-dump', () => images.first(name, 'stats_entry').dump);
  return entry ? Object.fromEntries(Object.entries(entry).flatMap(([key, value]) => numbers(key, value))) : null;
}

const numbers = (key: string, value: unknown): [string, number][] =>
  typeof value === 'number' || typeof value === 'bigint' ? [[key, Number(value)]] : [];
