/**
 * The images that a dump must have. CRIU does not write an image without entries, so these are only those that always have
 * one, as seen in real dumps by CRIU 4.1 and 4.2.
 */
import { isOriginalName } from './names.js';

/** All files of a dump are in one image; older dumps have one for each type of file. */
const FILES = 'files.img';
const OLDER_FILES =
  /^(reg-files|pipes|fifo|inetsk|unixsk|eventfd|eventpoll|inotify|signalfd|packetsk|tty|fanotify|netlinksk|ns-files|tunfile|ext-files|timerfd)\.img$/;

/** A process, as its core and pstree.img describe it. */
export interface NeedyTask {
  pid: number;
  threads: readonly number[];
  /** A zombie has only a core. */
  dead: boolean;
}

/**
 * The images that the processes need, by name, each once.
 * @param names of all files of the dump: the cold half of a split dump needs fewer, and older dumps have others
 * @param readOnly whether only those count that it takes to read the memory
 */
export function neededImages(tasks: readonly NeedyTask[], names: Iterable<string>, readOnly = false): string[] {
  const all = [...names];
  const isMemoryOnly = readOnly || all.some(isOriginalName);
  const kinds = isMemoryOnly ? ['mm', 'pagemap'] : ['ids', 'mm', 'pagemap', 'fs'];
  const needed = tasks.flatMap(({ pid, threads, dead }) => [
    `core-${pid}.img`,
    ...(dead ? [] : threads.map((tid) => `core-${tid}.img`)),
    ...(dead ? [] : kinds.map((kind) => `${kind}-${pid}.img`)),
  ]);
  const needsFiles = !isMemoryOnly && tasks.some(({ dead }) => !dead) && !all.some((name) => OLDER_FILES.test(name));
  return [...new Set([...needed, ...(needsFiles ? [FILES] : [])])];
}
