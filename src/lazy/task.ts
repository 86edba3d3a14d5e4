/** One restored task: its missing pages, the faults on them, and what it does to its memory meanwhile. */
import { constants } from 'node:os';
import { getSystemErrorName } from 'node:util';
import { DumpError } from '../errors.js';
import type { Userfault, UserfaultHandler } from '../io/userfault.js';
import { addressHex } from '../memory/runs.js';
import { FaultQueue } from './fault-queue.js';
import { newRange, type Range } from './layout.js';
import type { PageBuffer } from './page-buffer.js';
import { isArriving, isRemote, type LocalSource, type PageSource, type RemoteSource, runsOf } from './page-source.js';
import type { PendingPages } from './pending.js';
import type { LazyStats } from './stats.js';

const { EAGAIN, EEXIST, ENOENT, ESRCH, ENOSPC } = constants.errno;

/** Most pages that are read around a fault, once faults are near each other. */
const MAX_WINDOW_PAGES = 64;
/** How often a copy is tried again while events are read. */
const MAX_TRIES = 1000;
/** Pages that are kept until their areas are there; what comes beyond is asked for again. */
const MAX_EARLY_BYTES = 4 * 1024 * 1024;
/** How fast the window grows. */
const WINDOW_GROWTH = 4;

/** What all tasks use. */
export interface TaskContext {
  source: PageSource;
  /** Pages pass through it. */
  buffer: PageBuffer;
  stats: LazyStats;
  /** Whether each fault brings one page alone, so that all that are touched are seen. */
  singly: boolean;
  /** Called for each page of the dump that a task waits for, before it is there. */
  faulted(pid: number, page: number): void;
  /** The task has forked. */
  forked(parent: LazyTask, fd: number): void;
}

/**
 * `done`: goes on; `later`: an event must be read first; `waits`: the source does not have the pages yet; `gone`: there is
 * nobody to have them.
 */
type Outcome = 'done' | 'later' | 'waits' | 'gone';

export class LazyTask implements UserfaultHandler {
  /** Whether the address space is gone. */
  isGone = false;
  /** Whether its restore is finished. Until then areas may not be registered yet. */
  isRunning = false;
  private faults = new FaultQueue();
  /** Those that are being answered, and the page of the one. */
  private served = new FaultQueue();
  private serving: number | undefined;
  /** Faults on pages that the source does not have yet. */
  private readonly waiting = new FaultQueue();
  /** Pages that came before their areas. */
  private early: { source: number; bytes: Uint8Array }[] = [];
  private earlyBytes = 0;
  private window = 1;
  /** For those who are done with a range before they ask for another one. */
  private readonly range = newRange();
  /** Where the last fault was, and the page behind what it brought. */
  private last = { page: -1, end: -1 };

  /**
   * @param pid in the dump: that of the ancestor from the dump, for the child of a fork
   * @param seenPid the same as it is seen here; 0 if it is not visible
   */
  constructor(
    readonly pid: number,
    readonly seenPid: number,
    readonly userfault: Userfault,
    readonly pending: PendingPages,
    private readonly context: TaskContext,
  ) {}

  /** Pages that wait to be delivered. */
  get left(): number {
    return this.isGone ? 0 : this.pending.left;
  }

  /** Whether nothing more can come: while the dump arrives, it may still turn out that a page was wrong. */
  get isDone(): boolean {
    return this.isGone || (this.pending.isComplete && !isArriving(this.context.source));
  }

  get hasFaults(): boolean {
    return this.faults.length > 0;
  }

  /** The first page that a thread waits for; undefined if none does. */
  get awaited(): number | undefined {
    return this.serving ?? [this.faults, this.waiting].find(({ length }) => length > 0)?.pages[0];
  }

  /** The task runs from now on, and all its areas are there. */
  run(): void {
    this.isRunning = true;
    for (const { source, bytes } of this.early.splice(0)) this.take(source, bytes);
  }

  /** Reads what has happened. Faults are only remembered, because an event may follow that changes where they are. */
  read(): void {
    if (!this.userfault.read(this)) this.isGone = true;
  }

  fault(page: number): void {
    this.faults.push(page, performance.now());
  }

  forked(fd: number): void {
    this.context.forked(this, fd);
  }

  moved(from: number, to: number, pages: number): void {
    this.pending.move(from, to, pages);
    // Who waits at the old place finds out that nothing is there.
    this.userfault.wake(from, pages);
  }

