/** The daemon of lazy restores, inside another program. */
import { type DumpFiles, dumpPlaces } from '../dump/files.js';
import { DumpError } from '../errors.js';
import { ArrivingSource } from '../lazy/arriving-source.js';
import { checkDump } from '../lazy/check-dump.js';
import { LazyDaemon } from '../lazy/daemon.js';
import { requireDaemonCalls } from '../lazy/daemon-calls.js';
import { DumpSource as DumpPages } from '../lazy/dump-source.js';
import { PageOrder } from '../lazy/order.js';
import type { PageSource } from '../lazy/page-source.js';
import type { Restore } from '../lazy/restore.js';
import type { RestoreSummary } from '../lazy/stats.js';
import type { DumpMemory } from '../serve/memory.js';
import { findingText } from '../verify/findings.js';
import { type DumpSource, holdArriving, openUnchanging, type SourceOptions } from './open-dump.js';

/** Faults wait for so many ms while a dump arrives. */
const ARRIVAL_TURN_MS = 1;

/** Pages of a dump, and all that they are read from. */
export interface OpenPages {
  source: PageSource;
  /** Of the dump; closed with the source. */
  files: DumpFiles;
  places: readonly string[];
}

/**
 * The pages of a dump in any container. Of one that arrives, only the beginning is read; `signal` ends that. Closing the source
 * ends the reading.
 * @param check makes the checks of a whole dump
 * @throws {DumpError} if the dump is damaged. Damage that is found later is a failure of the source
 */
export async function openPageSource(
  dump: DumpSource,
  { pageSize, signal, ...options }: SourceOptions & { pageSize?: number },
  check: (files: DumpFiles) => DumpMemory,
): Promise<OpenPages> {
  const files = await openUnchanging(dump, options);
  if (files) {
    try {
      return { source: new DumpPages(files, check(files)), files, places: dumpPlaces(files) };
    } catch (error) {
      files.close();
      throw error;
    }
  }
  const reading = new AbortController();
  const interrupt = () => reading.abort(signal?.reason);
  signal?.addEventListener('abort', interrupt);
  try {
    const arrival = await holdArriving(dump, { ...options, signal: reading.signal, holdMs: ARRIVAL_TURN_MS });
    const { incomplete = false } = options;
    const source = await ArrivingSource.open(arrival, {
      pageSize,
      incomplete,
      check: (all) => check(all).pageSize,
      end: () => reading.abort(new DumpError('SYSTEM', 'the rest is not read')),
    });
    return { source, files: arrival.files, places: dumpPlaces(arrival.files) };
  } finally {
    // From now on the pages that are still to come are needed, even to come to an end.
    signal?.removeEventListener('abort', interrupt);
  }
}

/** One lazy restore. */
export interface LazyRestore {
  /** Pids of its tasks, inside their namespace. */
  readonly pids: readonly number[];
  /** Pages that its tasks still wait for. */
  readonly left: number;
  /** What was delivered so far. */
  readonly summary: RestoreSummary;
}

export interface ServeRestoresOptions {
  /** Whether it goes on after the first restore; then `signal` ends it. */
  keepListening?: boolean;
  /** Pages that are delivered before the rest, in this order: pid, and address of the first byte. */
  order?: Iterable<readonly [pid: number, address: bigint]>;
  /** Called for each page that a task waits for. Each fault then brings one page alone, and the rest follows late. */
  fault?(pid: number, address: bigint): void;
  /** `criu restore --lazy-pages` can connect now. */
  listening?(socket: string): void;
  /** The tasks of a restore run. */
  running?(restore: LazyRestore): void;
  /** All pages are delivered; or the restore has failed, with this error. */
  ended?(restore: LazyRestore, error?: DumpError): void;
  /** When aborted, no more restores are taken, those there are get all their pages, and it ends. */
  signal?: AbortSignal;
  /** When aborted as well, the tasks are stopped, and it ends. */
  secondSignal?: AbortSignal;
}

/** The pages of a dump, for lazy restores; close it. */
export interface LazyPages extends AsyncDisposable {
  /** Bytes. */
  readonly pageSize: number;
  /**
   * Listens at `lazy-pages.socket` in the work directory of restores, as `criu lazy-pages -W` does, and resolves when all pages
   * are delivered.
   * @throws {DumpError} if pages cannot be delivered: the tasks are stopped by SIGSTOP then; PROTOCOL if the only restore has
   *   failed; OUTPUT_EXISTS, SYSTEM
   */
  serve(directory: string, options?: ServeRestoresOptions): Promise<void>;
  close(): void;
}

export interface LazyPagesOptions extends SourceOptions {
  /** Bytes; by default found in the dump. */
  pageSize?: number;
}

/**
 * Opens the pages of a whole dump in any container. One that can only be read from front to back may still arrive while it is
 * served.
 * @param options signal: ends a wait for the beginning; incomplete: whether damage is only passed to `warn`
 * @throws {DumpError} UNSUPPORTED without koffi; DAMAGED, PARTIAL_DUMP and others: all is checked that can be, before a task
 *   depends on it
 */
export async function openLazyPages(dump: DumpSource, options: LazyPagesOptions = {}): Promise<LazyPages> {
  const calls = requireDaemonCalls();
  const { pageSize, incomplete = false, warn = () => {} } = options;
  const { source } = await openPageSource(dump, options, (files) =>
    checkDump(files, {
      pageSize,
      incomplete,
      report: (findings) => {
        for (const finding of findings) {
          const text = findingText(finding);
          if (finding.severity === 'error' && !incomplete) throw new DumpError('DAMAGED', text);
          warn(text);
        }
      },
      warnOfPartial: incomplete ? warn : undefined,
    }),
  );
  const close = () => source.close();
  return {
    pageSize: source.pageSize,
    serve: (directory, restores = {}) =>
      new LazyDaemon(source, calls, daemonOptions(directory, restores, source)).run(),
    close,
    [Symbol.asyncDispose]: async () => close(),
  };
}

function daemonOptions(directory: string, options: ServeRestoresOptions, { pageSize }: PageSource) {
  const { keepListening = false, order, fault, listening, running, ended, secondSignal } = options;
  const seen = (restore: Restore): LazyRestore => ({
    pids: [...restore.pids],
    left: restore.left,
    summary: restore.stats.summary(pageSize),
  });
  return {
    directory,
    keepListening,
    order: order && PageOrder.of(order, pageSize),
    record: fault && ((pid: number, page: number) => fault(pid, BigInt(page) * BigInt(pageSize))),
    listening: (socket: string) => listening?.(socket),
    running: (restore: Restore) => running?.(seen(restore)),
    ended: (restore: Restore, error?: DumpError) => ended?.(seen(restore), error),
    signal: options.signal ?? new AbortController().signal,
    signalAgain: secondSignal,
  };
}
