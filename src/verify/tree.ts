/**
 * Checks the tree of processes. A restore forks the first process, and each process forks its children. Sessions and groups
 * must be possible in that order.
 */
import type { CheckedDump } from './checked-dump.js';
import type { Survey, SurveyedTask } from './survey.js';

const FILE = 'pstree.img';

/** Limit on the ancestors that are followed: otherwise a hostile tree would take quadratic time. */
const MAX_DEPTH = 1000;

export function checkTree(dump: CheckedDump, { tasks }: Survey): void {
  const tree = new Tree(dump, tasks);
  for (const [entry, task] of tasks.entries()) tree.check(task, entry);
}

class Tree {
  /** The first task of each pid. */
  private readonly byPid = new Map<number, SurveyedTask>();
  /** Pids that came before the task that is checked. */
  private readonly seen = new Set<number>();
  private readonly threadOwners = new Map<number, number>();

  constructor(
    private readonly dump: CheckedDump,
    tasks: readonly SurveyedTask[],
  ) {
    for (const task of tasks) if (!this.byPid.has(task.pid)) this.byPid.set(task.pid, task);
  }

  check(task: SurveyedTask, entry: number): void {
    const { pid } = task;
    if (this.seen.has(pid)) {
      this.dump.error('PID_TWICE', FILE, `expected a pid of its own, found ${pid} again`, { entry });
    }
    this.parent(task, entry);
    if (!this.seen.has(pid)) this.threads(task, entry);
    this.seen.add(pid);
    this.session(task, entry);
    this.group(task, entry);
  }

  private parent({ pid, ppid }: SurveyedTask, entry: number): void {
    const parent = this.byPid.get(ppid);
    if (ppid === 0) {
      if (entry > 0) this.bad(entry, `process ${pid} has no parent, and is not the first process`);
    } else if (!parent) {
      this.dump.error('NO_PROCESS', FILE, `expected a parent with pid ${ppid}, found none`, { entry });
    } else if (!this.seen.has(ppid)) {
      this.bad(entry, `process ${pid} comes before its parent ${ppid}`);
    } else if (parent.state === 'zombie') {
      this.bad(entry, `the parent of process ${pid} is the zombie ${ppid}`);
    }
  }

  /** The ids of a zombie's threads mean nothing. */
  private threads({ pid, threads, state }: SurveyedTask, entry: number): void {
    if (threads.length === 0) this.bad(entry, `process ${pid} has no threads`);
    if (state !== 'alive') return;
    if (threads.length > 0 && threads[0] !== pid) {
      this.bad(entry, `expected process ${pid} as its own first thread, found ${threads[0]}`);
    }
    for (const tid of threads) {
      const owner = this.threadOwners.get(tid);
      if (tid !== pid && this.byPid.has(tid)) this.bad(entry, `thread ${tid} of process ${pid} is a process as well`);
      else if (owner === pid) this.bad(entry, `process ${pid} has thread ${tid} twice`);
      else if (owner !== undefined)
        this.bad(entry, `thread ${tid} of process ${pid} is one of process ${owner} as well`);
      this.threadOwners.set(tid, pid);
    }
  }

  /** If the leader of a session is gone, a restore makes a temporary one. */
  private session({ pid, ppid, sid }: SurveyedTask, entry: number): void {
    const leader = this.byPid.get(sid);
    if (sid === 0 && (this.byPid.get(ppid)?.sid ?? 0) !== 0) {
      this.bad(entry, `the session of process ${pid} began outside of the dump, but that of its parent did not`);
    } else if (leader && leader.sid !== sid) {
      this.bad(entry, `process ${pid} is in session ${sid}, but process ${sid} leads no session`);
    } else if (leader && sid !== pid && this.isBelow(leader, pid)) {
      this.bad(entry, `process ${pid} is in the session of ${sid}, which it is an ancestor of`);
    }
  }

  private group({ pid, pgid, sid }: SurveyedTask, entry: number): void {
    const leader = this.byPid.get(pgid);
    if (!leader || leader.sid === sid) return;
    this.bad(entry, `process ${pid} is in session ${sid}, but in a group of session ${leader.sid}`);
  }

  /** Whether a task descends from a process. Parents may form a loop. */
  private isBelow(task: SurveyedTask, pid: number): boolean {
    let at: SurveyedTask | undefined = task;
    for (let steps = 0; at && steps < MAX_DEPTH; steps++) {
      if (at.ppid === pid) return true;
      at = this.byPid.get(at.ppid);
    }
    return false;
  }

  private bad(entry: number, message: string): void {
    this.dump.error('BAD_TREE', FILE, message, { entry });
  }
}
