/** Checks that the seccomp filters and control groups of the processes exist. */
import type { CheckedDump } from './checked-dump.js';
import type { Survey } from './survey.js';
import { ValueCheck } from './values.js';

/** Of struct sock_filter. */
const INSTRUCTION_BYTES = 8;
/** SECCOMP_FILTER_FLAG_TSYNC to WAIT_KILLABLE_RECV. */
const FILTER_FLAGS = 0x3f;

export function checkProcesses(dump: CheckedDump, { inventory, tasks }: Survey): void {
  const filters = countFilters(dump);
  const sets = inventory && readSets(dump, inventory.root_cg_set);
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
    const set = thread?.cg_set ?? tc?.cg_set;
    if (set === undefined || !sets || sets.has(set)) return;
    dump.error('NO_CGROUP_SET', name, `expected cg_set ${set} in cgroup.img, found none`, { entry });
  });
}

/** Filters in seccomp.img; undefined if it cannot be read. Each may have one before it that was installed earlier. */
function countFilters(dump: CheckedDump): number | undefined {
  let count = 0;
  const read = dump.each('seccomp.img', 'seccomp_entry', ({ seccomp_filters: filters = [] }, entry) => {
    const values = new ValueCheck(dump, 'seccomp.img', entry);
    for (const { filter, prev, flags } of filters) {
      const { length } = filter;
      const isRight = length > 0 && length % INSTRUCTION_BYTES === 0;
      values.must(isRight, `filter ${count} of whole instructions of ${INSTRUCTION_BYTES} bytes`, `${length} bytes`);
      values.must(prev === undefined || prev < count, `a filter before filter ${count}`, prev);
      values.onlyBits(`flags of filter ${count}`, flags, FILTER_FLAGS);
      count++;
    }
  });
  return read || !dump.has('seccomp.img') ? count : undefined;
}

/** Sets of control groups; undefined if their image cannot be read. CRIU's own needs no image. */
function readSets(dump: CheckedDump, root: number | undefined): Set<number> | undefined {
  const sets = new Set(root === undefined ? [] : [root]);
  const read = dump.each('cgroup.img', 'cgroup_entry', (entry) => {
    for (const { id } of entry.sets ?? []) sets.add(id);
  });
  return read || !dump.has('cgroup.img') ? sets : undefined;
}
