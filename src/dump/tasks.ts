/** The tasks of a dump, and the images that each needs. */
import { DumpError } from '../errors.js';
import type { core_entry } from '../generated/entries.js';
import { MARCH } from '../memory/vma.js';
import { requireImage } from './files.js';
import type { Images } from './images.js';
import { type NeedyTask, neededImages } from './needed.js';

/** A process of the dump. */
export interface Task {
  /** Inside its pid namespace, as in file names. */
  pid: number;
  /** Its command name. */
  comm: string;
  /** A zombie has no memory. */
  dead: boolean;
}

export interface KnownTasks {
  tasks: Task[];
  /** Of all processes and threads. */
  ids: ReadonlySet<number>;
  /** `core_entry.mtype` */
  march: number | undefined;
}

/** COMPEL_TASK_DEAD and COMPEL_TASK_ZOMBIE. Source: CRIU, compel task-state.h. */
const DEAD_STATES = [2, 6];

/** Whether a core is that of a dead process that nobody has waited for. It has no other image. */
export const isDead = ({ tc }: core_entry): boolean => tc !== undefined && DEAD_STATES.includes(tc.task_state);

/**
 * Reads the tasks of a dump, and checks that the images that each needs exist.
 * @param path of the dump, for errors
 * @param names of all files of the dump
 * @param incomplete whether images that only a restore needs may be missing
 * @throws {DumpError} NOT_A_DUMP, MISSING_IMAGE, or for images that cannot be read
 */
export function readTasks(images: Images, path: string, names: Iterable<string>, incomplete = false): KnownTasks {
  for (const name of ['inventory.img', 'pstree.img']) {
    if (!images.has(name)) throw new DumpError('NOT_A_DUMP', `expected a dump, found no ${name}`, { file: path });
  }
  // CRIU reads no more than the first entry.
  images.first('inventory.img', 'inventory_entry', undefined, []);
  let march: number | undefined;
  const tasks: (Task & NeedyTask)[] = [];
  images.each('pstree.img', 'pstree_entry', ({ pid, threads = [] }) => {
    const core = images.first(`core-${pid}.img`, 'core_entry', 'pstree.img', ['mtype', 'tc']);
    march ??= numberOf(core.mtype);
    tasks.push({ pid, comm: core.tc?.comm ?? '', dead: isDead(core), threads });
  });
  for (const name of neededImages(tasks, names, incomplete)) requireImage(images.files, name, 'pstree.img');
  const ids = new Set(tasks.flatMap(({ pid, threads }) => [pid, ...threads]));
  if (tasks.length > 0) return { tasks: tasks.map(({ threads: _, ...task }) => task), ids, march };
  throw new DumpError('MALFORMED', 'expected at least one pstree_entry, found none', { file: 'pstree.img' });
}

/** `core_entry.mtype` of a core image. Throws {@link DumpError} as {@link Images.each} does. */
export function marchOf(images: Images, core: string): number | undefined {
  let march: number | undefined;
  images.each(core, 'core_entry', ({ mtype }) => {
    march ??= numberOf(mtype);
  });
  return march;
}

const numberOf = (march: core_entry['mtype']): number =>
  typeof march === 'number' ? march : march === 'UNKNOWN' ? 0 : MARCH[march];
