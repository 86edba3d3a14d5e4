/**
 * The daemon of lazy restores, in place of `criu lazy-pages`: it listens for `criu restore --lazy-pages`, answers the faults of
 * the restored tasks, and delivers all their other pages.
 *
 * All work is done in one thread, in turns: read what has happened, answer the faults, deliver one piece of the rest. So what
 * it knows of a task's memory is always what the task has seen: an event is read, and known here, before the next copy begins.
 * Faults wait for one piece at most, and pieces are small while there are faults.
 */
import { join } from 'node:path';
import { DumpError } from '../errors.js';
import { Breather } from '../io/breathe.js';
import { DescriptorListener, type DescriptorSocket } from '../io/descriptor-socket.js';
import type { DaemonCalls } from '../io/linux.js';
import { Poller } from '../io/poller.js';
import { Userfault } from '../io/userfault.js';
import { counted } from '../printable.js';
import type { PageOrder } from './order.js';
import { PageBuffer } from './page-buffer.js';
import { farPages, isArriving, isRemote, type PageSource, runsOf } from './page-source.js';
import { PendingPages } from './pending.js';
import { Restore } from './restore.js';
import type { StatsObserver } from './stats.js';
import { stopIncomplete } from './stop.js';
import { LazyTask, type TaskContext } from './task.js';

/** Where CRIU looks for its daemon, in the work directory. */
export const SOCKET_NAME = 'lazy-pages.socket';

/** A piece of the sweep in bytes: after a fault, and what it grows to while there are none. A fault waits for one piece. */
const MIN_PIECE_BYTES = 64 * 1024;
const MAX_PIECE_BYTES = 1024 * 1024;
/** After a fault, the next one is looked for without sleep, for so many ms. */
const SPIN_MS = 0.2;
/** Timers, signals and the network have their turn after so many ms. */
const TURN_MS = 10;
/** While faults are recorded, the sweep waits until there have been none for this many ms. */
export const QUIET_MS = 1000;

/** How often it is tried to deliver the order before the tasks run, in ms. */
const EARLY_MS = 1;

/** What a daemon tells. */
export interface DaemonEvents {
  listening?(path: string): void;
  began?(restore: Restore): void;
  /** The restored tasks run. */
  running?(restore: Restore): void;
  /** All is delivered; or the restore has failed, with this error. */
  ended?(restore: Restore, error?: DumpError): void;
  /** It takes no more restores, and delivers these pages before it ends. */
  finishing?(left: number): void;
}

export interface DaemonOptions extends DaemonEvents {
  /** Work directory of the restores, where the socket is made. */
  directory: string;
  /** Whether it goes on after the first restore. */
  keepListening?: boolean;
  /** What is delivered before the rest. */
  order?: PageOrder | undefined;
  /** Told of each page that a task waits for. The sweep then begins late. */
  record?: ((pid: number, page: number) => void) | undefined;
  /** Told of each copy and each fault. */
  observer?: StatsObserver | undefined;
  /** When aborted, it takes no more restores, delivers the rest to those there are, and ends. */
  signal: AbortSignal;
  /** When aborted as well, it stops the tasks and ends. */
  signalAgain?: AbortSignal | undefined;
}

export class LazyDaemon {
  private readonly poller: Poller;
  private readonly listener: DescriptorListener;
  private readonly restores = new Set<Restore>();
  private readonly context: Omit<TaskContext, 'stats' | 'forked'>;
  private isListening = true;
  private isEnding = false;
  /** The first failure to say or to record something. */
  private untold: unknown;
  /** When the last fault was answered. */
  private faultedAt = 0;
  /** Of the next piece of the sweep. */
  private pieceBytes = MIN_PIECE_BYTES;
  /** Tasks with faults to answer. */
  private readonly faulting = new Set<LazyTask>();
  private readonly order: PageOrder | undefined;

  /**
   * Listens at once.
   * @param source is closed by the caller
   * @throws {DumpError} SYSTEM, OUTPUT_EXISTS if there is another file in place of the socket
   */
  constructor(
    private readonly source: PageSource,
    private readonly calls: DaemonCalls,
    private readonly options: DaemonOptions,
  ) {
    this.context = {
      source,
      buffer: new PageBuffer(calls, source.pageSize, pagesOf(MAX_PIECE_BYTES, source)),
      singly: options.record !== undefined,
      faulted: (pid, page) => this.tell(() => options.record?.(pid, page)),
    };
    this.poller = new Poller(calls);
    const path = join(options.directory, SOCKET_NAME);
    this.listener = new DescriptorListener(path, calls);
    this.poller.add(this.listener.fd, () => this.accept());
    if (isRemote(source)) source.onPages = (pid, page, bytes) => this.take(pid, page, bytes);
    source.onChange = () => this.changed();
    const far = farPages(source);
    this.order = options.order && far ? far.gathered(options.order) : options.order;
    if (this.order) far?.prepare(this.order);
  }

  /** Pages that wait to be delivered, in all restores. */
  get left(): number {
    let left = 0;
    for (const restore of this.restores) left += restore.left;
    return left;
  }

  get active(): ReadonlySet<Restore> {
    return this.restores;
  }

