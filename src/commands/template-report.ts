/** The report of `template`: what is mapped, what is not, and why. */
import prettyBytes from 'pretty-bytes';
import type { Dump } from '../dump/dump.js';
import { counted, oneLine } from '../printable.js';
import { quoteWord } from '../shell.js';
import type { TaskPlan } from '../template/plan.js';

interface TaskReport {
  pid: number;
  comm: string;
  /** What a restore maps. */
  mapped: { areas: number; pages: number };
  /** Areas that share the file of a relative. */
  shared: number;
  /** Why nothing is mapped. */
  eager?: string;
  /** Private anonymous areas that stay as they are. */
  kept: { why: string; areas: number; pages: number }[];
}

export interface TemplateReport {
  dump: string;
  out: string;
  /** The folder of the mapped files: here, and for the tasks. */
  memory: string;
  memoryName: string;
  dryRun: boolean;
  /** Bytes. */
  pageSize: number;
  tasks: TaskReport[];
  /** Bytes of all files of OUT, without the mapped ones. */
  bytes: number;
  restore: string;
}

interface Made {
  dump: string;
  out: string;
  memory: string;
  folder: { name: string };
  dryRun: boolean;
  bytes: number;
}

export function templateReport(
  { folder, bytes, ...made }: Made,
  dump: Dump,
  plans: readonly TaskPlan[],
): TemplateReport {
  const comms = new Map(dump.tasks.map(({ pid, comm }) => [pid, comm]));
  return {
    ...made,
    memoryName: folder.name,
    pageSize: dump.pageSize,
    tasks: plans.map((plan) => taskReport(plan, comms.get(plan.pid) ?? '')),
    bytes,
    restore: `criu restore -D ${quoteWord(made.out)} -d`,
  };
}

function taskReport({ pid, eager, areas, refused }: TaskPlan, comm: string): TaskReport {
  const mapped = areas.filter(({ at }) => at);
  const shared = mapped.filter(({ isShared }) => isShared).length;
  const pages = mapped.reduce((sum, { mappedPages }) => sum + mappedPages, 0);
  return {
    pid,
    comm,
    mapped: { areas: mapped.length, pages },
    shared,
    ...(eager === undefined ? {} : { eager }),
    kept: [...refused].map(([why, sum]) => ({ why, ...sum })),
  };
}

/** For people: what is mapped, why other memory is not, and how to restore it. */
export function formatTemplate({ tasks, pageSize, ...report }: TemplateReport): string {
  const size = (pages: number) => prettyBytes(pages * pageSize, { binary: true });
  const lines = tasks.map(({ pid, comm, mapped, shared, eager }) => {
    const task = `pid ${pid} ${oneLine(comm)}`;
    if (eager !== undefined) return `${task}: not mapped, ${oneLine(eager)}`;
    if (mapped.areas === 0) return `${task}: not mapped, it has no memory of the right kind and of at least --min-size`;
    const relatives = shared > 0 ? `, ${shared} of them shared with a relative` : '';
    return `${task}: ${size(mapped.pages)} mapped in ${counted(mapped.areas, 'area')}${relatives}`;
  });
  const isMapped = tasks.some(({ mapped }) => mapped.areas > 0);
  const written = report.dryRun ? ' (dry run: nothing was written)' : '';
  return `${lines.join('\n')}

size    ${prettyBytes(report.bytes, { binary: true })} are read at a restore${written}
memory  ${isMapped ? `${report.memory}: keep it as it is, and in its place` : 'none is mapped'}

restore it, any number of times, with the options that the dump was made with:
  ${report.restore}
`;
}
