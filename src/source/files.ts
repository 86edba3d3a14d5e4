/** Files of a dump that payload is read from: opened when they are needed, and only so many at a time. */
import { closeSync, fstatSync, openSync, readSync, type Stats, statSync } from 'node:fs';
import { join } from 'node:path';
import type { ImageIndex } from '../archive/image-index.js';
import { DumpError, onFile } from '../errors.js';
import type { PayloadFile } from '../records.js';

/** Open at a time: a dump may have thousands of processes. */
const MAX_OPEN = 16;

/** What files were like when they were looked at first, by path. */
export type FileStates = Map<string, string>;

/** Tells a file from what it was before: other bytes in it, or another file in its place. */
export const stateOf = ({ ino, size, mtimeMs }: Stats): string => `${ino} ${size} ${mtimeMs}`;

/** Looks at files of a directory; those that have gone meanwhile are left out. */
export function lookAt(directory: string, names: readonly string[], states: FileStates): void {
  for (const name of names) {
    const path = join(directory, name);
    const stats = onFile(path, () => statSync(path, { throwIfNoEntry: false }));
    if (stats) states.set(path, stateOf(stats));
  }
}

export class FilePool {
  private readonly open = new Map<string, number>();

  /**
   * @param options states: files that must stay as they are while they are in use; index: where they are if not in
   * the directory, closed by its owner
   */
  constructor(
    readonly directory: string,
    readonly options: { states?: FileStates; index?: ImageIndex } = {},
  ) {}

  /** A descriptor of a file in the directory; the pool keeps and closes it. Of an index there is none: -1. */
  descriptor(name: string): number {
    if (this.options.index) {
      this.options.index.sizeOf(name);
      return -1;
    }
    const known = this.open.get(name);
    if (known !== undefined) return known;
    if (this.open.size >= MAX_OPEN) {
      const [oldest, fd] = this.open.entries().next().value as [string, number];
      this.open.delete(oldest);
      closeSync(fd);
    }
    const fd = onFile(name, () => openSync(join(this.directory, name), 'r'));
    this.open.set(name, fd);
    return fd;
  }

  /** Bytes of a file. */
  sizeOf(name: string): number {
    if (this.options.index) return this.options.index.sizeOf(name);
    return onFile(name, () => fstatSync(this.descriptor(name)).size);
  }

  /** Throws if a file is not as it was. One that was replaced by another name is read on as it was, while it is open. */
  private checkUnchanged(name: string, fd: number, states: FileStates): void {
    const path = join(this.directory, name);
    const state = stateOf(onFile(name, () => fstatSync(fd)));
    const before = states.get(path);
    if (before === undefined) states.set(path, state);
    else if (before !== state) {
      throw new DumpError('CHANGED', 'expected the file as it was, found it changed', { file: name });
    }
  }

  /** Reads up to `buffer.length` bytes; 0 at the end of the file. */
  readSome(name: string, buffer: Uint8Array, position: number): number {
    if (this.options.index) return this.options.index.readSome(name, buffer, position);
    const fd = this.descriptor(name);
    if (this.options.states) this.checkUnchanged(name, fd, this.options.states);
    return onFile(name, () => readSync(fd, buffer, 0, buffer.length, position), position);
  }

  /** A file to read payload from, of `size` bytes when it was looked at. */
  payload(name: string, size: number): PayloadFile {
    return {
      name,
      size,
      read: (buffer, position) => {
        for (let done = 0; done < buffer.length; ) {
          const count = this.readSome(name, buffer.subarray(done), position + done);
          if (count === 0) {
            throw new DumpError('CHANGED', `expected ${size} bytes as before, found the end of the file`, {
              file: name,
              offset: position + done,
            });
          }
          done += count;
        }
      },
    };
  }

  /** The whole of a small file; `limit` guards against one that is not small. */
  readAll(name: string, limit: number): Uint8Array {
    const size = this.sizeOf(name);
    if (size > limit) {
      throw new DumpError('LIMIT', `expected at most ${limit} bytes, found ${size}`, { file: name });
    }
    const bytes = new Uint8Array(size);
    this.payload(name, size).read(bytes, 0);
    return bytes;
  }

  close(): void {
    for (const fd of this.open.values()) closeSync(fd);
    this.open.clear();
  }
}
