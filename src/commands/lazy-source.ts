/** What `lazy-pages` and `restore` share: the pages, the order in which they go out, and what is said meanwhile. */
import prettyBytes from 'pretty-bytes';
import { type DumpFiles, dumpPlaces } from '../dump/files.js';
import type { DumpError } from '../errors.js';
import { checkDump, type DumpCheck } from '../lazy/check-dump.js';
import { DumpSource } from '../lazy/dump-source.js';
import { PageOrder } from '../lazy/order.js';
import type { PageSource } from '../lazy/page-source.js';
import type { Restore } from '../lazy/restore.js';
import { type OpenPages, openPageSource } from '../library/lazy-pages.js';
import { checkListPageSize } from '../memory/fault-list.js';
import { PAGE_SIZES } from '../memory/runs.js';
import { counted, ERASE_LINE } from '../printable.js';
import type { DumpMemory } from '../serve/memory.js';
import { type Arguments, type Io, pageSizeFlag, partialFlag } from './command.js';
import { readFaultList } from './eager-list.js';
import { reportFindings } from './quick-check.js';
import { openCommandFiles, openCommandUnchanging, openOptions, shardsOf } from './source.js';

/**
 * The pages of a dump in any container. What arrives is read to its end first.
 * @throws {DumpError} if it is damaged: all is checked that can be, before a task depends on it
 */
export const openPages = (path: string, args: Arguments, io: Io): Promise<OpenPages> =>
  openChecked(path, args, io, async (memory, files) => new DumpSource(files, memory), false);

/**
 * The same, but of what arrives only the beginning is read.
 * @throws {DumpError} if that is damaged. Damage that is found later is a failure of the source
 */
export const openPagesEarly = (path: string, args: Arguments, io: Io): Promise<OpenPages> =>
  openPageSource(
    shardsOf(path, args) ?? path,
    { ...openOptions(args, io), ...pageSizeFlag(args, PAGE_SIZES) },
    (files) => checkDump(files, checkOf(args, io, false)),
  );

/**
 * Opens a dump, checks it, and makes a source of it.
 * @param make takes over the memory
 * @param leavesPages whether pages may be flagged as lazy and be nowhere in the dump
 */
export async function openChecked(
  path: string,
  args: Arguments,
  io: Io,
  make: (memory: DumpMemory, files: DumpFiles) => Promise<PageSource>,
  leavesPages: boolean,
): Promise<OpenPages> {
  const random = await openCommandUnchanging(path, args, io);
  const files = random ?? (await openCommandFiles(path, args, io, { pages: 'hold' }));
  try {
    const source = await make(checkDump(files, checkOf(args, io, leavesPages)), files);
    return { source, files, places: dumpPlaces(files) };
  } catch (error) {
    files.close();
    throw error;
  }
}

function checkOf(args: Arguments, io: Io, leavesPages: boolean): DumpCheck {
  const incomplete = args.flags['incomplete'] === true;
  return {
    ...pageSizeFlag(args, PAGE_SIZES),
    incomplete,
    leavesPages,
    report: (findings) => reportFindings(findings, incomplete, io),
    warnOfPartial: partialFlag(args, io),
  };
}

/** The order of `--order`; undefined if it is not given. Throws {@link DumpError} for a list of another page size. */
export function pageOrder(args: Arguments, pageSize: number): PageOrder | undefined {
  const { order: path } = args.flags as { order?: string };
  if (path === undefined) return undefined;
  const order = new PageOrder();
  checkListPageSize(readFaultList(path, order.push), pageSize);
  return order;
}

const EVERY_MS = 200;
const FIRST_MS = 1000;

/** Says how restores go: lines for people or, with `--json`, for programs; on a terminal, progress. */
export class RestoreReport {
  private readonly timer: NodeJS.Timeout | undefined;
  private readonly started = performance.now();
  private isVisible = false;

  constructor(
    private readonly io: Io,
    private readonly json: boolean,
    private readonly pageSize: number,
    private readonly active: () => Iterable<Restore>,
  ) {
    if (io.stderrIsTerminal && !json) this.timer = setInterval(() => this.show(), EVERY_MS).unref();
  }

  listening(path: string): void {
    this.say({ event: 'listening', path }, `listening at ${path}`);
  }

  running({ left, pids }: Restore): void {
    this.say(
      { event: 'running', tasks: pids.size, pages: left },
      `${counted(pids.size, 'task')} running; ${counted(left, 'page')} to deliver`,
    );
  }

  ended({ stats, pids }: Restore, error?: DumpError): void {
    const summary = stats.summary(this.pageSize);
    const { pages, bytes, faults, ordered, seconds, faultP50, faultP99 } = summary;
    const micros = (time: number | null) => `${((time ?? 0) * 1e6).toFixed(0)} µs`;
    const by = ordered > 0 ? `, ${ordered} of them by the order` : '';
    const times = faults > 0 ? ` (p50 ${micros(faultP50)}, p99 ${micros(faultP99)})` : '';
    this.say(
      {
        event: 'restored',
        complete: error === undefined,
        ...(error ? { error: error.message } : {}),
        tasks: pids.size,
        ...summary,
      },
      `${error ? `${error.message}: ` : ''}${counted(pages, 'page')} (${size(bytes)}) delivered${by} in ` +
        `${seconds.toFixed(2)} s; ${counted(faults, 'fault')}${times}`,
    );
  }

  /** A signal has come. */
  finishing(left: number): void {
    this.hide();
    this.io.tell(`delivering the rest, ${counted(left, 'page')}, before it ends; a second signal stops the tasks`);
  }

  done(): void {
    clearInterval(this.timer);
    this.hide();
  }

  private say(event: object, message: string): void {
    this.hide();
    if (this.json) this.io.out(`${JSON.stringify(event)}\n`);
    else this.io.tell(message);
  }

  private hide(): void {
    if (this.isVisible) this.io.print(ERASE_LINE);
    this.isVisible = false;
  }

  private show(): void {
    let left = 0;
    let pages = 0;
    let faults = 0;
    for (const restore of this.active()) {
      left += restore.left;
      pages += restore.stats.pages;
      faults += restore.stats.faults;
    }
    const seconds = (performance.now() - this.started) / 1000;
    if (left === 0 || seconds * 1000 < FIRST_MS) return;
    const rate = pages / seconds;
    const rest = rate > 0 ? `, ${Math.ceil(left / rate)} s left` : '';
    const line = `${size(left * this.pageSize)} to deliver, ${size(rate * this.pageSize)}/s, ${counted(faults, 'fault')}${rest}`;
    try {
      this.io.print(`${ERASE_LINE}${line}`);
      this.isVisible = true;
    } catch {
      // The terminal is gone. The tasks still wait for their pages.
      clearInterval(this.timer);
    }
  }
}

const size = (bytes: number): string => prettyBytes(bytes, { binary: true });
