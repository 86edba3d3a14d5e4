/**
 * Limits of a whole archive. A few KiB of compressed data may be millions of headers, and some memory is kept for each.
 *
 * docs/archives.md has the limits.
 */
import { MAX_NAME_BYTES } from '../../dump/names.js';
import { DumpError } from '../../errors.js';

/** Extensions of one member, with their headers: names and attributes. */
export const MAX_EXTENSION_BYTES = 1024 * 1024;

/** A dump of 20,000 processes has fewer images. */
const MAX_MEMBERS = 250_000;

/** Of all names and link targets together, in UTF-16 units. */
const MAX_NAMES_LENGTH = 32 * 1024 * 1024;

/** Pieces of all sparse files together. */
export const MAX_EXTENTS = 1_000_000;

/** Bytes of the holes of all sparse files together. */
export const MAX_HOLES_BYTES = 1024 ** 4;

export class ArchiveLimits {
  private members = 0;
  private namesLength = 0;
  private extents = 0;
  private holesBytes = 0;

  /** @param file for errors */
  constructor(private readonly file: string) {}

  /** Throws {@link DumpError} BAD_NAME for a name or target that is too long, LIMIT for too many. */
  addMember(name: string, target: string | undefined, offset: number): void {
    this.checkName(name.length, offset);
    this.checkName(target?.length ?? 0, offset);
    this.members++;
    if (this.members > MAX_MEMBERS) throw this.excess(`${MAX_MEMBERS} files`, offset);
    this.namesLength += name.length + (target?.length ?? 0);
    if (this.namesLength > MAX_NAMES_LENGTH) throw this.excess(`${MAX_NAMES_LENGTH} bytes of names`, offset);
  }

  /** Throws {@link DumpError} BAD_NAME */
  checkName(length: number, offset: number): void {
    if (length <= MAX_NAME_BYTES) return;
    throw new DumpError('BAD_NAME', `expected a name of at most ${MAX_NAME_BYTES} bytes, found ${length}`, {
      file: this.file,
      offset,
    });
  }

  /** Throws {@link DumpError} LIMIT. */
  addExtents(count: number, offset: number): void {
    this.extents += count;
    if (this.extents > MAX_EXTENTS) throw this.excess(`${MAX_EXTENTS} pieces of sparse files`, offset);
  }

  /** Throws {@link DumpError} LIMIT. */
  addHoles(bytes: number, offset: number): void {
    this.holesBytes += bytes;
    if (this.holesBytes > MAX_HOLES_BYTES) throw this.excess(`${MAX_HOLES_BYTES} bytes of holes`, offset);
  }

  private excess(what: string, offset: number): DumpError {
    return new DumpError('LIMIT', `expected at most ${what} in an archive, found more`, { file: this.file, offset });
  }
}
