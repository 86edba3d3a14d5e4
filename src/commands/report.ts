/** The report of `make-lazy`, for people and for programs. */
import prettyBytes from 'pretty-bytes';
import type { Written } from '../containers/written.js';
import type { Task } from '../dump/tasks.js';
import { oneLine } from '../printable.js';
import type { Holes } from '../stages/rebuild.js';
import { type Amount, type KindTally, newKindTally, type SpaceTally } from '../stages/tally.js';
import type { Io } from './command.js';
import {
  type DumpPlace,
  type LazyPlace,
  type RestoreCommands,
  restoreCommands,
  restoreNotes,
} from './restore-commands.js';
import type { SinkKind, Target } from './sink.js';

const THIS: Record<SinkKind, string> = {
  directory: 'this directory',
  tar: 'this archive',
  oci: 'this image',
  shards: 'this dump',
};

/** Why a lazy dump must not be restored without its pages. */
export const neverWithout = (kind: SinkKind): string => never(THIS[kind]);

const never = (what: string): string =>
  `never restore ${what} without --lazy-pages: its lazy pages are not in it, and CRIU would spin forever, or restore a process that computes on zeros`;

const NEVER =
  'never restore this dump: pages were taken out of it that nothing can fetch, and its processes would compute on zeros; pagepipe-partial.json says which';

/** Warns if the relative `parent` link of a dump does not lead to its parent from the new place. */
export function warnOfParent(written: Written, out: string, io: Io): void {
  if (!written.parentMissing) return;
  io.warn(`${out}/parent leads nowhere; put ${out} next to the dump, or the parent dump next to ${out}`);
}

/** For a dump that was already lazy. */
const NOT_IN_DUMP =
  'the pages that were lazy already are not in DUMP either; serve those of the dump that DUMP was made from';

/** What a copy can lack. */
export type Copied = Pick<Written, 'holePages' | 'isPartial'>;

/** Warns if a copy is lazy or partial like its dump, or does not reach its parent. */
export function warnOfCopy(
  copy: { written: Written } | Copied,
  { place: out, kind }: Pick<Target, 'place' | 'kind'>,
  io: Io,
): void {
  const { holePages, isPartial } = 'written' in copy ? copy.written : copy;
  if (isPartial || holePages > 0) io.warn(`${out}: ${isPartial ? NEVER : neverWithout(kind)}`);
  if ('written' in copy) warnOfParent(copy.written, out, io);
}

/** One process or shared memory segment. */
interface SpaceReport extends KindTally {
  pid?: number;
  comm?: string;
  shmem?: string;
  parentPages: number;
  holePages: number;
  kinds: Partial<Record<string, KindTally>>;
}

export interface Report {
  dump: string;
  out: string;
  policy: string;
  holes: string;
  dryRun: boolean;
  /** Bytes. */
  pageSize: number;
  spaces: SpaceReport[];
  zombies: number[];
  total: KindTally;
  /** Bytes of all files. */
  bytesBefore: number;
  bytesAfter: number;
  restore: RestoreCommands;
  /** Notes on these commands. */
  notes: string[];
  warning: string;
}

/** The dump, for a report. */
export interface ReportedDump {
  path: string;
  place: DumpPlace;
  tasks: readonly Task[];
  /** Bytes. */
  pageSize: number;
  /** Bytes of all files. */
  bytes: number;
}

/** The result, for a report. */
export interface ReportedOut extends LazyPlace {
  policy: string;
  holes: Holes;
  /** Whether pages that are lazy in the dump were kept. */
  keepsLazyPages: boolean;
  dryRun: boolean;
  /** Bytes of all files. */
  bytes: number;
}

export function makeReport(dump: ReportedDump, out: ReportedOut, spaces: SpaceTally[]): Report {
  const tasks = new Map(dump.tasks.map((task) => [task.pid, task]));
  const total = newKindTally();
  for (const { kept, taken } of spaces) {
    add(total.kept, kept);
    add(total.taken, taken);
  }
  const restore = restoreCommands(dump.place, out, out);
  return {
    dump: dump.path,
    out: out.path,
    policy: out.policy,
    holes: out.holes,
    dryRun: out.dryRun,
    pageSize: dump.pageSize,
    spaces: spaces.map((tally) => spaceReport(tally, tasks)),
    zombies: dump.tasks.filter(({ dead }) => dead).map(({ pid }) => pid),
    total,
    bytesBefore: dump.bytes,
    bytesAfter: out.bytes,
    restore,
    notes: [
      ...restoreNotes(dump.place, out, out),
      ...(spaces.some(({ holePages }) => holePages > 0) ? [NOT_IN_DUMP] : []),
    ],
    warning: neverWithout(out.kind),
  };
}

