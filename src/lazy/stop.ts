/**
 * Stops restored tasks whose pages can no longer be delivered. Otherwise the kernel would give them pages of zeros as soon as
 * the daemon is gone, and they would compute on those.
 */
import { readdirSync, readFileSync } from 'node:fs';
import { constants } from 'node:os';
import { DumpError } from '../errors.js';
import type { DaemonCalls } from '../io/linux.js';
import { addressHex } from '../memory/runs.js';
import { counted } from '../printable.js';
import type { LazyTask } from './task.js';

/**
 * Stops tasks that have not got all their pages, because of an error.
 * @param pageSize bytes
 * @returns the error, with what was stopped
 */
export function stopIncomplete(
  calls: DaemonCalls,
  tasks: readonly LazyTask[],
  pageSize: number,
  error: unknown,
): unknown {
  const [first] = tasks;
  if (!first) return error;
  const stopped = stopTasks(
    calls,
    tasks.map(({ seenPid }) => seenPid).filter((pid) => pid > 0),
  );
  const awaiting = tasks.find(({ awaited }) => awaited !== undefined) ?? first;
  const page = awaiting.awaited ?? awaiting.pending.firstWaiting()?.at;
  const who =
    stopped.size === 0
      ? `found no task to stop: process ${awaiting.pid}`
      : `stopped ${counted(stopped.size, 'task')}: process ${awaiting.seenPid || awaiting.pid}`;
  const code = error instanceof DumpError ? error.code : 'SYSTEM';
  // All has been delivered, and turns out to be damaged.
  const what = page === undefined ? 'may have wrong pages' : `has no page at 0x${addressHex(page, pageSize)}`;
  return new DumpError(code, `${(error as Error).message}; ${who} ${what}`, {
    hint: 'the memory of these tasks is not complete; end them, and do not let them continue',
    temporary: false,
    cause: error,
  });
}

/**
 * Stops processes, and those that descend from them, that have memory which waits for a daemon. A pid may be another process by
 * now: only what descends from one of these and waits for pages is stopped.
 * @param pids as they are seen here; those that are not are 0
 * @returns the pids of those that were stopped
 */
function stopTasks(calls: DaemonCalls, pids: Iterable<number>): Set<number> {
  const parents = readParents();
  const wanted = new Set(pids);
  const stopped = new Set<number>();
  for (const pid of parents.keys()) {
    let at: number | undefined = pid;
    for (let steps = 0; at !== undefined && !wanted.has(at) && steps < parents.size; steps++) at = parents.get(at);
    if (at !== undefined && wanted.has(at) && stop(calls, pid)) stopped.add(pid);
  }
  return stopped;
}

/** A pidfd stays with its process, so another one that has the pid by then is not stopped. */
function stop(calls: DaemonCalls, pid: number): boolean {
  const pidfd = calls.pidfdOpen(pid);
  if (pidfd < 0) return false;
  try {
    return waitsForDaemon(pid) && calls.pidfdSendSignal(pidfd, constants.signals.SIGSTOP) >= 0;
  } finally {
    calls.close(pidfd);
  }
}

/** The parent of each process. */
function readParents(): Map<number, number> {
  const parents = new Map<number, number>();
  for (const name of readdirSync('/proc')) {
    const parent = /^\d+$/.test(name) ? /^PPid:\s*(\d+)$/m.exec(readProc(name, 'status'))?.[1] : undefined;
    if (parent !== undefined) parents.set(Number(name), Number(parent));
  }
  return parents;
}

/** Whether a process has an area whose missing pages a userfaultfd gives: VmFlags has `um`. Source: proc_pid_smaps(5). */
const waitsForDaemon = (pid: number): boolean => /^VmFlags:.* um\b/m.test(readProc(pid, 'smaps'));

/** A file of /proc; empty if the process is gone. */
function readProc(pid: number | string, name: string): string {
  try {
    return readFileSync(`/proc/${pid}/${name}`, 'latin1');
  } catch {
    return '';
  }
}
