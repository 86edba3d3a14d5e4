/** The files of a plain archive, read where they stand: in one piece, or in several with holes between them. */
import { closeSync, fstatSync, openSync, readSync, statSync } from 'node:fs';
import { DumpError, onFile, systemError } from '../errors.js';
import { stateOf } from '../source/files.js';
import { FileBytes } from './file-bytes.js';
import { type IndexedMember, type IndexParts, MemberMap, type StoredBytes } from './indexed-members.js';
import { BLOCK, isTarHeader, type TarMember, TarReader } from './tar.js';
import type { SparseMap } from './tar-extensions.js';
import { checkTarMember, dataBytes, isInside, rootOf } from './tar-source.js';

/**
 * Reads the headers of an archive, which stays open.
 * @returns undefined if the file is no plain archive
 * @throws {DumpError} for an archive that is damaged, or that holds what no dump can hold
 */
export async function tarImages(path: string): Promise<IndexParts | undefined> {
  // A pipe that is opened and closed again has lost its writer.
  if (!onFile(path, () => statSync(path)).isFile()) return undefined;
  const fd = onFile(path, () => openSync(path, 'r'));
  try {
    const archive = new Archive(fd, path);
    if (isTarHeader(await new FileBytes(fd, path).exactly(BLOCK))) {
      return { members: await membersOf(archive), close: () => closeSync(fd) };
    }
  } catch (error) {
    closeSync(fd);
    throw systemError(error, path);
  }
  closeSync(fd);
  return undefined;
}

/** An archive that must stay as it was when it was opened. */
class Archive {
  private readonly state: string;

  constructor(
    readonly fd: number,
    readonly path: string,
  ) {
    this.state = stateOf(fstatSync(fd));
  }

  /** Reads up to `buffer.length` bytes. Throws {@link DumpError} CHANGED. */
  readSome(buffer: Uint8Array, position: number): number {
    this.checkUnchanged();
    return onFile(this.path, () => readSync(this.fd, buffer, 0, buffer.length, position), position);
  }

  checkUnchanged(): void {
    if (stateOf(onFile(this.path, () => fstatSync(this.fd))) === this.state) return;
    throw new DumpError('CHANGED', 'expected the file as it was, found it changed', { file: this.path });
  }
}

async function membersOf(archive: Archive): Promise<MemberMap> {
  const { fd, path } = archive;
  const headers = await readHeaders(fd, path);
  archive.checkUnchanged();
  const root = rootOf(headers);
  if (root === undefined) {
    throw new DumpError('NOT_A_DUMP', 'expected a dump, found no image in the archive', { file: path });
  }
  const members = new MemberMap();
  for (const header of headers) {
    if (isInside(header, root, path)) members.add(header.name.slice(root.length), memberOf(header, archive));
  }
  return members;
}

const NO_BYTES = new Uint8Array(0);

async function readHeaders(fd: number, path: string): Promise<TarMember[]> {
  const source = new FileBytes(fd, path);
  const tar = new TarReader(source, path);
  const headers: TarMember[] = [];
  for (let header = await tar.next(); header; header = await tar.next()) {
    checkTarMember(header, path);
    // The blocks themselves are of no use here, and there may be many.
    headers.push({ ...header, header: NO_BYTES });
    source.skip(dataBytes(header));
    await tar.skipPadding(header.storedBytes);
  }
  return headers;
}

function memberOf({ kind, mode, size, target, sparse, offset }: TarMember, archive: Archive): IndexedMember {
  if (kind === 'directory') return { kind, mode, size: 0 };
  if (kind === 'link') return { kind, mode, size: 0, target: Buffer.from(target ?? '') };
  const bytes = sparse ? new SparseBytes(archive, offset, sparse) : new PlainBytes(archive, offset, size);
  return { kind: 'regular', mode, size, bytes };
}

/** A file in one piece. */
class PlainBytes implements StoredBytes {
  constructor(
    private readonly archive: Archive,
    /** In the archive, in bytes. */
    private readonly offset: number,
    private readonly size: number,
  ) {}

  readSome(buffer: Uint8Array, position: number): number {
    const count = Math.min(buffer.length, this.size - position);
    return count > 0 ? this.archive.readSome(buffer.subarray(0, count), this.offset + position) : 0;
  }
}

/** A file with holes. */
class SparseBytes implements StoredBytes {
  /** Of each extent: where it begins and ends in the file, and where it is in the archive. */
  private readonly starts: Float64Array;
  private readonly ends: Float64Array;
  private readonly offsets: Float64Array;
  private readonly size: number;

  constructor(
    private readonly archive: Archive,
    offset: number,
    { extents, size }: SparseMap,
  ) {
    const count = extents.length / 2;
    this.size = size;
    this.starts = new Float64Array(count);
    this.ends = new Float64Array(count);
    this.offsets = new Float64Array(count);
    let at = offset;
    for (let i = 0; i < count; i++) {
      const [start, bytes] = [extents[2 * i] as number, extents[2 * i + 1] as number];
      this.starts[i] = start;
      this.ends[i] = start + bytes;
      this.offsets[i] = at;
      at += bytes;
    }
  }

  /** Up to where a hole begins or ends: what is behind that is for the next call. */
  readSome(buffer: Uint8Array, position: number): number {
    if (position >= this.size) return 0;
    const next = this.firstBehind(position);
    const start = this.starts[next] ?? this.size;
    const isHole = position < start;
    const part = buffer.subarray(0, (isHole ? start : (this.ends[next] as number)) - position);
    if (!isHole) return this.archive.readSome(part, (this.offsets[next] as number) + position - start);
    part.fill(0);
    return part.length;
  }

  /** The first extent that ends behind a position. */
  private firstBehind(position: number): number {
    let low = 0;
    let high = this.ends.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if ((this.ends[middle] as number) > position) high = middle;
      else low = middle + 1;
    }
    return low;
  }
}
