/** One restore: its connection, its tasks, and the order in which they get what they have not asked for. */
import type { DescriptorSocket } from '../io/descriptor-socket.js';
import type { FarPages } from './far-pages.js';
import { RestoreMessages } from './messages.js';
import type { PageOrder } from './order.js';
import { LazyStats, type StatsObserver } from './stats.js';
import type { LazyTask } from './task.js';

/** So many pages of the order are to come, if they come from far away. */
const AHEAD_PAGES = 4096;

export class Restore {
  readonly stats: LazyStats;
  readonly messages = new RestoreMessages();
  /** Tasks that may still want pages, forked ones included. */
  readonly tasks = new Set<LazyTask>();
  /** The pids that it has named. */
  readonly pids = new Set<number>();
  /** Whether the tasks run, so that all pages may be delivered now. */
  isFinished = false;
  /** Index of the next page of the order. */
  private orderAt = 0;
  /** Index behind those that are to come. */
  private announcedTo: number;

  constructor(
    readonly socket: DescriptorSocket,
    private readonly order: PageOrder | undefined,
    private readonly far: FarPages | undefined,
    /** Called for a task that has all its pages, or is gone. */
    private readonly drop: (task: LazyTask) => void,
    observer: StatsObserver | undefined,
  ) {
    this.stats = new LazyStats(observer);
    this.announcedTo = far?.begin() ?? 0;
  }

  /** Pages that wait to be delivered. */
  get left(): number {
    let left = 0;
    for (const task of this.tasks) left += task.left;
    return left;
  }

  /**
   * Delivers the next pages that nobody has asked for, at most `most`: those of the order first, then of each task in turn.
   * @returns whether it can go on: not if the source has to be waited for, or nothing is left
   */
  sweep(most: number): boolean {
    const ordered = this.sweepOrder(most);
    if (ordered !== undefined) return ordered;
    if (!this.isFinished) return false;
    for (const task of this.tasks) {
      if (task.isDone) {
        this.drop(task);
        continue;
      }
      if (!task.sweep(most)) {
        if (task.isDone) this.drop(task);
        continue;
      }
      // The next one is another's.
      this.tasks.delete(task);
      this.tasks.add(task);
      return true;
    }
    return false;
  }

  /**
   * The order may begin before the tasks run, so that they find their pages there. Until their areas are registered, nothing
   * can be placed.
   * @returns undefined if the tasks may have other pages: all of the order has been delivered, or its next page has not come
   */
  private sweepOrder(most: number): boolean | undefined {
    const { order, stats, far } = this;
    let left = most;
    while (order && far && this.announcedTo < Math.min(order.length, this.orderAt + AHEAD_PAGES)) {
      this.announcedTo = far.announce(order, this.announcedTo);
    }
    while (order && left > 0 && this.orderAt < order.length) {
      const { pid, page, pages } = order.at(this.orderAt, left);
      if (!this.isFinished && !this.pids.has(pid)) return false;
      const before = stats.pages;
      for (const task of this.tasks) {
        if (task.pid !== pid) continue;
        const outcome = task.deliverSource(page, pages);
        // What comes from far away has all the way for itself.
        if (outcome === 'waits' && this.isFinished && !far) return left < most ? true : undefined;
        if (outcome === 'later' || outcome === 'waits') return outcome === 'later' && this.isFinished;
      }
      this.orderAt += pages;
      left -= pages;
      stats.ordered += stats.pages - before;
    }
    return left < most ? true : undefined;
  }

  /** The tasks run from now on. */
  finish(): void {
    this.isFinished = true;
    for (const task of this.tasks) task.run();
  }

  /** Whether pages may be delivered before the tasks run. */
  get hasOrder(): boolean {
    return this.order !== undefined && this.orderAt < this.order.length && this.tasks.size > 0;
  }
}
