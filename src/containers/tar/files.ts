/**
 * A dump in a plain archive, with random access. Its headers are read once. Its files are read in place, in one piece or in
 * several with holes between them.
 */
import { type FilePlace, readFully } from '../../bytes.js';
import { type DumpEntry, type DumpFiles, type FileStat, followLinks, missingImage } from '../../dump/files.js';
import { checkLink, OUTSIDE } from '../../dump/names.js';
import { DumpError } from '../../errors.js';
import { type RandomAccess, SequentialReader } from '../../io/random-access.js';
import { BLOCK, isTarHeader } from './block.js';
import type { SparseMap } from './extensions.js';
import { archiveHeader, dataBytes, type TarMember, TarReader } from './headers.js';
import { isMemory, MAX_COPIED_BYTES } from './links.js';
import { checkTarMember, DIRECTORY_MODE, entryKind, hardLinkPlace, nameInDump, noCopy, RootFinder } from './root.js';

/** Reads a file from a position, as {@link DumpFiles.readSome} does. */
type Read = (buffer: Uint8Array, position: number) => number;

/** `offset` is where its bytes begin in the archive, if they are in one piece. */
type TarEntry = DumpEntry & { readonly read: Read; readonly offset?: number };

export class TarFiles implements DumpFiles {
  readonly kind = 'tar';
  readonly mode = DIRECTORY_MODE;
  readonly arrival: DumpFiles['arrival'];
  private readonly byName = new Map<string, TarEntry>();
  /** How many bytes of files hard links may repeat. */
  private linkableBytes = MAX_COPIED_BYTES;

  private constructor(
    private readonly archive: RandomAccess,
    members: readonly PlacedMember[],
    root: string,
  ) {
    if (archive.arrival) this.arrival = (...args) => this.arrivalOf(...args);
    for (const member of members) {
      const name = nameInDump(member, root, archive.name);
      // Names that are not UTF-8, which are all outside, may look alike.
      const key = name.includes('\uFFFD') ? `${name}@${member.offset}` : name;
      const entry =
        member.kind === 'hard-link' && !key.startsWith(OUTSIDE)
          ? this.linked(member, key, root)
          : entryOf(member, key, archive);
      if (this.byName.has(entry.name)) {
        throw new DumpError('BAD_NAME', 'the name occurs twice', { file: entry.name });
      }
      this.byName.set(entry.name, entry);
    }
  }

  /**
   * Reads the headers of an archive, which is closed with the files.
   * @returns undefined if it is not a plain archive; then it is closed, as after an error
   * @throws {DumpError} for an archive that is damaged, or that has something that no dump can have
   */
  static async open(archive: RandomAccess): Promise<TarFiles | undefined> {
    try {
      if (!isTarHeader(await new SequentialReader(archive).exactly(BLOCK))) {
        archive.close();
        return undefined;
      }
      const members = await readHeaders(archive);
      return new TarFiles(archive, members, rootOf(members, archive.name));
    } catch (error) {
      archive.close();
      throw error;
    }
  }

  /** The same for an archive that need not have a dump: files have their names in the archive. */
  static async openAll(archive: RandomAccess): Promise<TarFiles> {
    try {
      return new TarFiles(archive, await readHeaders(archive), '');
    } catch (error) {
      archive.close();
      throw error;
    }
  }

  /** A hard link as a file of its own. Throws {@link DumpError} UNSUPPORTED for one to pages, or to much else. */
  private linked(member: TarMember, name: string, root: string): TarEntry {
    const file = this.byName.get(hardLinkPlace(member, root));
    if (file?.kind !== 'regular' || isMemory(file.name) || file.size > this.linkableBytes) {
      throw noCopy({ name, kind: 'hard-link' });
    }
    this.linkableBytes -= file.size;
    const { header, ...rest } = file;
    return { ...rest, name };
  }

  get path(): string {
    return this.archive.name;
  }

  entries(): readonly DumpEntry[] {
    return [...this.byName.values()];
  }

  stat(name: string): FileStat | undefined {
    return followLinks(this.byName, name);
  }

  readSome(name: string, buffer: Uint8Array, position: number): number {
    const entry = followLinks(this.byName, name);
    if (!entry) throw missingImage(name);
    return entry.read(buffer, position);
  }

  place(name: string): FilePlace | undefined {
    const offset = followLinks(this.byName, name)?.offset;
    const archive = offset === undefined ? undefined : this.archive.place?.();
    return archive && { fd: archive.fd, offset: archive.offset + (offset as number) };
  }

  willRead(name: string, extents: Float64Array, isAwaited?: boolean): void {
    const offset = followLinks(this.byName, name)?.offset;
    if (offset === undefined) return;
    const inArchive = extents.map((value, i) => (i % 2 === 0 ? value + offset : value));
    this.archive.willRead?.(inArchive, isAwaited);
  }

