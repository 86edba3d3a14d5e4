/**
 * The files of a dump, open to random access: the one shape in which everything looks into a dump. A directory has it, and
 * a plain archive; what can only be read from front to back has it when it was held. Links are followed inside the dump.
 */
import { DumpError } from '../errors.js';
import { linkPlace } from './names.js';
import type { ArchiveHeader, PayloadFile } from './records.js';

/** A file, link or folder of a dump. */
export interface DumpEntry {
  /** Relative to the dump, `/` between components; `../` before what is next to the dump in its archive. */
  readonly name: string;
  readonly kind: 'regular' | 'link' | 'directory';
  /** Permission bits. */
  readonly mode: number;
  /** Bytes of a regular file; 0 of others. */
  readonly size: number;
  /** Of a link, as it was read. */
  readonly target?: Uint8Array;
  /** In the archive that it comes from. */
  readonly header?: ArchiveHeader;
}

/** A regular file. */
export interface FileStat {
  /** Bytes. */
  readonly size: number;
  /** Permission bits. */
  readonly mode: number;
}

/** Files that can be looked into by name. */
export interface ReadableFiles {
  /** The regular file that a name is, or that it leads to; undefined if there is none. */
  stat(name: string): FileStat | undefined;
  /**
   * Fills `buffer` from a position in bytes, as far as there are bytes; returns how many: 0 at the end of the file.
   * @throws {DumpError} MISSING_IMAGE, SYSTEM; CHANGED where the files must stay as they were
   */
  readSome(name: string, buffer: Uint8Array, position: number): number;
}

export interface DumpFiles extends ReadableFiles {
  readonly kind: 'directory' | 'tar' | 'held';
  /** Of the directory, or of what the files are in; for errors, too. */
  readonly path: string;
  /** Permission bits of the directory that it is, or becomes. */
  readonly mode: number;
  /** Bytes, where the container says so: a page stream does. */
  readonly pageSize?: number;
  /** All that is in the dump: an archive's in its order, with what is next to the dump; others by name. */
  entries(): readonly DumpEntry[];
  /**
   * The dump that this one builds on, closed with it. Only a directory has one in reach.
   * @throws {DumpError} LIMIT for a chain that is too long, SYSTEM
   */
  parent(): DumpFiles | undefined;
  close(): void;
}

/** A dump and those that it builds on, as far as they are in reach. */
export function dumpPlaces(files: DumpFiles): string[] {
  const places = new Set<string>();
  for (let at: DumpFiles | undefined = files; at && !places.has(at.path); at = at.parent()) places.add(at.path);
  return [...places];
}

/** Links that lead to links; the kernel has the same limit. */
const MAX_LINKS = 40;

/** The regular file that a name leads to, among entries by name. */
export function followLinks<E extends DumpEntry>(entries: ReadonlyMap<string, E>, name: string): E | undefined {
  let at: string | undefined = name;
  for (let links = 0; links <= MAX_LINKS && at !== undefined; links++) {
    const entry: E | undefined = entries.get(at);
    if (entry?.kind !== 'link') return entry?.kind === 'regular' ? entry : undefined;
    const isLink = (place: string) => entries.get(place)?.kind === 'link';
    at = linkPlace(at, Buffer.from(entry.target ?? []).toString(), isLink);
  }
  return undefined;
}

/** Throws {@link DumpError} MISSING_IMAGE if an image is not there. */
export function requireImage(files: Pick<ReadableFiles, 'stat'>, name: string, by?: string): FileStat {
  const stat = files.stat(name);
  if (stat) return stat;
  throw missingImage(name, by);
}

/** @param by the image that names it */
export const missingImage = (file: string, by?: string): DumpError =>
  new DumpError('MISSING_IMAGE', `expected this image${by ? `, named by ${by}` : ''}, found none`, { file });

/** Bytes of a file. Throws {@link DumpError} MISSING_IMAGE. */
export const sizeOf = (files: ReadableFiles, name: string): number => requireImage(files, name).size;

/** A file to read payload from, of `size` bytes when it was looked at. */
export function payloadFile(files: ReadableFiles, name: string, size: number): PayloadFile {
  return {
    name,
    size,
    isLasting: true,
    read: (buffer, position) => {
      for (let done = 0; done < buffer.length; ) {
        const count = files.readSome(name, buffer.subarray(done), position + done);
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

/** The whole of a small file; `limit` in bytes guards against one that is not small. Throws {@link DumpError} LIMIT. */
export function readAll(files: ReadableFiles, name: string, limit: number): Uint8Array {
  const size = sizeOf(files, name);
  if (size > limit) throw new DumpError('LIMIT', `expected at most ${limit} bytes, found ${size}`, { file: name });
  const bytes = new Uint8Array(size);
  payloadFile(files, name, size).read(bytes, 0);
  return bytes;
}

/** A file in pieces of at most `most` bytes, each of which overwrites the last. */
export function* pieces(files: ReadableFiles, name: string, most: number): Generator<Uint8Array> {
  const piece = new Uint8Array(Math.min(most, sizeOf(files, name) + 1));
  for (let position = 0; ; ) {
    const count = files.readSome(name, piece, position);
    if (count === 0) return;
    position += count;
    yield piece.subarray(0, count);
  }
}
