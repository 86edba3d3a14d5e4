/** The tasks of a dump, and the images that each must have. */
import { DumpError } from '../errors.js';
import type { core_entry } from '../generated/entries.js';
import { readEntries } from '../image/entries.js';
import { headerBytes, type ImageType } from '../image/magic.js';
import type { MessageName } from '../image/message.js';
import { MARCH } from '../memory/vma.js';

/** A process of the dump. */
export interface Task {
  /** Inside its pid namespace, as in file names. */
  pid: number;
  /** Its command name. */
  comm: string;
  /** A zombie has no memory. */
  dead: boolean;
}

/** Images by name. */
export interface ImageFiles {
  has(name: string): boolean;
  /** The whole of a small image. */
  read(name: string): Uint8Array;
}

/** COMPEL_TASK_DEAD and COMPEL_TASK_ZOMBIE. Source: CRIU, compel task-state.h. */
const DEAD_STATES = [2, 6];

/**
 * Reads who is in a dump, and checks that the images are there that every task has.
 * @param path of the dump, for errors
 * @throws {DumpError} NOT_A_DUMP, MISSING_IMAGE, or for images that cannot be read
 */
export function readTasks(files: ImageFiles, path: string): { tasks: Task[]; march: number | undefined } {
  for (const name of ['inventory.img', 'pstree.img']) {
    if (!files.has(name)) throw new DumpError('NOT_A_DUMP', `expected a dump, found no ${name}`, { file: path });
  }
  const inventory = entries(files, 'inventory.img', 'INVENTORY', 'inventory_entry', path);
  if (inventory.length !== 1) {
    throw new DumpError('MALFORMED', `expected one inventory_entry, found ${inventory.length}`, {
      file: 'inventory.img',
    });
  }
  const pstree = entries(files, 'pstree.img', 'PSTREE', 'pstree_entry', path);
  if (pstree.length === 0) {
    throw new DumpError('MALFORMED', 'expected at least one pstree_entry, found none', { file: 'pstree.img' });
  }
  let march: number | undefined;
  const tasks = pstree.map(({ pid, threads = [] }) => {
    const core = readCore(files, pid);
    const dead = core.tc ? DEAD_STATES.includes(core.tc.task_state) : false;
    march ??= numberOf(core.mtype);
    const needed = [`mm-${pid}.img`, `pagemap-${pid}.img`, ...threads.map((tid) => `core-${tid}.img`)];
    if (!dead) for (const name of needed) requireImage(files, name, 'pstree.img');
    return { pid, comm: core.tc?.comm ?? '', dead };
  });
  return { tasks, march };
}

function readCore(files: ImageFiles, pid: number): core_entry {
  const name = `core-${pid}.img`;
  const [core] = entries(files, name, 'CORE', 'core_entry', 'pstree.img');
  if (core) return core;
  throw new DumpError('TRUNCATED', 'expected a core_entry, found the end of the file', {
    file: name,
    offset: headerBytes('CORE'),
  });
}

/** Throws {@link DumpError} MISSING_IMAGE if an image is not there. */
export function requireImage(files: Pick<ImageFiles, 'has'>, name: string, by: string): void {
  if (files.has(name)) return;
  throw new DumpError('MISSING_IMAGE', `expected this image, named by ${by}, found none`, { file: name });
}

/** All entries of a small image. */
function entries<M extends MessageName>(files: ImageFiles, name: string, type: ImageType, message: M, by: string) {
  requireImage(files, name, by);
  return [...readEntries(files.read(name), type, message, name)];
}

/** `core_entry.march` of a core image. */
export function marchOf(core: Uint8Array, name: string): number | undefined {
  const [entry] = readEntries(core, 'CORE', 'core_entry', name);
  return entry && numberOf(entry.mtype);
}

const numberOf = (march: core_entry['mtype']): number =>
  typeof march === 'number' ? march : march === 'UNKNOWN' ? 0 : MARCH[march];

/** Page size of most machines, and the smallest of all, in bytes. */
export const MIN_PAGE_BYTES = 4096;
/** Machines whose kernels come with several page sizes. */
export const VARIABLE_PAGE_SIZE: number[] = [MARCH.AARCH64, MARCH.PPC64, MARCH.MIPS, MARCH.LOONGARCH64];
