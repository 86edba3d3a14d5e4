/**
 * Stops restored tasks whose pages can no longer be delivered. Otherwise the kernel would give them pages of zeros as soon as
 * the daemon is gone, and they would compute on those.
 */
import { readdirSync, readFileSync } from 'node:fs';
import { constants } from 'node:os';
import type { DaemonCalls } from '../io/linux.js';

interface Process {
  /** As it is seen here. */
  pid: number;
  parent: number;
  /** In its own namespace, as the dump has it. */
  innerPid: number;
}

/**
 * Stops all processes that are visible here, have one of these pids in their own namespace, or descend from one that does, and
 * have memory that waits for a daemon.
 * @param pids as in the dump
 * @returns those that were stopped, as they are seen here, by their pid in their own namespace
 */
export function stopTasks(calls: DaemonCalls, pids: ReadonlySet<number>): Map<number, number> {
  const processes = listProcesses();
  const isTask = new Map<number, boolean>();
  const byPid = new Map(processes.map((process) => [process.pid, process]));
  const descends = ({ pid, parent, innerPid }: Process, depth = 0): boolean => {
    const known = isTask.get(pid);
    if (known !== undefined) return known;
    const above = byPid.get(parent);
    const is = pids.has(innerPid) || (above !== undefined && depth < processes.length && descends(above, depth + 1));
    isTask.set(pid, is);
    return is;
  };
  const stopped = new Map<number, number>();
  for (const process of processes) {
    if (descends(process) && stop(calls, process)) stopped.set(process.innerPid, process.pid);
  }
  return stopped;
}

/** A pidfd stays with its process, so another one that has the pid by now is not stopped. */
function stop(calls: DaemonCalls, { pid, innerPid }: Process): boolean {
  const pidfd = calls.pidfdOpen(pid);
  if (pidfd < 0) return false;
  try {
    if (readProcess(pid)?.innerPid !== innerPid || !waitsForDaemon(pid)) return false;
    return calls.pidfdSendSignal(pidfd, constants.signals.SIGSTOP) >= 0;
  } finally {
    calls.close(pidfd);
  }
}

function listProcesses(): Process[] {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .map((name) => readProcess(Number(name)))
    .filter((process) => process !== undefined);
}

function readProcess(pid: number): Process | undefined {
  const status = readProc(pid, 'status');
  const parent = /^PPid:\s*(\d+)$/m.exec(status)?.[1];
  const pids = /^NSpid:\s*(.*)$/m.exec(status)?.[1]?.split('\t');
  return parent === undefined ? undefined : { pid, parent: Number(parent), innerPid: Number(pids?.at(-1) ?? pid) };
}

/** Whether a process has an area whose missing pages a userfaultfd gives: VmFlags has `um`. Source: proc_pid_smaps(5). */
const waitsForDaemon = (pid: number): boolean => /^VmFlags:.* um\b/m.test(readProc(pid, 'smaps'));

/** A file of /proc; empty if the process is gone. */
function readProc(pid: number, name: string): string {
  try {
    return readFileSync(`/proc/${pid}/${name}`, 'latin1');
  } catch {
    return '';
  }
}
