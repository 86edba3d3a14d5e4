/** Regular files for random access. They are opened when they are needed, and only a few are open at a time. */
import { closeSync, constants, fstatSync, openSync, readSync, type Stats } from 'node:fs';
import { readFully } from '../bytes.js';
import { DumpError, onFile } from '../errors.js';

/** Limit on open files: a dump may have thousands of processes. */
const MAX_OPEN = 64;

/** The state of a file. It differs if the file was changed or replaced. */
export const stateOf = ({ ino, size, mtimeMs }: Stats): string => `${ino} ${size} ${mtimeMs}`;

/**
 * @param name of the file, for errors
 * @throws {DumpError} CHANGED unless the file is in the same state as before
 */
export function checkUnchanged(fd: number, before: string, name: string): void {
  if (stateOf(onFile(name, () => fstatSync(fd))) === before) return;
  throw new DumpError('CHANGED', 'the file has changed since it was opened', { file: name });
}

/** The kind of file, unless it is a regular file or a folder. */
export function specialKind(stats: Stats): string | undefined {
  if (stats.isFIFO()) return 'a fifo';
  if (stats.isSocket()) return 'a socket';
  return stats.isCharacterDevice() || stats.isBlockDevice() ? 'a device' : undefined;
}

/** Opens a file to read. Does not wait for the writer of a fifo. Throws {@link DumpError} UNSUPPORTED unless it is a file. */
export function openRegular(path: string, name: string): number {
  const fd = openToRead(path, name);
  try {
    const stats = onFile(name, () => fstatSync(fd));
    if (stats.isFile()) return fd;
    throw noImage(name, specialKind(stats) ?? 'a folder');
  } catch (error) {
    closeSync(fd);
    throw error;
  }
}

const openToRead = (path: string, name: string): number =>
  onFile(name, () => openSync(path, constants.O_RDONLY | constants.O_NONBLOCK));

/** @param found what is in the place of an image */
export const noImage = (file: string, found: string): DumpError =>
  new DumpError('UNSUPPORTED', `expected an image, found ${found}`, { file });

export class OpenFiles {
  private readonly open = new Map<string, number>();

  /**
   * Reads up to `buffer.length` bytes; 0 at the end of the file.
   * @param name for errors
   * @param isRegular as in {@link OpenFiles.descriptor}
   */
  readSome(path: string, name: string, buffer: Uint8Array, position: number, isRegular = false): number {
    const fd = this.descriptor(path, name, isRegular);
    return onFile(name, () => readSync(fd, buffer, 0, buffer.length, position), position);
  }

  /**
   * Reads the beginning of a regular file, which is closed at once: that costs less than to close it when it is long unused.
   * @returns bytes read, fewer than `buffer.length` only at the end of the file
   */
  readStart(path: string, name: string, buffer: Uint8Array): number {
    const known = this.open.get(path);
    const fd = known ?? openToRead(path, name);
    try {
      return onFile(name, () => readFully((part, at) => readSync(fd, part, 0, part.length, at), buffer, 0), 0);
    } finally {
      if (known === undefined) closeSync(fd);
    }
  }

  /**
   * A descriptor of a file; it stays owned by this object.
   * @param isRegular whether it has been found to be a regular file
   */
  descriptor(path: string, name: string, isRegular = false): number {
    const known = this.open.get(path);
    if (known !== undefined) return known;
    if (this.open.size >= MAX_OPEN) {
      const [oldest, fd] = this.open.entries().next().value as [string, number];
      this.open.delete(oldest);
      closeSync(fd);
    }
    const fd = isRegular ? openToRead(path, name) : openRegular(path, name);
    this.open.set(path, fd);
    return fd;
  }

  close(): void {
    for (const fd of this.open.values()) closeSync(fd);
    this.open.clear();
  }
}
