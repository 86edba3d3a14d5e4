/** Images that are needed while others arrive. They are kept in memory. */
import { concatBytes } from '../bytes.js';
import type { FileStat, ReadableFiles } from '../dump/files.js';
import { isTaskImage } from '../dump/names.js';
import { DumpError } from '../errors.js';

/** Limit on the bytes of one image. */
const MAX_IMAGE_BYTES = 256 * 1024 * 1024;

/** Whether an image of this name is kept: those of tasks and their areas, and the one that says which segments are memfds. */
export const isMetadataName = (name: string): boolean => isTaskImage(name) || name === 'memfd.img';

export class MetadataCache implements ReadableFiles {
  private readonly arriving = new Map<string, { pieces: Uint8Array[]; bytes: number }>();
  private readonly complete = new Map<string, Uint8Array>();
  /** Of all files that were noted. */
  readonly names = new Set<string>();

  /** Notes that a file exists. */
  note(name: string): void {
    this.names.add(name);
  }

  /** Whether all of an image has arrived. */
  has(name: string): boolean {
    return this.complete.has(name);
  }

  /** The bytes of an image; none if it has not arrived. */
  read(name: string): Uint8Array {
    return this.complete.get(name) ?? new Uint8Array(0);
  }

  stat(name: string): FileStat | undefined {
    if (!this.names.has(name) && !this.has(name)) return undefined;
    return { size: this.read(name).length, mode: 0 };
  }

  readSome(name: string, buffer: Uint8Array, position: number): number {
    const part = this.read(name).subarray(position, position + buffer.length);
    buffer.set(part);
    return part.length;
  }

  /** Copies the next bytes of an image. Throws {@link DumpError} LIMIT. */
  push(name: string, bytes: Uint8Array): void {
    const image = this.arriving.get(name) ?? { pieces: [], bytes: 0 };
    this.arriving.set(name, image);
    image.bytes += bytes.length;
    if (image.bytes > MAX_IMAGE_BYTES) {
      throw new DumpError('LIMIT', `expected an image of at most ${MAX_IMAGE_BYTES} bytes, found more`, { file: name });
    }
    image.pieces.push(bytes.slice());
  }

  /** Called after the last bytes of an image. */
  end(name: string): void {
    this.complete.set(name, concatBytes(this.arriving.get(name)?.pieces ?? []));
    this.arriving.delete(name);
  }
}
