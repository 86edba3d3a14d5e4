/**
 * Files of an earlier dump in the same place. CRIU reads only the images that others lead to. So pagemaps that belong to no
 * process and that no area refers to are ignored here, too.
 */
import { DumpError } from '../errors.js';
import { eachArea } from '../image/mm.js';
import { approximate } from '../image/number-fields.js';
import { PagemapDecoder } from '../image/pagemap.js';
import { VMA } from '../memory/vma.js';
import type { Images } from './images.js';
import { isPagemapName, mmName, pagesName, spaceIdentity } from './names.js';
import { MIN_PAGE_BYTES } from './page-size.js';

/** More than a pagemap needs up to its first entry, in bytes. */
const HEAD_BYTES = 4096;

/** Images of one process or thread. */
const OF_A_PROCESS = /^(?:core|mm|ids|fs|creds|sigacts|itimers|posix-timers|rlimit|vmas)-(\d+)\.img$/;

/** Whether an image is of one process or thread. */
export const isOfAProcess = (name: string): boolean => OF_A_PROCESS.test(name);

/** Whether an image is of a process or thread that the dump does not have: a restore never reads it. */
export function isOfNobody(name: string, ids: ReadonlySet<number>): boolean {
  const id = OF_A_PROCESS.exec(name)?.[1];
  return id !== undefined && ids.size > 0 && !ids.has(Number(id));
}

export interface LeftoverOptions {
  images: Images;
  /** Of all files. */
  names: readonly string[];
  /** Of all processes. */
  pids: ReadonlySet<number>;
  /** The pages file that a pagemap names, if it is known; read from the pagemap if it is not given. */
  pagesOf?: (pagemap: string) => string | undefined;
}

/** What is said of a pagemap that is left out. */
export const leftOut = (pagemap: string): string =>
  `${pagemap}: left out, it is memory that no process of the dump has`;

/** What is said of a pagemap that went on before it was known. */
export const notLeftOut = (pagemap: string): string => `${pagemap}: no process of the dump has this memory`;

/** What is said of pages that are left out. */
export const pagesLeftOut = (pages: string): string => `${pages}: left out, no pagemap refers to these pages`;

/** @returns the pages files of pagemaps that were left, by pagemap; undefined where a pagemap does not say it */
export function leftoverPagemaps({
  images,
  names,
  pids,
  pagesOf = (pagemap) => pagesFileOf(images, pagemap),
}: LeftoverOptions): Map<string, string | undefined> {
  const left = new Map<string, string | undefined>();
  const owners = new Set<string>();
  const segments: string[] = [];
  let isShared = false;
  for (const name of names.filter(isPagemapName)) {
    const { kind, pid } = spaceIdentity(name);
    const pages = pagesOf(name);
    if (pid !== undefined && !pids.has(pid)) {
      left.set(name, pages);
      continue;
    }
    if (kind === 'shmem') segments.push(name);
    if (pages === undefined) continue;
    isShared ||= owners.has(pages);
    owners.add(pages);
  }
  // Finding out which segments are mapped needs every area, so it is only done if two pagemaps have one pages file.
  const named = isShared && segments.length > 0 ? namedSegments(images, names, pids) : undefined;
  if (named) for (const name of segments) if (!named.has(name)) left.set(name, pagesOf(name));
  return left;
}

/** Whether an error is due to a damaged image, which is reported when the whole image is read, and not to the system. */
const isDamage = (error: unknown): boolean =>
  error instanceof DumpError && error.code !== 'CHANGED' && error.code !== 'SYSTEM';

/** The pages file that a pagemap names. */
function pagesFileOf({ files }: Images, pagemap: string): string | undefined {
  const decoder = new PagemapDecoder(MIN_PAGE_BYTES, pagemap);
  const start = new Uint8Array(HEAD_BYTES);
  try {
    decoder.pushHead(start.subarray(0, files.readSome(pagemap, start, 0)));
    return decoder.head && pagesName(decoder);
  } catch (error) {
    if (isDamage(error)) return undefined;
    throw error;
  }
}

/** Names of the pagemaps of all segments that the dump has; undefined if an image cannot be read. */
function namedSegments(
  images: Images,
  names: readonly string[],
  pids: ReadonlySet<number>,
): ReadonlySet<string> | undefined {
  const named = new Set<string>();
  const add = (id: number) => void named.add(`pagemap-shmem-${id}.img`);
  try {
    if (images.has('memfd.img')) images.each('memfd.img', 'memfd_inode_entry', ({ shmid }) => add(shmid));
    for (const name of names) {
      if (/^ipcns-shm-\d+\.img$/.test(name)) images.each(name, 'ipc_shm_entry', ({ desc }) => add(desc.id));
    }
    for (const pid of pids) {
      if (!images.has(mmName(pid))) continue;
      images.messages(mmName(pid), (message) =>
        eachArea(message, ({ status, shmid }) => {
          if (status.lo & VMA.ANON_SHARED) add(approximate(shmid));
        }),
      );
    }
  } catch (error) {
    if (isDamage(error)) return undefined;
    throw error;
  }
  return named;
}