  removed(page: number, pages: number): void {
    this.pending.remove(page, pages);
    this.userfault.wake(page, pages);
  }

  unmapped(page: number, pages: number): void {
    this.removed(page, pages);
  }

  /** The source has more pages than before, or knows of more. Throws {@link DumpError} if it has none of this task. */
  arrived(): void {
    this.pending.grow(runsOf(this.context.source, this.pid));
    const { waiting, faults } = this;
    for (let i = 0; i < waiting.length; i++) faults.push(waiting.pages[i] as number, waiting.times[i] as number);
    waiting.length = 0;
  }

  /**
   * Answers the faults that can be answered.
   * @throws {DumpError} if pages cannot be read or delivered
   */
  serveFaults(): void {
    const { faults, served } = this;
    this.faults = served;
    this.served = faults;
    for (let i = 0; i < faults.length && !this.isGone; i++) {
      const page = faults.pages[i] as number;
      const since = faults.times[i] as number;
      this.serving = page;
      const outcome = this.serve(page);
      if (outcome === 'waits') this.waiting.push(page, since);
      else if (outcome === 'later') this.faults.push(page, since);
      else this.context.stats.fault(performance.now() - since);
    }
    faults.length = 0;
    this.serving = undefined;
  }

  private serve(page: number): Outcome {
    const { pending, context } = this;
    const most = this.grow(page);
    const wanted = this.around(page, most);
    if (!wanted) {
      const zeros = pending.zerosAt(page, most);
      if (zeros > 0) return this.zero(page, zeros);
      if (!pending.isKnown(page)) return 'waits';
      // It has been delivered meanwhile.
      this.userfault.wake(page, 1);
      return 'done';
    }
    const { source } = context;
    const own = wanted.source + page - wanted.at;
    if (isRemote(source)) return this.askForFault(source, page, wanted);
    if (source.ready(this.pid, own, 1) === 0) return 'waits';
    if (source.ready(this.pid, wanted.source, wanted.pages, false) < wanted.pages) {
      [wanted.at, wanted.source, wanted.pages] = [page, own, 1];
    }
    context.faulted(this.pid, own);
    this.note(page, wanted);
    return this.place(source, wanted);
  }

  private askForFault(source: RemoteSource, page: number, wanted: Range): Outcome {
    if (this.waiting.has(page)) return 'waits';
    this.context.faulted(this.pid, wanted.source + page - wanted.at);
    this.note(page, wanted);
    source.ask(this.pid, wanted.source, wanted.pages, true);
    this.pending.ask(wanted.source, wanted.pages);
    return 'waits';
  }

  private note(page: number, brought: Range): void {
    this.last.page = page;
    this.last.end = brought.at + brought.pages;
  }

  /** How many pages a fault brings: more, if it is near the last one. */
  private grow(page: number): number {
    const { last, window } = this;
    const isNear = page >= last.page - window && page < last.end + window;
    this.window = isNear && !this.context.singly ? Math.min(window * WINDOW_GROWTH, MAX_WINDOW_PAGES) : 1;
    return this.window;
  }

  /** The waiting pages around a fault: after it or, if the faults go down, before it. */
  private around(page: number, most: number): Range | undefined {
    const { pending, range } = this;
    if (page < this.last.page && most > 1) {
      const start = Math.max(0, page - most + 1);
      const before = pending.at(start, most, range);
      if (before && before.at + before.pages === page + 1) return before;
    }
    return pending.at(page, most, range);
  }

  /**
   * Delivers the next pages of the sweep, at most `most`.
   * @returns whether it can go on: not if the source has to be waited for, or nothing is left
   */
  sweep(most: number): boolean {
    const range = this.pending.next(most, this.range);
    if (!range) return false;
    return this.deliver(range) !== 'waits';
  }

  /** Delivers the waiting ones among pages of the dump. */
  deliverSource(source: number, pages: number): Outcome {
    for (let page = source; page < source + pages; ) {
      if (!this.pending.isSourceKnown(page)) return 'waits';
      const range = this.pending.of(page, source + pages - page, this.range);
      const count = range?.pages ?? 1;
      const outcome = range ? this.deliver(range) : 'done';
      if (outcome !== 'done') return outcome;
      page += count;
    }
    return 'done';
  }

