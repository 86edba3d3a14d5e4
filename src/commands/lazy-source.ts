/** What `lazy-pages` and `restore` share: the pages, the order in which they go out, and what is said meanwhile. */
import prettyBytes from 'pretty-bytes';
import { openRandom, SOURCE_KINDS } from '../arrival/open.js';
import { type DumpFiles, dumpPlaces } from '../dump/files.js';
import { DumpError } from '../errors.js';
import { type DaemonCalls, daemonCalls } from '../io/linux.js';
import { ArrivingSource } from '../lazy/arriving-source.js';
import { DumpSource, lacksPages } from '../lazy/dump-source.js';
import { PageOrder } from '../lazy/order.js';
import type { PageSource } from '../lazy/page-source.js';
import type { Restore } from '../lazy/restore.js';
import { checkListPageSize } from '../memory/fault-list.js';
import { PAGE_SIZES } from '../memory/runs.js';
import { counted, ERASE_LINE } from '../printable.js';
import { DumpMemory } from '../serve/memory.js';
import { refusePartial } from '../stages/not-partial.js';
import { quickFindings } from '../verify/verify.js';
import { type Arguments, choice, type Io, pageSizeFlag, partialFlag } from './command.js';
import { readFaultList } from './eager-list.js';
import { reportFindings } from './quick-check.js';
import { holdCommandFiles, openCommandFiles } from './source.js';

/** A machine whose structures and system calls are known here: 64 bits, little endian. */
const MACHINES = ['x64', 'arm64', 'riscv64', 'loong64'];

/** The system calls of a daemon. Throws {@link DumpError} UNSUPPORTED with what to do. */
export function requireDaemonCalls(): DaemonCalls {
  const calls = MACHINES.includes(process.arch) ? daemonCalls() : undefined;
  if (calls) return calls;
  throw new DumpError('UNSUPPORTED', 'system calls for lazy restores are not available', {
    hint: MACHINES.includes(process.arch)
      ? 'npm install koffi in the folder of pagepipe; or use criu lazy-pages'
      : 'on this machine use criu lazy-pages',
  });
}

/** Findings that are none here: COLD is a half of a dump, and a page server has the pages that OUT leaves to it. */
const COLD_HALF = 'COLD_HALF';
const LAZY_ONLY = 'LAZY_ONLY';

/** Faults wait for so many ms while a dump arrives. */
const ARRIVAL_TURN_MS = 1;

/** A look at a file takes as long as a page: so often, in ms, it is enough. */
const GUARD_MS = 10;

/** Pages of a dump, and all that they are read from. */
export interface OpenPages {
  source: PageSource;
  /** Of the dump; closed with the source. */
  files: DumpFiles;
  places: readonly string[];
}

/**
 * The pages of a dump in any container. What arrives is read to its end first.
 * @throws {DumpError} if it is damaged: all is checked that can be, before a task depends on it
 */
export const openPages = (path: string, args: Arguments, io: Io): Promise<OpenPages> =>
  openChecked(path, args, io, async (memory, files) => new DumpSource(files, memory), false);

/**
 * The same, but of what arrives only the beginning is read. Closing the source ends the reading.
 * @throws {DumpError} if that is damaged. Damage that is found later is a failure of the source
 */
export async function openPagesEarly(path: string, args: Arguments, io: Io): Promise<OpenPages> {
  const random = await openRandomly(path, args);
  if (random) return checked(random, path, args, io, async (memory, files) => new DumpSource(files, memory), false);
  const reading = new AbortController();
  const interrupt = () => reading.abort(io.signal.reason);
  io.signal.addEventListener('abort', interrupt);
  try {
    const arrival = await holdCommandFiles(path, args, { ...io, signal: reading.signal }, ARRIVAL_TURN_MS);
    const source = await ArrivingSource.open(arrival, {
      ...pageSizeFlag(args, PAGE_SIZES),
      incomplete: args.flags['incomplete'] === true,
      check: (files) => check(files, path, args, io, false).pageSize,
    });
    const close = source.close.bind(source);
    source.close = () => {
      reading.abort(new DumpError('SYSTEM', 'the rest is not read'));
      close();
    };
    return { source, files: arrival.files, places: dumpPlaces(arrival.files) };
  } finally {
    // From now on the pages that are still to come are needed, even to come to an end.
    io.signal.removeEventListener('abort', interrupt);
  }
}

/** Opens a dump, checks it, and makes a source of it. */
type MakeSource = (memory: DumpMemory, files: DumpFiles) => Promise<PageSource>;

/**
 * Opens a dump, checks it, and makes a source of it.
 * @param make takes over the memory
 * @param leavesPages whether pages may be flagged as lazy and be nowhere in the dump
 */
export async function openChecked(
  path: string,
  args: Arguments,
  io: Io,
  make: MakeSource,
  leavesPages: boolean,
): Promise<OpenPages> {
  const files = (await openRandomly(path, args)) ?? (await openCommandFiles(path, args, io, { pages: 'hold' }));
  return checked(files, path, args, io, make, leavesPages);
}

/** The files of a directory or a plain archive; undefined for a dump that arrives. */
async function openRandomly(path: string, args: Arguments): Promise<DumpFiles | undefined> {
  const from = args.flags['from'] === undefined ? undefined : choice(args, 'from', SOURCE_KINDS, 'directory');
  const hasShards = from === 'shards' || args.flags['shardFds'] !== undefined;
  return hasShards ? undefined : openRandom(path, { from, guard: true, guardEveryMs: GUARD_MS });
}

async function checked(
  files: DumpFiles,
  path: string,
  args: Arguments,
  io: Io,
  make: MakeSource,
  leavesPages: boolean,
): Promise<OpenPages> {
  try {
    const source = await make(check(files, path, args, io, leavesPages), files);
    return { source, files, places: dumpPlaces(files) };
  } catch (error) {
    files.close();
    throw error;
  }
}

/** Does the checks of a whole dump, and returns its memory. Throws {@link DumpError}. */
function check(files: DumpFiles, path: string, args: Arguments, io: Io, leavesPages: boolean): DumpMemory {
  const pageSize = pageSizeFlag(args, PAGE_SIZES);
  const all = quickFindings(files, pageSize);
  const lazyOnly = all.some(({ code }) => code === LAZY_ONLY);
  if (lazyOnly && !leavesPages && args.flags['incomplete'] !== true) throw lacksPages(path);
  const findings = all.filter(({ code }) => code !== COLD_HALF && !(code === LAZY_ONLY && leavesPages));
  reportFindings(findings, args.flags['incomplete'] === true, io);
  const memory = new DumpMemory(files, pageSize);
  if (memory.isPartial) refusePartial(partialFlag(args, io));
  return memory;
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
