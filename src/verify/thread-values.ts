/** Checks the values of a thread in its core: scheduling, seccomp, and what the C library has registered. */
import type { Messages } from '../generated/entries.js';
import { checkComm, checkSignals } from './task-values.js';
import type { ValueCheck } from './values.js';

type ThreadCore = Messages['thread_core_entry'];

const LAST_SIGNAL = 64;
/** OTHER, FIFO, RR, BATCH, IDLE, DEADLINE, EXT. */
const POLICIES = [0, 1, 2, 3, 5, 6, 7];
const REAL_TIME = [1, 2];
/** Goes with any policy. */
const SCHED_RESET_ON_FORK = 0x40000000;
const SECCOMP_MODES = ['disabled', 'strict', 'filter'];
/** Of a list of robust futexes: none, that of a process of 32 bits, and of 64. */
const FUTEX_LIST_BYTES = [0, 12, 24];
/** Of struct rseq up to what every kernel knows. */
const MIN_RSEQ_BYTES = 20;

export function checkThreadValues(values: ValueCheck, thread: ThreadCore): void {
  checkComm(values, thread.comm);
  checkSignals(values, thread.signals_p);
  const { sched_prio: priority = 0, sched_nice: nice = 0 } = thread;
  const policy = (thread.sched_policy ?? 0) & ~SCHED_RESET_ON_FORK;
  values.oneOf('sched_policy', policy, POLICIES);
  if (REAL_TIME.includes(policy)) values.between('sched_prio', priority, 1, 99);
  else values.between('sched_prio', priority, 0, 0);
  // It is negative in a field that is not.
  values.between('sched_nice', nice | 0, -20, 19);
  values.between('pdeath_sig', thread.pdeath_sig, 0, LAST_SIGNAL);
  values.oneOf('futex_rla_len', thread.futex_rla_len, FUTEX_LIST_BYTES);
  const { rseq_entry: rseq } = thread;
  if (rseq && rseq.rseq_abi_pointer !== 0n) {
    const size = rseq.rseq_abi_size;
    values.must(size >= MIN_RSEQ_BYTES, `rseq_abi_size of at least ${MIN_RSEQ_BYTES}`, size);
  }
  const { seccomp_mode: mode, seccomp_filter: filter } = thread;
  values.oneOf('seccomp_mode', mode, SECCOMP_MODES);
  values.mustNot(filter !== undefined && mode !== 'filter', `it has filter ${filter}, but seccomp_mode is not filter`);
}
