/**
 * The lazy pages that restored tasks are sure to touch first, so that they come while criu still restores: the stack at the stack
 * pointer, the memory of the thread, and areas with a few pages only, such as the variables of libraries. Each of them would be a
 * wait for the network otherwise, one after the other.
 */
import type { DumpFiles } from '../dump/files.js';
import { Images } from '../dump/images.js';
import { PageOrder } from './order.js';
import type { RemoteSource } from './page-source.js';

/** Above the stack pointer, and around the memory of a thread. */
const STACK_PAGES = 8;
const THREAD_PAGES = 2;
const SMALL_RUN_PAGES = 16;
/** Of all tasks: more would make a large dump wait. */
const MAX_PAGES = 1024;

/** @param source of the pages of the dump in `files` */
export function firstNeeded(files: DumpFiles, source: RemoteSource): PageOrder {
  const { pageSize } = source;
  const order = new PageOrder();
  const images = new Images(files);
  images.each('pstree.img', 'pstree_entry', ({ pid, threads = [] }) => {
    const runs = source.runs(pid);
    if (!runs || runs.length === 0) return;
    const add = (page: number, pages: number) => {
      for (let i = 0; i < pages && order.length < MAX_PAGES; i++) order.push(pid, page + i);
    };
    for (const thread of new Set([pid, ...threads])) {
      const { stack, own } = pointers(images, `core-${thread}.img`);
      if (stack !== undefined) add(pageOf(stack, pageSize), STACK_PAGES);
      if (own !== undefined) add(pageOf(own, pageSize) - THREAD_PAGES / 2, THREAD_PAGES);
    }
    for (let run = 0; run < runs.length; run++) {
      const pages = runs.pages[run] as number;
      if (pages <= SMALL_RUN_PAGES) add(runs.pageNumbers[run] as number, pages);
    }
  });
  return order;
}

/** Those that the registers of a thread hold; none for other machines. */
function pointers(images: Images, name: string): { stack?: bigint; own?: bigint } {
  if (!images.has(name)) return {};
  const { thread_info: x86, ti_aarch64: arm } = images.first(name, 'core_entry');
  if (x86) return { stack: x86.gpregs.sp, own: x86.gpregs.fs_base };
  return arm ? { stack: arm.gpregs.sp, ...(arm.tls === undefined ? {} : { own: arm.tls }) } : {};
}

const pageOf = (address: bigint, pageSize: number): number => Number(address / BigInt(pageSize));
