/** One restore: its connection, its tasks, and the order in which they get what they have not asked for. */
import type { DescriptorSocket } from '../io/descriptor-socket.js';
import { RestoreMessages } from './messages.js';
import type { PageOrder } from './order.js';
import { LazyStats } from './stats.js';
import type { LazyTask } from './task.js';

export class Restore {
  readonly stats = new LazyStats();
  readonly messages = new RestoreMessages();
  /** Tasks that may still want pages, forked ones included. */
  readonly tasks = new Set<LazyTask>();
  /** The pids that it has named. */
  readonly pids = new Set<number>();
  /** Whether the tasks run, so that all pages may be delivered now. */
  isFinished = false;
  /** Index of the next page of the order. */
  private orderAt = 0;

  constructor(
    readonly socket: DescriptorSocket,
    private readonly order: PageOrder | undefined,
    /** Called for a task that has all its pages, or is gone. */
    private readonly drop: (task: LazyTask) => void,
  ) {}

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
    for (const task of this.tasks) {
      if (task.left === 0) {
        this.drop(task);
        continue;
      }
      if (!task.sweep(most)) {
        if (task.left === 0) this.drop(task);
        continue;
      }
      // The next one is another's.
      this.tasks.delete(task);
      this.tasks.add(task);
      return true;
    }
    return false;
  }

  /** Undefined if all of the order has been delivered. */
  private sweepOrder(most: number): boolean | undefined {
    const { order, stats } = this;
    for (; order && this.orderAt < order.length; ) {
      const { pid, page, pages } = order.at(this.orderAt, most);
      const before = stats.pages;
      for (const task of this.tasks) {
        if (task.pid !== pid) continue;
        const outcome = task.deliverSource(page, pages);
        if (outcome === 'later' || outcome === 'waits') return outcome === 'later';
      }
      this.orderAt += pages;
      stats.ordered += stats.pages - before;
      if (stats.pages > before) return true;
    }
    return undefined;
  }
}
