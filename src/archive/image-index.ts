/**
 * The images of a dump by name, where they are in no directory, for commands that look here and there. In a plain archive
 * each is read where it stands; what can only be read from front to back is held.
 */
import { posix } from 'node:path';
import { DumpError, invariant, systemError } from '../errors.js';
import { type DumpRecord, isPagesName, linkStaysInside } from '../records.js';
import { type HoldOptions, holdMembers, holdRecords } from './held-images.js';
import type { IndexedMember, IndexParts } from './indexed-members.js';
import type { MemberSource } from './members.js';
import { tarImages } from './tar-images.js';

/** Links that lead to links; the kernel has the same limit. */
const MAX_LINKS = 40;

export class ImageIndex {
  /** Files, links and folders of the dump by name, in the order in which they came. */
  readonly members: ReadonlyMap<string, IndexedMember>;
  /** Bytes, where the source says so: a page stream does. */
  readonly pageSize: number | undefined;
  /** Regular files, also by the names of links that lead to them. */
  private readonly files = new Map<string, IndexedMember>();

  /**
   * @param path of the source, for errors
   * @param parts closed with the index
   */
  constructor(
    readonly path: string,
    private readonly parts: IndexParts,
  ) {
    this.members = parts.members;
    this.pageSize = parts.pageSize;
    for (const name of this.members.keys()) {
      const file = this.follow(name);
      if (file) this.files.set(name, file);
    }
  }

  /** Of a plain archive; undefined if the file is none. Throws {@link DumpError} for one that is damaged. */
  static async ofTar(path: string): Promise<ImageIndex | undefined> {
    const parts = await tarImages(path);
    return parts && new ImageIndex(path, parts);
  }

  /** Of files that come one after the other, or in turn. Throws {@link DumpError} as they do, and BAD_NAME, LIMIT, SYSTEM. */
  static async ofMembers(path: string, members: MemberSource, options: HoldOptions): Promise<ImageIndex> {
    return new ImageIndex(path, await holdMembers(members, options));
  }

  /** Of a page stream. Throws {@link DumpError} as the stream does, and STREAM_DAMAGED, BAD_NAME, LIMIT, SYSTEM. */
  static async ofRecords(
    path: string,
    stream: AsyncIterable<Iterable<DumpRecord>>,
    options: HoldOptions,
  ): Promise<ImageIndex> {
    return new ImageIndex(path, await holdRecords(stream, options));
  }

  /** Names of regular files, and of links that lead to one. */
  get names(): string[] {
    return [...this.files.keys()];
  }

  /** Bytes of a file. Throws {@link DumpError} SYSTEM, as a directory would, if there is none. */
  sizeOf(name: string): number {
    return this.fileOf(name).size;
  }

  /**
   * Reads up to `buffer.length` bytes; 0 at the end of the file. Pages that were only counted must not be asked for.
   * @throws {DumpError} CHANGED, if an archive is not what it was
   */
  readSome(name: string, buffer: Uint8Array, position: number): number {
    const { bytes } = this.fileOf(name);
    if (bytes) return bytes.readSome(buffer, position);
    invariant(!isPagesName(name), 'pages that were only counted are not read');
    throw new DumpError('UNSUPPORTED', 'expected an image, found a link to what is not held', { file: name });
  }

  close(): void {
    this.parts.close();
  }

  private fileOf(name: string): IndexedMember {
    const file = this.files.get(name);
    if (file) return file;
    throw systemError(Object.assign(new Error('no such image'), { code: 'ENOENT', syscall: 'open' }), name);
  }

  /** The regular file that a name leads to. */
  private follow(name: string): IndexedMember | undefined {
    let at = name;
    for (let links = 0; links <= MAX_LINKS; links++) {
      const member = this.members.get(at);
      if (member?.kind !== 'link') return member?.kind === 'regular' ? member : undefined;
      const target = Buffer.from(member.target ?? []).toString();
      if (!linkStaysInside(at, target)) return undefined;
      at = posix.normalize(posix.join(posix.dirname(at), target));
    }
    return undefined;
  }
}