  forget(name: string, position: number, bytes: number): void {
    const offset = followLinks(this.byName, name)?.offset;
    if (offset !== undefined) this.archive.forget?.(offset + position, bytes);
  }

  private arrivalOf(name: string, position: number, bytes: number, isNeeded?: boolean): Promise<void> | undefined {
    const offset = followLinks(this.byName, name)?.offset;
    return offset === undefined ? undefined : this.archive.arrival?.(offset + position, bytes, isNeeded);
  }

  parent(): undefined {}

  close(): void {
    this.archive.close();
  }
}

function rootOf(members: readonly TarMember[], file: string): string {
  const finder = new RootFinder();
  for (const member of members) {
    const root = finder.take(member);
    if (root !== undefined) return root;
  }
  return finder.end(file);
}

/** A member, and where its header begins in the archive. */
type PlacedMember = TarMember & { headerOffset: number };

/** The headers of all members. Their blocks are read again when they are needed, because there may be many. */
async function readHeaders(archive: RandomAccess): Promise<PlacedMember[]> {
  const source = new SequentialReader(archive);
  const tar = new TarReader(source, archive.name);
  const members: PlacedMember[] = [];
  for (let headerOffset = 0; ; headerOffset = source.offset) {
    const member = await tar.next();
    if (!member) return members;
    checkTarMember(member, archive.name);
    members.push({ ...member, headerOffset, header: NO_BYTES });
    const end = source.offset + dataBytes(member);
    if (end > archive.size) {
      throw new DumpError(
        'TRUNCATED',
        `expected ${end - archive.size} more bytes of a file, found the end of the archive`,
        { file: archive.name, offset: archive.size },
      );
    }
    source.offset = end;
    await tar.skipPadding(member.storedBytes);
  }
}

const NO_BYTES = new Uint8Array(0);

function entryOf(member: PlacedMember, name: string, archive: RandomAccess): TarEntry {
  const { mode, size, target, sparse, offset, headerOffset } = member;
  const isOutside = name.startsWith(OUTSIDE);
  const kind = entryKind(member);
  const blocks = () => readExactly(archive, headerOffset, offset - headerOffset);
  // Outside the dump a file stays as it is stored.
  const bytes = isOutside ? dataBytes(member) : kind === 'regular' ? size : 0;
  if (kind === 'link' && !isOutside) checkLink(name, target ?? '');
  return {
    name,
    kind,
    mode,
    size: bytes,
    header: archiveHeader(member, blocks),
    ...(kind === 'link' ? { target: Buffer.from(target ?? '') } : {}),
    ...(sparse && !isOutside
      ? { read: sparseRead(archive, offset, sparse) }
      : { read: plainRead(archive, offset, bytes), offset }),
  };
}

function readExactly(archive: RandomAccess, position: number, count: number): Uint8Array {
  const bytes = new Uint8Array(count);
  const done = readFully((buffer, at) => archive.readSome(buffer, at), bytes, position);
  if (done === count) return bytes;
  throw new DumpError('CHANGED', 'the archive has become shorter', { file: archive.name, offset: position + done });
}

/** A file in one piece. */
const plainRead =
  (archive: RandomAccess, offset: number, size: number): Read =>
  (buffer, position) => {
    const count = Math.min(buffer.length, size - position);
    return count > 0 ? archive.readSome(buffer.subarray(0, count), offset + position) : 0;
  };

/** A file with holes. A read ends where a hole begins or ends; the next call continues there. */
function sparseRead(archive: RandomAccess, offset: number, { extents, size }: SparseMap): Read {
  const count = extents.length / 2;
  const starts = new Float64Array(count);
  const ends = new Float64Array(count);
  const offsets = new Float64Array(count);
  let at = offset;
  for (let i = 0; i < count; i++) {
    starts[i] = extents[2 * i] as number;
    ends[i] = (starts[i] as number) + (extents[2 * i + 1] as number);
    offsets[i] = at;
    at += extents[2 * i + 1] as number;
  }
  return (buffer, position) => {
    if (position >= size) return 0;
    const next = firstAbove(ends, position);
    const start = starts[next] ?? size;
    const isHole = position < start;
    const part = buffer.subarray(0, (isHole ? start : (ends[next] as number)) - position);
    if (!isHole) return archive.readSome(part, (offsets[next] as number) + position - start);
    part.fill(0);
    return part.length;
  };
}

/** Index of the first element above a value, in ascending ones. */
function firstAbove(ascending: Float64Array, value: number): number {
  let low = 0;
  let high = ascending.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if ((ascending[middle] as number) > value) high = middle;
    else low = middle + 1;
  }
  return low;
}
