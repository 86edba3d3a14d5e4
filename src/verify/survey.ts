/** The basis of all checks: the inventory and the processes of the dump, as far as they can be read. */
import { isDead } from '../dump/tasks.js';
import type { Messages } from '../generated/entries.js';
import { MARCH } from '../memory/vma.js';
import type { CheckedDump } from './checked-dump.js';

type Core = Messages['core_entry'];

/** A process of the dump. */
export interface SurveyedTask {
  pid: number;
  ppid: number;
  pgid: number;
  sid: number;
  /** Ids of its threads, including its own. Those of a zombie mean nothing. */
  threads: number[];
  /** `unknown` if it has no readable core and no other image. */
  state: 'alive' | 'zombie' | 'unknown';
  ids: Messages['task_kobj_ids_entry'] | undefined;
  /** Images that older dumps have for what its core lacks. */
  olderImages: string[];
}

export interface Survey {
  inventory: Messages['inventory_entry'] | undefined;
  /** In the order of pstree.img. */
  tasks: SurveyedTask[];
  /** `core_entry.mtype` */
  march: number | undefined;
}

/** Reads the inventory, pstree, and the core and ids of each process. */
export function survey(dump: CheckedDump): Survey {
  const result: Survey = { inventory: dump.first('inventory.img', 'inventory_entry'), tasks: [], march: undefined };
  dump.each('pstree.img', 'pstree_entry', ({ pid, ppid, pgid, sid, threads = [] }) => {
    result.tasks.push({ pid, ppid, pgid, sid, threads, state: 'unknown', ids: undefined, olderImages: [] });
  });
  for (const task of result.tasks) {
    const { pid } = task;
    const core = dump.first(`core-${pid}.img`, 'core_entry');
    const others = [`ids-${pid}.img`, `mm-${pid}.img`, `pagemap-${pid}.img`, `fs-${pid}.img`];
    if (core) {
      task.state = isDead(core) ? 'zombie' : 'alive';
      task.olderImages = olderImages(pid, core);
      result.march ??= (MARCH as Record<string, number>)[String(core.mtype)];
    } else if (others.some((name) => dump.has(name))) {
      task.state = 'alive';
    }
    task.ids = dump.first(`ids-${pid}.img`, 'task_kobj_ids_entry');
  }
  return result;
}

/** Older dumps have separate images for parts of the core. */
function olderImages(pid: number, { tc, thread_core }: Core): string[] {
  return [
    ...(thread_core?.creds ? [] : [`creds-${pid}.img`]),
    ...(tc?.sigactions?.length ? [] : [`sigacts-${pid}.img`]),
    ...(tc?.timers ? [] : [`itimers-${pid}.img`]),
    ...(tc?.rlimits ? [] : [`rlimit-${pid}.img`]),
  ];
}

/** The image of the descriptors of a process; several may share one. */
export function fdinfoName(task: SurveyedTask, { inventory }: Survey): string | undefined {
  if (inventory && !inventory.fdinfo_per_id) return `fdinfo-${task.pid}.img`;
  return task.ids && `fdinfo-${task.ids.files_id}.img`;
}
