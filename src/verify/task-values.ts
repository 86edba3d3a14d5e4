/** Checks the values of a process in its core: state, timers, limits and signals. */
import type { Messages } from '../generated/entries.js';
import type { ValueCheck } from './values.js';

type TaskCore = Messages['task_core_entry'];
type Timers = Messages['task_timers_entry'];

/** Alive, dead, stopped, zombie. Source: CRIU, compel task-state.h. */
const TASK_STATES = [1, 2, 3, 6];
/** Characters of a name, without its end. Source: TASK_COMM_LEN. */
const MAX_COMM_BYTES = 15;
const LAST_SIGNAL = 64;
/** All signals but KILL and STOP; MIPS has twice as many. */
const SIGACTIONS = 62;
const MIPS_SIGACTIONS = 126;

const LAST_MICROSECOND = 999_999n;
const LAST_NANOSECOND = 999_999_999n;
/** CLOCK_REALTIME to CLOCK_TAI. */
const LAST_CLOCK = 11;
/** SIGEV_SIGNAL, NONE, THREAD, THREAD_ID, and the last two together. */
const SIGEV = [0, 1, 2, 4, 6];
/** A restore makes timers until one has this number. */
const MAX_TIMER_ID = 1_000_000;

export function checkTaskValues(values: ValueCheck, tc: TaskCore, mtype: Messages['core_entry']['mtype']): void {
  values.oneOf('task_state', tc.task_state, TASK_STATES);
  checkComm(values, tc.comm);
  if (tc.timers) checkTimers(values, tc.timers);
  for (const [i, { cur, max }] of (tc.rlimits?.rlimits ?? []).entries()) {
    values.must(cur <= max, `limit ${i} of at most ${max}`, cur);
  }
  const signals = String(mtype) === 'MIPS' ? MIPS_SIGACTIONS : SIGACTIONS;
  const { length } = tc.sigactions ?? [];
  values.must(length === 0 || length === signals, `${signals} sigactions`, length);
  checkSignals(values, tc.signals_s);
}

export const checkComm = (values: ValueCheck, comm: string | undefined): void =>
  values.mustNot(
    Buffer.byteLength(comm ?? '') > MAX_COMM_BYTES,
    `the name ${comm} is longer than ${MAX_COMM_BYTES} bytes`,
  );

/** Signals that wait. */
export function checkSignals(values: ValueCheck, queue: TaskCore['signals_s']): void {
  for (const { siginfo } of queue?.signals ?? []) {
    if (siginfo.length >= 4) values.between('a signal', Buffer.from(siginfo).readInt32LE(), 1, LAST_SIGNAL);
  }
}

function checkTimers(values: ValueCheck, { real, virt, prof, posix = [] }: Timers): void {
  for (const { iusec, vusec } of [real, virt, prof]) {
    values.between('microseconds', iusec, 0n, LAST_MICROSECOND);
    values.between('microseconds', vusec, 0n, LAST_MICROSECOND);
  }
  const ids = new Set<number>();
  for (const timer of posix) {
    const { it_id: id } = timer;
    values.between('it_id', id, 0, MAX_TIMER_ID);
    values.mustNot(ids.has(id), `timer ${id} is there twice`);
    ids.add(id);
    values.between('clock_id', timer.clock_id, 0, LAST_CLOCK);
    values.between('si_signo', timer.si_signo, 0, LAST_SIGNAL);
    values.oneOf('it_sigev_notify', timer.it_sigev_notify, SIGEV);
    values.between('nanoseconds', timer.insec, 0n, LAST_NANOSECOND);
    values.between('nanoseconds', timer.vnsec, 0n, LAST_NANOSECOND);
  }
}
