/**
 * The files of a dump with random access. All code that looks into a dump uses this interface, and so does not depend on the
 * container. A directory and a plain archive implement it, and so does a dump that arrived and was held. Links are followed,
 * but only inside the dump.
 */
import { type FilePlace, readFully } from '../bytes.js';
import { DumpError } from '../errors.js';
import { isPagesName, linkPlace } from './names.js';
import type { ArchiveHeader, PayloadFile } from './records.js';

/** A file, link or folder of a dump. */
export interface DumpEntry {
  /** Relative to the dump, `/` between components; `../` before the name of a file outside the dump in its archive. */
  readonly name: string;
  readonly kind: 'regular' | 'link' | 'directory';
  /** Permission bits. */
  readonly mode: number;
  /** Bytes of a regular file; 0 of others. */
  readonly size: number;
  /** Target of a link, as it was read. */
  readonly target?: Uint8Array;
  /** Its header in the archive that it comes from. */
  readonly header?: ArchiveHeader;
}

/** A regular file. */
export interface FileStat {
  /** Bytes. */
  readonly size: number;
  /** Permission bits. */
  readonly mode: number;
  /** When it was written, in ms since 1970: of an object in a store. */
  readonly modifiedMs?: number;
}

/** Files that can be looked into by name. */
export interface ReadableFiles {
  /** The regular file of this name, or the one that a link leads to; undefined if there is none. */
  stat(name: string): FileStat | undefined;
  /**
   * Reads into `buffer` from a position in bytes; returns the number of bytes, 0 at the end of the file.
   * @throws {DumpError} MISSING_IMAGE, SYSTEM, or CHANGED if the file changed since it was opened
   */
  readSome(name: string, buffer: Uint8Array, position: number): number;
  /**
   * Where the bytes of a file are, if they are in one piece of a file; good until something else is read.
   * @throws {DumpError} as readSome does
   */
  place?(name: string): FilePlace | undefined;
  /** Says what of a file will be read next: position and bytes of each range, ascending. Reads of other parts may be slower. */
  willRead?(name: string, extents: Float64Array, isAwaited?: boolean): void;
  /** As that of RandomAccess, for a file. */
  forget?(name: string, position: number, bytes: number): void;
  /** As that of RandomAccess, for a file. Undefined where nothing is far away. */
  readonly arrival?:
    | ((name: string, position: number, bytes: number, isNeeded?: boolean) => Promise<void> | undefined)
    | undefined;
}

/** What a dump is in that was read from front to back. */
export interface DumpOrigin {
  readonly kind: 'tar' | 'oci' | 'stream' | 'shards';
  readonly compression?: 'gzip' | 'zstd' | undefined;
  /** Of an OCI image: its JSON. */
  readonly image?: Readonly<Record<'index' | 'manifest' | 'config', Record<string, unknown>>> | undefined;
}

/** How much of a dump has sums, as far as that is known. */
export interface SummedBlocks {
  readonly blocks: number;
  /** Files, with the number of their blocks, that have not been compared yet; reading a block compares it. */
  readonly toCompare: ReadonlyMap<string, number>;
}

export interface DumpFiles extends ReadableFiles {
  readonly kind: 'directory' | 's3' | 'tar' | 'held';
  /** Path of the directory or the container, or its s3:// name; also used in errors. */
  readonly path: string;
  /** Permission bits of the directory, or of the one that will be made of it. */
  readonly mode: number;
  /** Bytes, if the container says so, as a page stream does. */
  readonly pageSize?: number;
  /** Of a dump that was held. */
  readonly origin?: DumpOrigin;
  /** Of a dump with sums of its blocks: what is read agrees with them, and what is made of it gets new ones. */
  readonly summed?: SummedBlocks;
  /** All entries, sorted by name. Those of an archive come in its order, with the files outside the dump. */
  entries(): readonly DumpEntry[];
  /**
   * The dump that this one builds on; it is closed with this one. Only a directory can reach it, on disk or in S3.
   * @throws {DumpError} LIMIT for a chain that is too long, SYSTEM
   */
  parent(): DumpFiles | undefined;
  close(): void;
}

