/** The pages of a fault list in its order, as `--order` takes it. */
import { widen } from '../columns.js';

export class PageOrder {
  private pids = new Uint32Array(64);
  private pages = new Float64Array(64);
  length = 0;

  /** @param pages pid, and address of the first byte */
  static of(pages: Iterable<readonly [pid: number, address: bigint]>, pageSize: number): PageOrder {
    const order = new PageOrder();
    for (const [pid, address] of pages) order.push(pid, Number(address / BigInt(pageSize)));
    return order;
  }

  readonly push = (pid: number, page: number): void => {
    if (this.length === this.pids.length) {
      this.pids = widen(this.pids);
      this.pages = widen(this.pages);
    }
    this.pids[this.length] = pid;
    this.pages[this.length++] = page;
  };

  /** The pages between two indexes by process and address. */
  sorted(from: number, to: number): { pid: number; page: number; index: number }[] {
    const entries: { pid: number; page: number; index: number }[] = [];
    for (let i = from; i < Math.min(to, this.length); i++) {
      entries.push({ pid: this.pids[i] as number, page: this.pages[i] as number, index: i });
    }
    return entries.sort((a, b) => a.pid - b.pid || a.page - b.page);
  }

  /** The pages from an index on that follow each other in one process, at most `most`. */
  at(index: number, most: number): { pid: number; page: number; pages: number } {
    const pid = this.pids[index] as number;
    const page = this.pages[index] as number;
    let pages = 1;
    while (
      pages < most &&
      index + pages < this.length &&
      this.pids[index + pages] === pid &&
      this.pages[index + pages] === page + pages
    ) {
      pages++;
    }
    return { pid, page, pages };
  }
}
