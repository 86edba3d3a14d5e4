/** Checks that a restore can make the namespaces of the processes, and that it has the images for them. */
import type { Messages } from '../generated/entries.js';
import type { CheckedDump } from './checked-dump.js';
import { isColdHalf } from './cold.js';
import type { Survey, SurveyedTask } from './survey.js';

type Ids = Messages['task_kobj_ids_entry'];
type Namespace = Extract<keyof Ids, `${string}_ns_id`>;

/** The images of each namespace that are never empty. A pid namespace has none; for that of the network see below. */
const IMAGES: Record<Exclude<Namespace, 'cgroup_ns_id'>, readonly string[]> = {
  pid_ns_id: [],
  net_ns_id: [],
  ipc_ns_id: ['ipcns-var'],
  uts_ns_id: ['utsns'],
  mnt_ns_id: ['mountpoints'],
  user_ns_id: ['userns'],
  time_ns_id: ['timens'],
};
const NAMESPACES = Object.keys(IMAGES) as (keyof typeof IMAGES)[];

/** A process that is not the first may have its own, not shared with its parent. */
const NESTED: readonly Namespace[] = ['mnt_ns_id', 'net_ns_id'];

/** In its pid namespace. */
const INIT_PID = 1;

export function checkNamespaces(dump: CheckedDump, { inventory, tasks }: Survey): void {
  const root = inventory?.root_ids;
  if (!root || !inventory.ns_per_id || isColdHalf(dump)) return;
  const [first] = tasks;
  for (const task of tasks) {
    if (task.state === 'alive' && task.ids) checkTask(dump, root, task, task.ids, first as SurveyedTask);
  }
}

/** @param root the namespaces of CRIU itself, which exist at the restore as well */
function checkTask(dump: CheckedDump, root: Ids, { pid }: SurveyedTask, ids: Ids, first: SurveyedTask): void {
  const file = `ids-${pid}.img`;
  const bad = (message: string) => dump.error('BAD_NAMESPACE', file, message, { entry: 0 });
  for (const field of NAMESPACES) {
    const id = ids[field];
    if (id === undefined) {
      if (root[field] !== undefined) bad(`it has no ${field}, but inventory.img has one`);
      continue;
    }
    const ofFirst = first.ids?.[field];
    if (ofFirst !== undefined && id !== ofFirst && !NESTED.includes(field)) {
      bad(`process ${pid} has another ${field} than the first process: a restore makes none for it`);
    }
    if (id === root[field] || id === 0) continue;
    for (const image of IMAGES[field]) dump.require(`${image}-${id}.img`, file);
    if (field === 'net_ns_id') checkNetwork(dump, id, file, id === ofFirst);
    if (field === 'pid_ns_id' && first.pid !== INIT_PID) {
      bad(`process ${pid} has a pid namespace of its own, but the first process is not its init`);
    }
  }
}

/**
 * A container engine may provide the network of the first process at the restore. Then there are no images of it, or only a
 * netns image that names it.
 */
function checkNetwork(dump: CheckedDump, id: number, by: string, isFirst: boolean): void {
  const [netns, netdev] = [`netns-${id}.img`, `netdev-${id}.img`];
  if (isFirst && !dump.has(netns) && !dump.has(netdev)) return;
  dump.require(netns, by);
  const conf = dump.first(netns, 'netns_entry');
  if (conf && conf.ext_key === undefined) dump.require(netdev, by);
}