  private deliver(range: Range): Outcome {
    const { source } = this.context;
    if (isRemote(source)) {
      if (!source.ask(this.pid, range.source, range.pages, false)) return 'waits';
      this.pending.ask(range.source, range.pages);
      return 'done';
    }
    range.pages = source.ready(this.pid, range.source, range.pages);
    return range.pages > 0 ? this.place(source, range) : 'waits';
  }

  /**
   * Takes pages of the dump that were asked for, by this task or another.
   * @param source page number in the dump
   */
  take(source: number, bytes: Uint8Array): void {
    const { buffer, source: from } = this.context;
    const { address } = buffer;
    const { pageSize } = from;
    buffer.bytes.set(bytes);
    const end = source + bytes.length / pageSize;
    for (let page = source; page < end && !this.isGone; ) {
      const range = this.pending.of(page, end - page);
      page += range?.pages ?? 1;
      if (!range) continue;
      let outcome = this.copy(range, address + (range.source - source) * pageSize);
      if (outcome === 'later' && !this.isRunning && this.keep(range.source, range.pages, source, bytes)) continue;
      for (let tries = 0; outcome === 'later' && tries < MAX_TRIES; tries++) {
        // The event that must be read first comes at once.
        this.read();
        const rest = this.pending.of(range.source, range.pages);
        outcome = rest ? this.copy(rest, address + (rest.source - source) * pageSize) : 'done';
      }
      if (outcome === 'later' && isRemote(from)) from.ask(this.pid, range.source, range.pages, true);
    }
    const now = performance.now();
    this.waiting.keep((page, since) => {
      if (this.pending.at(page, 1, this.range)) return true;
      this.context.stats.fault(now - since);
      return false;
    });
  }

  /** Keeps pages until the task runs, if there is room. */
  private keep(first: number, pages: number, source: number, bytes: Uint8Array): boolean {
    const { pageSize } = this.context.source;
    if (this.earlyBytes + pages * pageSize > MAX_EARLY_BYTES) return false;
    const start = (first - source) * pageSize;
    this.early.push({ source: first, bytes: new Uint8Array(bytes.subarray(start, start + pages * pageSize)) });
    this.earlyBytes += pages * pageSize;
    return true;
  }

  /** Reads pages and copies them to the task. */
  private place(source: LocalSource, range: Range): Outcome {
    const { buffer } = this.context;
    buffer.fill(source, this.pid, range.source, range.pages);
    return this.copy(range, buffer.address);
  }

  /**
   * Copies pages to the task. Those that it has already stay.
   * @param address of the first in this process
   */
  private copy(range: Range, address: number): Outcome {
    const { stats } = this.context;
    const { pageSize } = this.context.source;
    let done = 0;
    /** Pages of one copy: fewer where they are in several areas. */
    let step = range.pages;
    while (done < range.pages) {
      const at = range.at + done;
      const count = Math.min(step, range.pages - done);
      const pages = this.userfault.copy(at, address + done * pageSize, count);
      const { errno } = this.userfault;
      if (pages > 0) {
        stats.copied(pages);
        this.pending.settle(range.source + done, pages);
        done += pages;
      }
      if (errno === 0) step *= 2;
      // The next copy says why this one ended early.
      if (pages > 0) continue;
      if (errno === ENOENT && !this.isRunning) return 'later';
      if (errno === ENOENT && count > 1) {
        step = Math.floor(count / 2);
        continue;
      }
      const outcome = this.afterFailure(errno, at);
      if (outcome !== 'done') return outcome;
      this.pending.settle(range.source + done, 1);
      done++;
    }
    return 'done';
  }

  private zero(page: number, most: number): Outcome {
    const pages = this.userfault.zero(page, most);
    const { errno } = this.userfault;
    // Only the page itself matters.
    return pages > 0 || errno === 0 ? 'done' : this.afterFailure(errno, page);
  }

  /** What becomes of a page that could not be placed. */
  private afterFailure(errno: number, page: number): Outcome {
    switch (errno) {
      case EAGAIN:
        return 'later';
      case EEXIST:
      // The area is gone, or was never lazy.
      case ENOENT:
        this.userfault.wake(page, 1);
        return 'done';
      case ESRCH:
      case ENOSPC:
        this.isGone = true;
        return 'gone';
      default: {
        const address = addressHex(page, this.context.source.pageSize);
        throw new DumpError(
          'SYSTEM',
          `process ${this.pid} did not take its page at 0x${address}: ${getSystemErrorName(-errno)}`,
        );
      }
    }
  }
}
