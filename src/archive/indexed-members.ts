/** What an index of images is made of: the members of a dump by name, and where their bytes are. */
import { DumpError } from '../errors.js';
import { checkLink } from '../records.js';

/** Where the bytes of a file are. */
export interface StoredBytes {
  /** Fills `buffer` from a position, as far as there are bytes; returns how many: 0 at the end of the file. */
  readSome(buffer: Uint8Array, position: number): number;
}

/** A file, link or folder of a dump. */
export interface IndexedMember {
  readonly kind: 'regular' | 'link' | 'directory';
  /** Permission bits. */
  readonly mode: number;
  /** Bytes of a regular file; 0 of others. */
  readonly size: number;
  /** Of a link. */
  readonly target?: Uint8Array;
  /** Of a regular file; undefined for pages that were only counted. */
  readonly bytes?: StoredBytes | undefined;
}

export interface IndexParts {
  members: ReadonlyMap<string, IndexedMember>;
  /** Bytes, where the source says so: a page stream does. */
  pageSize?: number;
  /** Frees what the bytes are in. */
  close(): void;
}

/** Members by name, each of which stands there once. */
export class MemberMap extends Map<string, IndexedMember> {
  /** Throws {@link DumpError} BAD_NAME for a name that is there already, and for a link that leads outside. */
  add(name: string, member: IndexedMember): void {
    if (this.has(name)) throw new DumpError('BAD_NAME', 'expected each file once, found it twice', { file: name });
    if (member.kind === 'link') checkLink(name, Buffer.from(member.target ?? []).toString());
    this.set(name, member);
  }
}