  /**
   * Serves until there is nothing left to do.
   * @throws {DumpError} if pages cannot be delivered: the tasks are stopped then; PROTOCOL if the only restore has failed
   */
  async run(): Promise<void> {
    const { signal, signalAgain } = this.options;
    const ring = () => this.poller.ring();
    signal.addEventListener('abort', ring);
    signalAgain?.addEventListener('abort', ring);
    const breather = new Breather(TURN_MS);
    try {
      this.options.listening?.(join(this.options.directory, SOCKET_NAME));
      for (;;) {
        if (signal.aborted) this.comeToAnEnd();
        if (signalAgain?.aborted) throw this.cutOff();
        if (this.source.failure !== undefined) throw this.source.failure;
        if (!this.isListening && this.restores.size === 0) {
          if (this.untold !== undefined) throw this.untold;
          return;
        }
        if (this.turn()) {
          // Not awaited each time: the promises of so many turns would keep the garbage collector busy.
          const breath = breather.due();
          if (breath) await breath;
        } else {
          await this.wait();
        }
      }
    } catch (error) {
      throw this.stopped(error);
    } finally {
      signal.removeEventListener('abort', ring);
      signalAgain?.removeEventListener('abort', ring);
      await this.close();
    }
  }

  /**
   * Says or records something. If that fails, for instance because nobody reads any more or the disk is full, the tasks still
   * get all their pages, and the failure is thrown at the end.
   */
  private tell(action: () => void): void {
    try {
      action();
    } catch (error) {
      this.untold ??= error;
    }
  }

  /** Returns whether there is more to do at once. */
  private turn(): boolean {
    this.poller.poll();
    if (this.faulting.size > 0) this.serveFaults();
    const now = performance.now();
    if (this.isQuietFor(now) <= 0 && this.sweep()) return true;
    return this.faulting.size > 0 || (this.canSpin && now - this.faultedAt < SPIN_MS);
  }

  /** Whether pages need no turn of the event loop to come. */
  private get canSpin(): boolean {
    return !isRemote(this.source) && !isArriving(this.source);
  }

  private serveFaults(): void {
    for (const task of this.faulting) {
      task.serveFaults();
      if (task.isGone || !task.hasFaults) this.faulting.delete(task);
    }
    this.faultedAt = performance.now();
    this.pieceBytes = MIN_PIECE_BYTES;
  }

  /** Delivers one piece of what nobody has asked for. Returns whether it did anything. */
  private sweep(): boolean {
    const most = pagesOf(this.pieceBytes, this.source);
    this.pieceBytes = Math.min(2 * this.pieceBytes, MAX_PIECE_BYTES);
    for (const restore of this.restores) {
      if (!restore.isFinished && !restore.hasOrder) continue;
      if (!restore.sweep(most)) {
        if (!restore.isFinished || restore.tasks.size > 0) continue;
        this.end(restore);
        return true;
      }
      if (this.restores.size > 1) {
        // The next piece is another's.
        this.restores.delete(restore);
        this.restores.add(restore);
      }
      return true;
    }
    return false;
  }

  /** How many ms the sweep has to wait: while faults are recorded, it would bring pages before they are asked for. */
  private isQuietFor(now: number): number {
    if (!this.options.record || this.options.signal.aborted) return 0;
    return this.faultedAt + QUIET_MS - now;
  }

  private async wait(): Promise<void> {
    const hasWork = [...this.restores].some(({ isFinished }) => isFinished);
    const isEarly = [...this.restores].some(({ isFinished, hasOrder }) => !isFinished && hasOrder);
    const quiet = hasWork ? this.isQuietFor(performance.now()) : isEarly ? EARLY_MS : 0;
    const timer = quiet > 0 ? setTimeout(() => this.poller.ring(), quiet) : undefined;
    await this.poller.wait();
    clearTimeout(timer);
  }

  private accept(): void {
    for (let socket = this.isListening && this.listener.accept(); socket; socket = this.listener.accept()) {
      this.begin(socket);
      // As criu lazy-pages does, it serves one restore.
      if (this.options.keepListening) continue;
      this.stopListening();
      return;
    }
  }

  private begin(socket: DescriptorSocket): void {
    const { observer } = this.options;
    const restore: Restore = new Restore(
      socket,
      this.order,
      farPages(this.source),
      (task) => this.drop(restore, task),
      observer && {
        copied: (pages) => this.tell(() => observer.copied(pages)),
        fault: (milliseconds) => this.tell(() => observer.fault(milliseconds)),
      },
    );
    this.restores.add(restore);
    this.poller.add(socket.fd, () => this.receive(restore));
    this.tell(() => this.options.began?.(restore));
  }

  /** Returns whether there may be more. */
  private receive(restore: Restore): boolean {
    const received = restore.socket.receive();
    if (!received) return false;
    if (received.bytes.length === 0) {
      this.hangUp(restore);
      return false;
    }
    try {
      for (const message of restore.messages.push(received.bytes, received.descriptors)) {
        if (message.type === 'task') this.addTask(restore, message.pid, received.pid, message.fd);
        else if (message.type === 'finished') {
          restore.finish();
          this.faultedAt = performance.now();
          this.tell(() => this.options.running?.(restore));
        }
      }
    } catch (error) {
      if (!(error instanceof DumpError)) throw error;
      this.fail(restore, error);
    }
    return true;
  }

