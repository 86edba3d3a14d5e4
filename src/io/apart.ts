/** Checks that an output is apart from all inputs: `--force` must not destroy what is being read. */
import { fstatSync, readlinkSync, realpathSync, type Stats, statSync } from 'node:fs';
import { basename, dirname, join, resolve } from 'node:path';
import { DumpError, isErrno, onFile } from '../errors.js';
import { descriptorName } from './fd.js';

/** A file or a directory: by name, or by descriptor; or what is in an object store, by its s3:// name. */
export type Place = string | number;

const REMOTE = 's3://';

/** Whether a place is in an object store, and so apart from all files. */
export const isRemote = (place: Place): place is string => typeof place === 'string' && place.startsWith(REMOTE);

/**
 * Whether neither place is the other one or inside it. Links are resolved and inodes compared, so two names of one place are
 * recognized. Names need not exist. Pipes and devices are apart from everything.
 */
export function areApart(a: Place, b: Place): boolean {
  return !isIn(a, b) && !isIn(b, a);
}

/**
 * Checks an output before anything is written.
 * @throws {DumpError} OUTPUT_INSIDE_DUMP if it is an input or is inside one, OUTPUT_EXISTS if an input is inside it
 */
export function checkApart(output: string, inputs: readonly Place[]): void {
  for (const input of inputs) {
    if (onFile(output, () => areApart(output, input))) continue;
    if (isIn(output, input)) {
      throw new DumpError('OUTPUT_INSIDE_DUMP', `the output must be outside of what is read: ${nameOf(input)}`, {
        file: output,
      });
    }
    throw new DumpError('OUTPUT_EXISTS', `the output must not contain what is read: ${nameOf(input)}`, {
      file: output,
    });
  }
}

const nameOf = (place: Place): string => (typeof place === 'string' ? place : descriptorName(place));

/** Whether a place is `folder` or inside it. */
export function isIn(place: Place, folder: Place): boolean {
  const [own] = lineage(folder);
  return own !== undefined && lineage(place).includes(own);
}

/** A place and the folders above it, from the inside out: inodes, and names where nothing exists yet. */
function lineage(place: Place): string[] {
  if (isRemote(place)) return remoteLineage(place);
  const ids: string[] = [];
  let name: string | undefined;
  if (typeof place === 'number') {
    const stats = statsOfDescriptor(place);
    if (!stats || !isLasting(stats)) return [];
    ids.push(inode(stats));
    name = nameOfDescriptor(place);
    if (name === undefined) return ids;
  } else {
    name = onFile(place, () => realPlace(resolve(place)));
    const stats = statSync(name, { throwIfNoEntry: false });
    if (stats && !isLasting(stats)) return [];
  }
  for (let at = name; ; at = dirname(at)) {
    const stats = statSync(at, { throwIfNoEntry: false });
    ids.push(stats ? inode(stats) : at);
    if (at === dirname(at)) return ids;
  }
}

/** The lineage of an s3:// name: it and the prefixes that it is below. */
function remoteLineage(name: string): string[] {
  const [bucket = '', ...steps] = name
    .replace(REMOTE, '')
    .split('/')
    .filter((step) => step !== '');
  return Array.from(
    { length: steps.length + 1 },
    (_, i) => `${REMOTE}${[bucket, ...steps.slice(0, steps.length - i)].join('/')}`,
  );
}

const inode = ({ dev, ino }: Stats): string => `${dev}:${ino}`;

const isLasting = (stats: Stats): boolean => stats.isFile() || stats.isDirectory();

/** Undefined if it is not open, which its reader reports. */
function statsOfDescriptor(fd: number): Stats | undefined {
  try {
    return fstatSync(fd);
  } catch (error) {
    if (!isErrno(error, 'EBADF')) throw error;
    return undefined;
  }
}

/** Undefined if it is not known, or for a file without a name. */
function nameOfDescriptor(fd: number): string | undefined {
  try {
    return realpathSync(readlinkSync(`/proc/self/fd/${fd}`));
  } catch (error) {
    if (!isErrno(error, 'ENOENT')) throw error;
    return undefined;
  }
}

/** A place with all links resolved, as far as it exists. */
export function realPlace(name: string): string {
  if (statSync(name, { throwIfNoEntry: false })) return realpathSync(name);
  const folder = dirname(name);
  return folder === name ? name : join(realPlace(folder), basename(name));
}
