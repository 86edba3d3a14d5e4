/**
 * The dumps in a folder and the folders in it, sorted, one at a time. Little is read: names, sizes, and the first bytes of
 * files; of a plain archive also its last blocks. A folder with images is a dump, and nothing in it is looked for. Links are
 * not followed, and names that begin with a dot are left out: so are directories that are still being written.
 */
import {
  closeSync,
  constants,
  type Dirent,
  fstatSync,
  lstatSync,
  opendirSync,
  openSync,
  readSync,
  statSync,
} from 'node:fs';
import { join } from 'node:path';
import { INDEX, LAYOUT } from '../containers/oci/layout.js';
import { BLOCK } from '../containers/tar/block.js';
import { INVENTORY, isImageName, isOriginalName, MIGRATION, UNDELIVERED } from '../dump/names.js';
import { DumpError, isErrno, onFile, systemError, systemReason } from '../errors.js';
import type { Compression } from '../io/compression.js';
import { kindOfFile, START_BYTES } from './start.js';

export interface FoundDump {
  path: string;
  kind: 'directory' | 'tar' | 'oci' | 'stream' | 'shards';
  compression: Compression | null;
  /** Of its files. */
  bytes: number;
  /** When it was written, in milliseconds since 1970: of a directory, when its inventory was. */
  timeMs: number;
  /** Null where it could be told only by reading all of it. */
  complete: boolean | null;
}

/** Files and folders that are looked at. What holds more is named by a folder further down. */
export const MAX_NAMES = 1_000_000;
/** Of folders in folders. */
export const MAX_DEPTH = 64;

/**
 * @param place a folder, or a dump itself; it may be a link
 * @param unread told of what could not be looked at, and why
 * @throws {DumpError} SYSTEM if it is not there, NOT_A_DUMP for a file that is none, LIMIT for too many names
 */
export async function* findDumps(
  place: string,
  unread: (path: string, why: string) => void,
  maxNames = MAX_NAMES,
): AsyncGenerator<FoundDump> {
  if (onFile(place, () => statSync(place)).isDirectory()) {
    yield* new Finder(unread, maxNames, place).folder(place, 0);
    return;
  }
  const found = await fileAt(place, constants.O_RDONLY);
  if (!found) throw new DumpError('NOT_A_DUMP', 'expected a folder or a dump, found something else', { file: place });
  yield found;
}

class Finder {
  private names = 0;

  constructor(
    private readonly unread: (path: string, why: string) => void,
    private readonly maxNames: number,
    private readonly place: string,
  ) {}

  async *folder(path: string, depth: number): AsyncGenerator<FoundDump> {
    const entries = this.attempt(path, () => this.entriesOf(path));
    if (!entries) return;
    const names = new Set(entries.map(({ name }) => name));
    const isLayout = names.has(LAYOUT) && names.has(INDEX);
    if (isLayout || entries.some(({ name }) => isImageName(name) || isOriginalName(name))) {
      const found = this.attempt(path, () => this.dumpAt(path, names, isLayout));
      if (found) yield found;
      return;
    }
    for (const entry of entries) {
      const inside = join(path, entry.name);
      if (entry.name.startsWith('.')) continue;
      if (entry.name.includes('\uFFFD')) this.unread(inside, 'its name is not UTF-8');
      else if (entry.isDirectory() && depth === MAX_DEPTH) this.unread(inside, 'it is too deep in folders');
      else if (entry.isDirectory()) yield* this.folder(inside, depth + 1);
      else if (entry.isFile()) {
        const found = await this.file(inside);
        if (found) yield found;
      }
    }
  }

  private dumpAt(path: string, names: ReadonlySet<string>, isLayout: boolean): FoundDump {
    const inventory = names.has(INVENTORY) ? lstatSync(join(path, INVENTORY)) : undefined;
    const isCold = [...names].some(isOriginalName);
    const isWhole =
      (isLayout || isCold || (inventory?.size ?? 0) > 0) && !names.has(UNDELIVERED) && !names.has(MIGRATION);
    return {
      path,
      kind: isLayout ? 'oci' : 'directory',
      compression: null,
      bytes: this.bytesIn(path, 0),
      timeMs: (inventory ?? lstatSync(path)).mtimeMs,
      complete: isWhole,
    };
  }

  /** Bytes of all files in a folder and those in it. */
  private bytesIn(path: string, depth: number): number {
    let bytes = 0;
    for (const entry of this.entriesOf(path)) {
      if (entry.isFile()) bytes += lstatSync(join(path, entry.name)).size;
      else if (entry.isDirectory() && depth < MAX_DEPTH) bytes += this.bytesIn(join(path, entry.name), depth + 1);
    }
    return bytes;
  }

  private async file(path: string): Promise<FoundDump | undefined> {
    try {
      return await fileAt(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
    } catch (error) {
      this.failed(path, error);
      return undefined;
    }
  }

  /** What is in a folder, sorted by name. Throws {@link DumpError} LIMIT. */
  private entriesOf(path: string): Dirent[] {
    const entries: Dirent[] = [];
    const folder = opendirSync(path, { bufferSize: 256 });
    try {
      for (let entry = folder.readSync(); entry; entry = folder.readSync()) {
        if (++this.names > this.maxNames) {
          throw new DumpError('LIMIT', `expected at most ${this.maxNames} files and folders, found more`, {
            file: this.place,
            hint: 'name the folders in it one by one',
          });
        }
        entries.push(entry);
      }
    } finally {
      folder.closeSync();
    }
    return entries.sort((a, b) => (a.name < b.name ? -1 : 1));
  }

  private attempt<T>(path: string, action: () => T): T | undefined {
    try {
      return action();
    } catch (error) {
      this.failed(path, error);
      return undefined;
    }
  }

  /** What is gone by now is none of the dumps. Others are worth a warning. */
  private failed(path: string, error: unknown): void {
    const cause = error instanceof DumpError && error.code === 'SYSTEM' ? error.cause : error;
    if (isErrno(cause, 'ENOENT') || isErrno(cause, 'ELOOP')) return;
    if (!isErrno(cause) && !(error instanceof DumpError && error.code === 'UNSUPPORTED')) throw error;
    this.unread(path, isErrno(cause) ? systemReason(cause) : (error as DumpError).message);
  }
}

/** The dump in a file; undefined if there is none. */
async function fileAt(path: string, flags: number): Promise<FoundDump | undefined> {
  let fd: number | undefined;
  try {
    fd = openSync(path, flags);
    const stats = fstatSync(fd);
    if (!stats.isFile() || stats.size === 0) return undefined;
    const start = Buffer.alloc(Math.min(START_BYTES, stats.size));
    const found = await kindOfFile(start.subarray(0, readSync(fd, start, 0, start.length, 0)));
    if (!found) return undefined;
    const isPlainArchive = (found.kind === 'tar' || found.kind === 'oci') && found.compression === null;
    const complete = isPlainArchive ? hasEnd(fd, stats.size) : null;
    return { path, ...found, bytes: stats.size, timeMs: stats.mtimeMs, complete };
  } catch (error) {
    throw systemError(error, path);
  } finally {
    if (fd !== undefined) closeSync(fd);
  }
}

/** Whether the last two blocks of an archive are zeros. */
function hasEnd(fd: number, size: number): boolean {
  const end = Buffer.alloc(2 * BLOCK, 1);
  if (size % BLOCK !== 0 || size < end.length) return false;
  return readSync(fd, end, 0, end.length, size - end.length) === end.length && end.every((byte) => byte === 0);
}
