/**
 * A process and all that descend from it. A pid may be that of another process later, so each is known by the time of its start,
 * too. Source: proc_pid_stat(5), proc_pid_status(5).
 */
import { readdirSync, readFileSync, readlinkSync } from 'node:fs';

/** State, flags and start of a process, from the fields behind the name in parentheses. */
const STATE_FIELD = 0;
const FLAGS_FIELD = 6;
const START_FIELD = 19;
/** `PF_EXITING`: it gives back its memory, which may take seconds, and does nothing else. */
const EXITING_FLAG = 4;
/** SIGKILL among the signals that wait for a thread, in hexadecimal: the kernel gives it to every thread that must end. */
const PENDING_KILL = /^SigPnd:\s+[0-9a-f]*[13579bdf][0-9a-f]{2}$/m;
/** A zombie has no memory, and one that is dead is about to vanish. */
const ENDED = ['Z', 'X', 'x'];
const STOPPED = 'T';
const TRACED = /^TracerPid:\s+[1-9]/m;
/** The last of its ids: that of the innermost namespace. */
const OWN_ID = /^NSpid:.*\s(\d+)$/m;

export class ProcessTree {
  private constructor(private readonly starts: ReadonlyMap<number, string>) {}

  /** The tree as it is now; undefined if there is no such process. */
  static of(root: number): ProcessTree | undefined {
    const starts = new Map<number, string>();
    for (const pids = [root]; pids.length > 0; ) {
      const pid = pids.pop() as number;
      const fields = starts.has(pid) ? undefined : fieldsOf(pid);
      if (!fields) continue;
      starts.set(pid, fields[START_FIELD] as string);
      pids.push(...childrenOf(pid));
    }
    return starts.has(root) ? new ProcessTree(starts) : undefined;
  }

  get size(): number {
    return this.starts.size;
  }

  /** The processes that have not ended. */
  alive(): number[] {
    return [...this.starts].filter(([pid, start]) => isAlive(pid, start)).map(([pid]) => pid);
  }

  /** Those that were stopped by a signal. */
  stopped(): number[] {
    return [...this.starts.keys()].filter((pid) => fieldsOf(pid)?.[STATE_FIELD] === STOPPED);
  }

  /** Whether another process traces each thread of each process that is alive. */
  isTraced(): boolean {
    return this.alive().every((pid) =>
      threadsOf(pid).every((thread) => TRACED.test(read(`/proc/${pid}/task/${thread}/status`))),
    );
  }

  /** The pids of those that are alive, by those in their own pid namespace. */
  byOwnId(): Map<number, number> {
    return new Map(
      this.alive().map((pid) => [Number(OWN_ID.exec(read(`/proc/${pid}/status`))?.[1] ?? pid), pid] as const),
    );
  }

  /** @param pids of those that get it; by default all that are alive */
  signal(name: NodeJS.Signals, pids = this.alive()): void {
    for (const pid of pids) {
      try {
        process.kill(pid, name);
      } catch {
        // It has ended meanwhile.
      }
    }
  }

  /** Bytes of private memory, in memory or swapped out: a dump has about as many. */
  memoryBytes(): number {
    let kilobytes = 0;
    for (const pid of this.starts.keys()) {
      for (const [, amount] of read(`/proc/${pid}/status`).matchAll(/^(?:RssAnon|VmSwap):\s+(\d+) kB$/gm)) {
        kilobytes += Number(amount);
      }
    }
    return kilobytes * 1024;
  }

  /** The ids of processes and threads that a restore in another place needs; none for those of a pid namespace of their own. */
  neededIds(): number[] {
    const ids: number[] = [];
    for (const pid of this.starts.keys()) {
      if (namespaceOf(pid) === namespaceOf('self')) ids.push(...threadsOf(pid));
    }
    return ids;
  }
}

/** The pid namespace of this process, by a name that no other machine has. */
export const ownNamespace = (): string => `${read('/proc/sys/kernel/random/boot_id').trim()} ${namespaceOf('self')}`;

/** The children of a process. */
export const childrenOf = (pid: number | 'self'): number[] =>
  threadsOf(pid).flatMap((thread) =>
    read(`/proc/${pid}/task/${thread}/children`)
      .split(' ')
      .filter((word) => word !== '')
      .map(Number),
  );

function threadsOf(pid: number | 'self'): number[] {
  try {
    return readdirSync(`/proc/${pid}/task`).map(Number);
  } catch {
    return [];
  }
}

function isAlive(pid: number, start: string): boolean {
  const fields = fieldsOf(pid);
  if (fields?.[START_FIELD] !== start || ENDED.includes(fields[STATE_FIELD] as string)) return false;
  if (Number(fields[FLAGS_FIELD]) & EXITING_FLAG) return false;
  return !PENDING_KILL.test(read(`/proc/${pid}/status`));
}

/** The fields of a process from its state on; undefined if there is none. */
function fieldsOf(pid: number): string[] | undefined {
  const stat = read(`/proc/${pid}/stat`);
  return stat === '' ? undefined : stat.slice(stat.lastIndexOf(')') + 2).split(' ');
}

function namespaceOf(pid: number | 'self'): string {
  try {
    return readlinkSync(`/proc/${pid}/ns/pid`);
  } catch {
    return '';
  }
}

/** A file of /proc; empty if the process is gone. */
function read(path: string): string {
  try {
    return readFileSync(path, 'latin1');
  } catch {
    return '';
  }
}
