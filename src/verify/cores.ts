/** Checks that processes have cores of processes and threads cores of threads, with values that a restore accepts. */
import { isDead } from '../dump/tasks.js';
import type { Messages } from '../generated/entries.js';
import type { AreaTable } from '../memory/vma.js';
import type { CheckedDump } from './checked-dump.js';
import { checkCredentials } from './credentials.js';
import { areasOf } from './mm.js';
import { checkRegisters } from './registers.js';
import type { Survey } from './survey.js';
import { checkTaskValues } from './task-values.js';
import { checkThreadValues } from './thread-values.js';
import { ValueCheck } from './values.js';

export type Core = Messages['core_entry'];

/** Where the registers are, by machine. */
const REGISTERS = {
  X86_64: 'thread_info',
  ARM: 'ti_arm',
  AARCH64: 'ti_aarch64',
  PPC64: 'ti_ppc64',
  S390: 'ti_s390',
  MIPS: 'ti_mips',
  LOONGARCH64: 'ti_loongarch64',
  RISCV64: 'ti_riscv64',
} as const satisfies Record<string, keyof Core>;

/** Images that a zombie does not have. */
const OF_THE_LIVING = ['mm', 'pagemap', 'ids', 'fs'];

export function checkCores(dump: CheckedDump, survey: Survey, pageSize: number): void {
  let machine: Core['mtype'] | undefined;
  for (const { pid, threads, state } of survey.tasks) {
    const leader = `core-${pid}.img`;
    const areas = state === 'alive' ? areasOf(dump, pid, pageSize) : undefined;
    const core = dump.first(leader, 'core_entry');
    if (core) {
      machine ??= core.mtype;
      const expected = `the machine of the first process, ${machine}`;
      new ValueCheck(dump, leader, 0, 'BAD_CORE').must(core.mtype === machine, expected, core.mtype);
      checkProcess(dump, leader, core, pid);
      if (!isDead(core)) checkThread(dump, survey, leader, core, machine, areas);
    }
    if (state !== 'alive') continue;
    for (const tid of new Set(threads)) {
      const file = `core-${tid}.img`;
      const core = tid === pid ? undefined : dump.first(file, 'core_entry');
      if (!core) continue;
      new ValueCheck(dump, file, 0, 'BAD_CORE').mustNot(
        core.tc !== undefined || core.ids !== undefined,
        `it is the core of a process, but ${tid} is a thread of process ${pid}`,
      );
      checkThread(dump, survey, file, core, machine, areas);
    }
  }
}

function checkProcess(dump: CheckedDump, file: string, core: Core, pid: number): void {
  const shape = new ValueCheck(dump, file, 0, 'BAD_CORE');
  shape.mustNot(core.tc === undefined, `it is the core of a thread, but ${pid} is a process`);
  if (isDead(core)) {
    const left = OF_THE_LIVING.map((kind) => `${kind}-${pid}.img`).find((name) => dump.has(name));
    shape.mustNot(left !== undefined, `it says that process ${pid} is dead, but ${left} is there`);
  } else if (core.tc) {
    checkTaskValues(new ValueCheck(dump, file), core.tc, core.mtype);
  }
}

function checkThread(
  dump: CheckedDump,
  { inventory }: Survey,
  file: string,
  core: Core,
  machine: Core['mtype'] | undefined,
  areas: AreaTable | undefined,
): void {
  const shape = new ValueCheck(dump, file, 0, 'BAD_CORE');
  const { thread_core: thread } = core;
  shape.mustNot(thread === undefined, 'it has no thread_core');
  const registers = REGISTERS[machine as keyof typeof REGISTERS];
  shape.mustNot(registers !== undefined && core[registers] === undefined, `it has no ${registers}, the registers`);
  const values = new ValueCheck(dump, file);
  if (thread) checkThreadValues(values, thread);
  if (thread?.creds && inventory) checkCredentials(values, thread.creds, inventory.lsmtype);
  checkRegisters(dump, file, core, areas);
}
