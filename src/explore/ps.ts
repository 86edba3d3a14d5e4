/** The processes of a dump, as a tree or as a list. */
import type { Images } from '../dump/images.js';
import { isDead } from '../dump/tasks.js';
import { type Print, printArray } from './output.js';
import { coreOf, type PstreeEntry, processesOf } from './processes.js';

/** A process in JSON. */
export interface ProcessData {
  /** Inside its pid namespace, as in file names; so are all ids here. */
  pid: number;
  /** 0 for the root of the tree. */
  ppid: number;
  pgid: number;
  sid: number;
  comm: string;
  state: 'alive' | 'stopped' | 'zombie' | 'unknown';
  /** Ids of its threads, its own among them; a zombie has none. */
  threads: number[];
}

interface Node {
  task: PstreeEntry;
  comm: string;
  children: Node[];
}

const INDENT = 4;
/** Deeper ones are not indented further: a chain of processes would make a table of quadratic size. */
const MAX_DEPTH = 32;

/** A table of all processes, children indented below their parents. */
export function printProcesses(images: Images, print: Print): void {
  const nodes = new Map<number, Node>();
  for (const task of processesOf(images)) {
    nodes.set(task.pid, { task, comm: coreOf(images, task.pid).tc?.comm ?? '', children: [] });
  }
  const roots: Node[] = [];
  for (const node of nodes.values()) {
    const parent = node.task.ppid === 0 ? undefined : nodes.get(node.task.ppid);
    (parent ? parent.children : roots).push(node);
  }
  print(row('PID', 'PGID', 'SID', 'COMM'));
  const printed = new Set<Node>();
  for (const root of roots) printTree(root, printed, print);
  // A dump of processes that are each other's parents has no root.
  for (const node of nodes.values()) printTree(node, printed, print);
}

/** One process and all below it: without recursion, since a tree may be a chain of thousands. */
function printTree(root: Node, printed: Set<Node>, print: Print): void {
  const stack = [{ node: root, depth: 0 }];
  for (let next = stack.pop(); next; next = stack.pop()) {
    const { node, depth } = next;
    if (printed.has(node)) continue;
    printed.add(node);
    const { pid, pgid, sid } = node.task;
    print(row(pid, pgid, sid, ' '.repeat(INDENT * Math.min(depth, MAX_DEPTH)) + node.comm));
    for (const child of node.children.toReversed()) stack.push({ node: child, depth: depth + 1 });
  }
}

const row = (pid: number | string, pgid: number | string, sid: number | string, comm: string): string =>
  `${[pid, pgid, sid].map((id) => String(id).padStart(7)).join('')}   ${comm}\n`;

/** A list of {@link ProcessData}, in the order of the image: parents before their children. */
export function printProcessesJson(images: Images, print: Print): void {
  printArray(print, (array) => {
    for (const { pid, ppid, pgid, sid, threads = [] } of processesOf(images)) {
      const core = coreOf(images, pid);
      const zombie = isDead(core);
      const state = zombie ? 'zombie' : (STATES[core.tc?.task_state ?? 0] ?? 'unknown');
      const data: ProcessData = {
        pid,
        ppid,
        pgid,
        sid,
        comm: core.tc?.comm ?? '',
        state,
        // CRIU leaves garbage there for a zombie.
        threads: zombie ? [] : threads,
      };
      array.add(data);
    }
  });
}

/** By `task_core_entry.task_state`. Source: CRIU, compel task-state.h. */
const STATES: Partial<Record<number, ProcessData['state']>> = { 1: 'alive', 3: 'stopped' };
