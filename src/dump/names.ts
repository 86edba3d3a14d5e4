/** File names in a dump: what they mean, and which ones are refused. */
import { posix } from 'node:path';
import { DumpError } from '../errors.js';
import { typeOfName } from '../image/magic.js';
import type { Space } from './records.js';

/** Name of the pages file of a space. */
export const pagesName = (space: Pick<Space, 'pagesId'>): string => `pages-${space.pagesId}.img`;

/** Whether a file name is that of a pages file. */
export const isPagesName = (name: string): boolean => /^pages-\d+\.img$/.test(name);

/** The first image that a restore reads, and the last one that CRIU writes. */
export const INVENTORY = 'inventory.img';

const PAGEMAP_NAME = /^pagemap-(?:shmem-)?(\d+)\.img$/;

/** Whether a file name is that of a pagemap. */
export const isPagemapName = (name: string): boolean => PAGEMAP_NAME.test(name);

/**
 * Whether a file name is that of an image of a dump. Statistics are no sign of one: CRIU writes them into its work directory,
 * and engines put them next to `checkpoint/`.
 */
export function isImageName(name: string): boolean {
  const type = typeOfName(name);
  return type !== undefined && type !== 'STATS';
}

/** Kind and pid of a space, from the name of its pagemap. */
export function spaceIdentity(pagemap: string): Pick<Space, 'kind' | 'pid'> {
  if (pagemap.startsWith('pagemap-shmem-')) return { kind: 'shmem' };
  return { kind: 'task', pid: Number(PAGEMAP_NAME.exec(pagemap)?.[1]) };
}

const ORIGINAL = 'original-';

/**
 * Name in the cold half of an original pagemap, which has the entries from before the dump was split. No image of CRIU has
 * such a name. It is not in a folder, because shards have no folders.
 */
export const originalName = (pagemap: string): string => `${ORIGINAL}${pagemap}`;

/** The pagemap of a space, by the name of its original one. */
export const pagemapOf = (original: string): string => original.slice(ORIGINAL.length);

/** Whether a file name is that of an original pagemap. */
export const isOriginalName = (name: string): boolean => name.startsWith(ORIGINAL) && isPagemapName(pagemapOf(name));

/**
 * A file in a dump whose other pages have yet to be fetched. While it exists, the dump is useful only to the `send` that
 * made it, and the next one replaces it without --force.
 */
export const UNDELIVERED = '.pagepipe-undelivered';

/** A file in a dump that came by `migrate`, as long as its processes have not been restored. */
export const MIGRATION = '.pagepipe-migration';

/** In a template, the folder of the files that its areas map, and their manifest in it. */
export const MEMORY_FOLDER = 'memory';
export const MANIFEST = 'template.json';
/** Ends the name of every mapped file that was made. */
export const MAPPED_SUFFIX = '.pagepipe-memory';

/** The mark of a dump from which pages were taken out that no lazy restore can fetch. */
export const PARTIAL = 'pagepipe-partial.json';

/** The sums of the blocks of all files of a dump: `sums.ts` says what is in it. */
export const SUMS = 'pagepipe-sums.json';
/**
 * An empty file that says that a dump has sums, to those who read it from front to back: an archive begins with it, and has the
 * sums at its end.
 */
export const SUMS_MARK = 'pagepipe-sums';

/** Whether a file is about the sums of a dump, and so no part of what the sums are of. */
export const isSumsName = (name: string): boolean => name === SUMS || name === SUMS_MARK;

/** Of the names in a directory, those for which it is no dump that may be replaced; none if it is one. */
export function notOfDump(names: readonly string[]): readonly string[] {
  const hidden = names.filter((name) => name.startsWith('.') && name !== UNDELIVERED && name !== MIGRATION);
  if (hidden.length > 0) return hidden;
  const isDump =
    names.some((name) => [INVENTORY, UNDELIVERED, PARTIAL].includes(name) || isOriginalName(name)) ||
    // What a page server received: the other images are elsewhere.
    names.every((name) => isPagemapName(name) || isPagesName(name) || name === 'parent');
  return isDump ? [] : names;
}

/** Whether an image says which processes there are, or what areas they have. */
export const isTaskImage = (name: string): boolean => /^(inventory|pstree|(core|mm)-\d+)\.img$/.test(name);

/** Name of the image of a process's areas. */
export const mmName = (pid: number | undefined): string => `mm-${pid}.img`;

/** Prefix of the name of a file in the archive but outside the dump. */
export const OUTSIDE = '../';

/** Longest name of a file, in bytes. Source: PATH_MAX. */
export const MAX_NAME_BYTES = 4096;

/**
 * Checks a name before anything is made of it.
 * @param file that the name was read from, for errors
 * @throws {DumpError} BAD_NAME for a name that leads outside the dump, or that no file can have
 */
export function checkFileName(name: string, file: string, offset?: number): void {
  const bad =
    name.length > MAX_NAME_BYTES ||
    name === '' ||
    posix.isAbsolute(name) ||
    name.includes('\0') ||
    name.split('/').some((part) => part === '..' || part === '.' || part === '') ||
    Buffer.byteLength(name) > MAX_NAME_BYTES;
  if (!bad) return;
  throw new DumpError('BAD_NAME', `expected a file name inside the dump, found ${JSON.stringify(name)}`, {
    file,
    ...(offset === undefined ? {} : { offset }),
  });
}

/**
 * The place that a link of this name and target leads to, relative to the dump; undefined outside of it, and where the way
 * goes through another link, because then the place is not what the text says.
 * @param isLink says of a place whether it is a link
 */
export function linkPlace(name: string, target: string, isLink?: (place: string) => boolean): string | undefined {
  const place = posix.normalize(posix.join(posix.dirname(name), target));
  if (posix.isAbsolute(target) || place === '..' || place.startsWith('../')) return undefined;
  return isLink && goesThrough(posix.dirname(name), target, isLink) ? undefined : place;
}

/** Whether the way from a folder to a target goes through a link; the last step may be one, but not `parent`. */
function goesThrough(folder: string, target: string, isLink: (place: string) => boolean): boolean {
  if (target.length > MAX_NAME_BYTES) return true;
  const way = folder === '.' ? [] : folder.split('/');
  const steps = target.split('/').filter((step) => step !== '' && step !== '.');
  for (const [i, step] of steps.entries()) {
    if (step === '..') way.pop();
    else way.push(step);
    const place = way.join('/');
    const isLast = i === steps.length - 1 && !target.endsWith('/');
    if ((!isLast || place === 'parent') && place !== '' && isLink(place)) return true;
  }
  return false;
}

/**
 * Checks a link of a dump. All links stay inside the dump, except `parent`, which leads to another one.
 * @throws {DumpError} BAD_NAME
 */
export function checkLink(name: string, target: string, isLink?: (place: string) => boolean): void {
  if (target.includes('\0')) {
    throw new DumpError('BAD_NAME', 'the target of the link has a NUL byte', { file: name });
  }
  if (name === 'parent' || linkPlace(name, target, isLink) !== undefined) return;
  throw new DumpError('BAD_NAME', 'the link leads outside the dump', {
    file: name,
  });
}
