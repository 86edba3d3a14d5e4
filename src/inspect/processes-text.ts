/** Processes as text: the tree, and what the kernel knows of each. */
import { oneLine } from '../printable.js';
import { quoteWord } from '../shell.js';
import { columns, indented } from './columns.js';
import type { Inspection } from './inspect.js';
import type { ProcessDetails } from './processes.js';

/** Deeper ones are not indented further: a chain of processes would make a table of quadratic size. */
const MAX_DEPTH = 16;

/** A command line on one line of a table, in characters. */
const MAX_COMMAND = 120;

/** Children below their parents. */
export function treeText(processes: readonly ProcessDetails[], most = Number.POSITIVE_INFINITY): string {
  const rows: string[][] = [['pid', 'threads', 'state', 'command']];
  const children = new Map<number, ProcessDetails[]>();
  const pids = new Set(processes.map(({ pid }) => pid));
  const roots: ProcessDetails[] = [];
  for (const process of processes) {
    const { ppid } = process;
    if (!pids.has(ppid)) roots.push(process);
    else if (children.has(ppid)) children.get(ppid)?.push(process);
    else children.set(ppid, [process]);
  }
  const seen = new Set<ProcessDetails>();
  // A dump of processes that are each other's parents has no root.
  const stack = [...roots, ...processes].toReversed().map((process) => ({ process, depth: 0 }));
  for (let next = stack.pop(); next; next = stack.pop()) {
    const { process, depth } = next;
    if (seen.has(process)) continue;
    seen.add(process);
    const { pid, threads, state, args, comm } = process;
    const command = `${'  '.repeat(Math.min(depth, MAX_DEPTH))}${commandLine(args?.texts, comm)}`;
    if (rows.length <= most) rows.push([String(pid), String(threads.length || '-'), state, cut(command)]);
    for (const child of (children.get(pid) ?? []).toReversed()) stack.push({ process: child, depth: depth + 1 });
  }
  const left = processes.length - most;
  return columns(rows, { right: [0, 1] }) + (left > 0 ? `… and ${left} more: --ps-tree\n` : '');
}

const cut = (text: string): string => (text.length > MAX_COMMAND ? `${text.slice(0, MAX_COMMAND)}…` : text);

/** What the kernel knows of each process, and the namespaces that they share. */
export function processesText({ processes, namespaces = [], dump }: Inspection): string {
  const parts = processes
    .filter(({ state }) => state !== 'zombie')
    .map((process) => `pid ${process.pid} ${oneLine(process.comm ?? '')}\n${indented(columns(factsOf(process)))}`);
  if (namespaces.length > 0) {
    const rows = namespaces.map(({ type, id, pids, ...details }) => [
      type,
      String(id),
      `${pids.length} of ${processes.length} processes`,
      oneLine(
        Object.entries(details)
          .map(
            ([key, value]) => `${key} ${Array.isArray(value) ? value.map((each) => each.join(':')).join(' ') : value}`,
          )
          .join(', '),
      ),
    ]);
    parts.push(`namespaces\n${indented(columns(rows, { right: [1] }))}`);
  }
  if (dump.statistics) {
    const rows = Object.entries(dump.statistics).map(([key, value]) => [oneLine(key), String(value)]);
    parts.push(`statistics of the dump: times in microseconds\n${indented(columns(rows, { right: [1] }))}`);
  }
  return parts.join('');
}

function factsOf(process: ProcessDetails): string[][] {
  const {
    credentials,
    limits = {},
    signals,
    threads,
    seccomp,
    oomScoreAdjust,
    nice,
    namespaces,
    cgroups = {},
  } = process;
  const facts: [string, string][] = [['parent, group, session', `${process.ppid}, ${process.pgid}, ${process.sid}`]];
  if (credentials) {
    const { uid, gid, euid, egid, groups, capabilities, noNewPrivileges } = credentials;
    const effective = uid === euid && gid === egid ? '' : `, effective ${euid}:${egid}`;
    const also = groups.length === 0 ? '' : `, groups ${groups.join(' ')}`;
    const limited = noNewPrivileges ? ', no new privileges' : '';
    facts.push(['user', `${uid}:${gid}${effective}${also}, capabilities ${capabilities}${limited}`]);
  }
  if (threads.length > 1) facts.push(['threads', threads.map(({ tid, comm }) => `${tid} ${comm ?? ''}`).join(', ')]);
  const scheduling = [
    nice && `nice ${nice}`,
    oomScoreAdjust && `oom_score_adj ${oomScoreAdjust}`,
    seccomp && `seccomp ${seccomp}`,
  ];
  facts.push(['scheduling', scheduling.filter(Boolean).join(', ')]);
  if (signals) {
    facts.push(
      ['pending signals', signals.pending.join(' ')],
      ['blocked', signals.blocked.join(' ')],
      ['ignored', signals.ignored.join(' ')],
      [
        'handled',
        Object.entries(signals.handlers)
          .map(([name, address]) => `${name} at ${address}`)
          .join(', '),
      ],
    );
  }
  const bounded = Object.entries(limits).filter(([, { soft, hard }]) => soft !== null || hard !== null);
  facts.push(['limits', bounded.map(([name, { soft, hard }]) => `${name} ${limit(soft, hard)}`).join(', ')]);
  facts.push([
    'namespaces',
    Object.entries(namespaces ?? {})
      .map(([type, id]) => `${type} ${id}`)
      .join(', '),
  ]);
  for (const [name, path] of Object.entries(cgroups)) facts.push([`group ${name || 'v2'}`, path]);
  return facts.filter(([, value]) => value !== '').map(([key, value]) => [oneLine(key), oneLine(value)]);
}

const limit = (soft: string | null, hard: string | null): string => {
  const [first, second] = [soft ?? 'unlimited', hard ?? 'unlimited'];
  return first === second ? first : `${first}/${second}`;
};

/** The arguments of a process as a shell would take them; its name in brackets without them, as ps writes it. */
export function commandLine(args: readonly string[] | null | undefined, comm: string | null): string {
  if (args && args.length > 0) return oneLine(args.map(quoteWord).join(' '));
  return comm === null ? '?' : `[${oneLine(comm)}]`;
}