function spaceReport({ space, ...tally }: SpaceTally, tasks: Map<number, Task>): SpaceReport {
  if (space.pid === undefined) return { shmem: space.pagemap.replace(/^pagemap-shmem-|\.img$/g, ''), ...tally };
  return { pid: space.pid, comm: tasks.get(space.pid)?.comm ?? '', ...tally };
}

function add(to: Amount, more: Amount): void {
  to.pages += more.pages;
  to.bytes += more.bytes;
}

/** The report as text: a table, sizes, commands and the warning. */
export function formatReport(report: Report): string {
  const rows: string[][] = [['', '', 'kept', '', 'taken out', '']];
  for (const space of report.spaces) {
    const name = space.shmem === undefined ? `pid ${space.pid} ${oneLine(space.comm ?? '')}` : `shmem ${space.shmem}`;
    rows.push([name, '', ...amounts(space)]);
    for (const [kind, tally] of Object.entries(space.kinds)) {
      if (kind !== 'shmem' && tally) rows.push(['', kind, ...amounts(tally)]);
    }
    if (space.parentPages > 0) rows.push(['', 'in the parent dump', `${space.parentPages} pages`, '', '', '']);
    if (space.holePages > 0) rows.push(['', 'lazy already', `${space.holePages} pages`, '', '', '']);
  }
  for (const pid of report.zombies) rows.push([`pid ${pid}`, 'zombie, no memory', '', '', '', '']);
  rows.push(['total', '', ...amounts(report.total)]);
  const size = `${bytes(report.bytesBefore)} before, ${bytes(report.bytesAfter)} after${report.dryRun ? ' (dry run: nothing was written)' : ''}`;
  return `${table(rows)}
size              ${size}

restore it ${restoreText(report.restore, report.notes)}warning: ${report.warning}
`;
}

/** One half of a split dump. */
export interface ReportedHalf {
  place: DumpPlace;
  /** Of all files; undefined where that is not known. */
  bytes: number | undefined;
}

/** The commands that restore the hot half, and notes on them. */
export function restoreOfHalves(hot: LazyPlace, cold: ReportedHalf): { restore: RestoreCommands; notes: string[] } {
  const names = { dump: 'COLD', out: 'HOT' };
  const options = { keepsLazyPages: false, isHalf: true, names };
  const restore = restoreCommands(cold.place, hot, options);
  return { restore, notes: restoreNotes(cold.place, hot, options) };
}

/** The report of `split`: sizes, the commands that restore the hot half, and the warning. */
export function formatHalves(hot: LazyPlace & { bytes: number | undefined }, cold: ReportedHalf): string {
  const { restore, notes } = restoreOfHalves(hot, cold);
  const size = cold.bytes === undefined ? '' : `, ${bytes(cold.bytes)} in COLD`;
  return `size  ${bytes(hot.bytes ?? 0)} in HOT${size}

restore HOT ${restoreText(restore, notes)}warning: ${never('HOT')}
`;
}

function restoreText({ atOnce, unpack = [], lazyPages, restore }: RestoreCommands, notes: readonly string[]): string {
  const commands = [...unpack, lazyPages, restore];
  const first = atOnce === undefined ? '' : `with one command:\n  ${atOnce}\nor `;
  return `${first}with these commands, and the options that the dump was made with (--shell-job, --tcp-established, …):
${commands.map((command) => `  ${command}\n`).join('')}${notes.map((note) => `note: ${note}\n`).join('')}`;
}

const bytes = (count: number): string => prettyBytes(count, { binary: true });

const amounts = ({ kept, taken }: KindTally): string[] =>
  [kept, taken].flatMap((amount) => [`${amount.pages} pages`, bytes(amount.bytes)]);

/** The first two columns are aligned to the left, the others to the right. */
function table(rows: string[][]): string {
  const widths = rows[0]?.map((_, i) => Math.max(...rows.map((row) => (row[i] as string).length))) ?? [];
  return rows
    .map((row) =>
      row
        .map((cell, i) => (i < 2 ? cell.padEnd(widths[i] as number) : cell.padStart(widths[i] as number)))
        .join('  ')
        .trimEnd(),
    )
    .join('\n');
}
