/** Whether the processes agree with each other: parents, locks, filters of system calls, control groups. */
import type { CheckedDump } from './checked-dump.js';
import type { Survey } from './survey.js';

export function checkProcesses(dump: CheckedDump, { inventory, tasks }: Survey): void {
  const pids = new Set<number>();
  for (const { pid } of tasks) pids.add(pid);
  const seen = new Set<number>();
  tasks.forEach(({ pid, ppid }, entry) => {
    if (seen.has(pid))
      dump.error('PID_TWICE', 'pstree.img', `expected a pid of its own, found ${pid} again`, { entry });
    seen.add(pid);
    if (ppid !== 0 && !pids.has(ppid)) {
      dump.error('NO_PROCESS', 'pstree.img', `expected a parent with pid ${ppid}, found none`, { entry });
    }
  });
  dump.each('filelocks.img', 'file_lock_entry', ({ pid }, entry) => {
    if (pids.has(pid)) return;
    dump.warning('NO_PROCESS', 'filelocks.img', `expected a process with pid ${pid}, found none`, { entry });
  });
  const filters = countFilters(dump);
  const sets = readSets(dump, inventory?.root_cg_set);
  for (const { pid, threads, state } of tasks) {
    if (state !== 'alive') continue;
    for (const tid of new Set([pid, ...threads])) checkThread(dump, tid, filters, sets);
  }
}

function checkThread(dump: CheckedDump, tid: number, filters: number | undefined, sets: Set<number> | undefined): void {
  const name = `core-${tid}.img`;
  dump.each(name, 'core_entry', ({ tc, thread_core: thread }, entry) => {
    const filter = thread?.seccomp_filter;
    if (filter !== undefined && filters !== undefined && filter >= filters) {
      const message = `expected filter ${filter} in seccomp.img, found ${filters} filters`;
      dump.error('NO_FILTER', name, message, { entry });
    }
    for (const set of new Set([tc?.cg_set, thread?.cg_set])) {
      if (set === undefined || !sets || sets.has(set)) continue;
      dump.warning('NO_CGROUP_SET', name, `expected cg_set ${set} in cgroup.img, found none`, { entry });
    }
  });
}

/** Filters in seccomp.img; undefined if it cannot be read. */
function countFilters(dump: CheckedDump): number | undefined {
  let count = 0;
  const read = dump.each('seccomp.img', 'seccomp_entry', ({ seccomp_filters: filters = [] }) => {
    count += filters.length;
  });
  return read || !dump.has('seccomp.img') ? count : undefined;
}

/** Sets of control groups. CRIU's own needs no image, and a dump that leaves control groups alone has no image at all. */
function readSets(dump: CheckedDump, root: number | undefined): Set<number> | undefined {
  const sets = new Set(root === undefined ? [] : [root]);
  const read = dump.each('cgroup.img', 'cgroup_entry', (entry) => {
    for (const { id } of entry.sets ?? []) sets.add(id);
  });
  return read ? sets : undefined;
}