  /** Makes a restore fail that is not finished yet. If it has just been finished, its tasks run, and are stopped. */
  private refuse(restore: Restore): void {
    restore.socket.refuseMore();
    try {
      for (let more = true; more; ) more = this.receive(restore);
    } catch {
      // It has failed already.
    }
  }

  /** The end of the connection. */
  private hangUp(restore: Restore): void {
    if (restore.isFinished) {
      this.poller.remove(restore.socket.fd);
      return;
    }
    this.fail(restore, new DumpError('PROTOCOL', 'the restore failed: criu restore ended before the tasks ran'));
  }

  private fail(restore: Restore, error: DumpError): void {
    for (const fd of restore.messages.untaken) this.calls.close(fd);
    this.end(restore, error);
    if (!this.options.keepListening) throw error;
  }

  private addTask(restore: Restore, pid: number, seenPid: number, fd: number): void {
    const userfault = new Userfault(fd, this.calls, this.source.pageSize);
    restore.pids.add(pid);
    let pending: PendingPages;
    try {
      pending = PendingPages.of(runsOf(this.source, pid), isArriving(this.source));
    } catch (error) {
      userfault.close();
      throw error;
    }
    this.serve(restore, new LazyTask(pid, seenPid, userfault, pending, this.contextOf(restore)));
  }

  private contextOf(restore: Restore): TaskContext {
    return {
      ...this.context,
      stats: restore.stats,
      forked: (parent, fd) => {
        const userfault = new Userfault(fd, this.calls, this.source.pageSize);
        this.serve(
          restore,
          new LazyTask(parent.pid, parent.seenPid, userfault, parent.pending.fork(), this.contextOf(restore)),
        );
      },
    };
  }

  private serve(restore: Restore, task: LazyTask): void {
    restore.tasks.add(task);
    task.isRunning = restore.isFinished;
    this.poller.add(task.userfault.fd, () => {
      task.read();
      if (task.hasFaults) this.faulting.add(task);
    });
  }

  /** Pages have come that were asked for. Whoever still wants them gets them, such as a child that was forked meanwhile. */
  private take(pid: number, page: number, bytes: Uint8Array): void {
    for (const { tasks } of this.restores) {
      for (const task of tasks) {
        if (task.pid !== pid) continue;
        task.take(page, bytes);
        if (task.hasFaults) this.faulting.add(task);
      }
    }
    this.poller.ring();
  }

  /** More has arrived, or nothing more comes. */
  private changed(): void {
    this.poller.ring();
    if (isRemote(this.source) || this.source.failure !== undefined) return;
    for (const { tasks } of this.restores) {
      for (const task of tasks) {
        task.arrived();
        if (task.hasFaults) this.faulting.add(task);
      }
    }
  }

  /** Lets go of a task. The kernel then gives it zeros for what the dump has no page for. */
  private drop(restore: Restore, task: LazyTask): void {
    restore.tasks.delete(task);
    this.faulting.delete(task);
    this.poller.remove(task.userfault.fd);
    task.userfault.close();
  }

  private end(restore: Restore, error?: DumpError): void {
    for (const task of restore.tasks) this.drop(restore, task);
    this.restores.delete(restore);
    this.poller.remove(restore.socket.fd);
    restore.socket.close();
    this.tell(() => this.options.ended?.(restore, error));
  }

  /** Takes the restores that have connected already, and no more. */
  private comeToAnEnd(): void {
    if (this.isEnding) return;
    this.isEnding = true;
    this.accept();
    this.stopListening();
    if (this.restores.size > 0) this.tell(() => this.options.finishing?.(this.left));
  }

  private stopListening(): void {
    if (!this.isListening) return;
    this.isListening = false;
    this.poller.remove(this.listener.fd);
    this.listener.close();
  }

  /**
   * Stops all tasks that wait for pages. Those of a restore that is still going on are ended by criu restore itself, once its
   * connection is closed; stopped, they would make it wait forever. Returns the error with what was stopped.
   */
  private stopped(error: unknown): unknown {
    for (const restore of this.restores) if (!restore.isFinished) this.refuse(restore);
    const finished = [...this.restores].filter(({ isFinished }) => isFinished);
    const incomplete = finished.flatMap(({ tasks }) => [...tasks]).filter(({ isDone }) => !isDone);
    return stopIncomplete(this.calls, incomplete, this.source.pageSize, error);
  }

  private cutOff(): Error {
    return new DumpError('PROTOCOL', `ended by a second signal; ${counted(this.left, 'page')} had not been delivered`);
  }

  private async close(): Promise<void> {
    this.stopListening();
    for (const restore of this.restores) this.end(restore, new DumpError('PROTOCOL', 'the daemon has ended'));
    await this.poller.close();
  }
}

/** Pages of so many bytes. */
const pagesOf = (bytes: number, { pageSize }: PageSource): number => Math.max(1, Math.floor(bytes / pageSize));