/** The paths of a dump and of the dumps that it builds on. */
export function dumpPlaces(files: DumpFiles): string[] {
  const places = new Set<string>();
  for (let at: DumpFiles | undefined = files; at && !places.has(at.path); at = at.parent()) places.add(at.path);
  return [...places];
}

/** Longest chain of links; the kernel has the same limit. */
const MAX_LINKS = 40;

/** Follows links among entries by name to a regular file. */
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

/** Throws {@link DumpError} MISSING_IMAGE if an image is missing, UNSUPPORTED for pages in CRaC's format. */
export function requireImage(files: Pick<ReadableFiles, 'stat'>, name: string, by?: string): FileStat {
  const stat = files.stat(name);
  if (stat) return stat;
  const compressed = name.replace(/\.img$/, '.comp.img');
  if (isPagesName(name) && files.stat(compressed)) {
    throw new DumpError('UNSUPPORTED', `expected plain pages, found ${compressed}`, {
      file: name,
      hint: 'the CRIU of CRaC has compressed these pages; make the checkpoint without compression',
    });
  }
  throw missingImage(name, by);
}

/** @param by the image that refers to it */
export const missingImage = (file: string, by?: string): DumpError =>
  new DumpError('MISSING_IMAGE', `expected this image${by ? `, named by ${by}` : ''}, found none`, { file });

/** Bytes of a file. Throws {@link DumpError} MISSING_IMAGE. */
export const sizeOf = (files: ReadableFiles, name: string): number => requireImage(files, name).size;

/** A file to read payload from. `size` is in bytes; a file that is shorter has changed. */
export const payloadFile = (files: ReadableFiles, name: string, size: number): PayloadFile =>
  new FileOfDump(files, name, size);

class FileOfDump implements PayloadFile {
  readonly isLasting = true;

  constructor(
    private readonly files: ReadableFiles,
    readonly name: string,
    readonly size: number,
  ) {}

  place(): FilePlace | undefined {
    return this.files.place?.(this.name);
  }

  willRead(extents: Float64Array, isAwaited?: boolean): void {
    this.files.willRead?.(this.name, extents, isAwaited);
  }

  arrival(position: number, bytes: number, isNeeded?: boolean): Promise<void> | undefined {
    return this.files.arrival?.(this.name, position, bytes, isNeeded);
  }

  read(buffer: Uint8Array, position: number): void {
    const done = readFully((part, at) => this.files.readSome(this.name, part, at), buffer, position);
    if (done === buffer.length) return;
    throw new DumpError('CHANGED', `expected ${this.size} bytes as before, found the end of the file`, {
      file: this.name,
      offset: position + done,
    });
  }
}

/** All bytes of a small file. Throws {@link DumpError} LIMIT if it has more than `limit` bytes. */
export function readAll(files: ReadableFiles, name: string, limit: number): Uint8Array {
  const size = sizeOf(files, name);
  if (size > limit) throw new DumpError('LIMIT', `expected at most ${limit} bytes, found ${size}`, { file: name });
  const bytes = new Uint8Array(size);
  payloadFile(files, name, size).read(bytes, 0);
  return bytes;
}

/** A file in pieces of at most `most` bytes, where it has `size` of them. Each piece overwrites the last one. */
export function* pieces(
  files: ReadableFiles,
  name: string,
  most: number,
  size = sizeOf(files, name),
): Generator<Uint8Array> {
  const piece = new Uint8Array(Math.min(most, size + 1));
  for (let position = 0; ; ) {
    const count = files.readSome(name, piece, position);
    if (count === 0) return;
    position += count;
    yield piece.subarray(0, count);
    // More was asked for than it has.
    if (position === size && count < piece.length) return;
  }
}
