/** An archive that is a file: what is large in it need not be read to pass over it, or to come to it again. */
import { fstatSync, readSync } from 'node:fs';
import { DumpError, onFile } from '../errors.js';
import type { PayloadFile } from '../records.js';

/** Read at a time. */
const BUFFER_BYTES = 64 * 1024;

export class FileBytes {
  /** Of the next byte. */
  offset = 0;
  /** The whole file, for references to parts of it. */
  readonly payload: PayloadFile;
  private readonly buffer = new Uint8Array(BUFFER_BYTES);
  /** Where in the file the buffer is from, and how much of it is filled. */
  private from = 0;
  private filled = 0;

  constructor(
    private readonly fd: number,
    private readonly name: string,
  ) {
    const { size } = onFile(name, () => fstatSync(fd));
    const read = (buffer: Uint8Array, position: number) => {
      if (this.fill(buffer, position) < buffer.length) {
        throw new DumpError('CHANGED', `expected ${size} bytes as before, found the end of the file`, { file: name });
      }
    };
    this.payload = { name, size, read };
  }

  /** Exactly `count` bytes, or fewer at the end. */
  async exactly(count: number): Promise<Uint8Array> {
    const buffered = this.buffered();
    if (buffered.length >= count) {
      this.offset += count;
      return buffered.subarray(0, count);
    }
    const bytes = new Uint8Array(count);
    const done = this.fill(bytes, this.offset);
    this.offset += done;
    return bytes.subarray(0, done);
  }

  /** What is here already of the next `most` bytes, which may be nothing. */
  atHand(most: number): Uint8Array {
    const bytes = this.buffered().subarray(0, most);
    this.offset += bytes.length;
    return bytes;
  }

  /** At least one byte and at most `most`, or none at the end: a view, overwritten by the next call. */
  async some(most: number): Promise<Uint8Array> {
    if (this.buffered().length === 0) {
      this.from = this.offset;
      this.filled = this.fill(this.buffer, this.offset);
    }
    return this.atHand(most);
  }

  /** Passes over bytes. Throws {@link DumpError} TRUNCATED if there are fewer. */
  skip(bytes: number): void {
    const left = this.payload.size - this.offset;
    if (bytes > left) {
      throw new DumpError('TRUNCATED', `expected ${bytes - left} more bytes of a file, found the end of the archive`, {
        file: this.name,
        offset: this.payload.size,
      });
    }
    this.offset += bytes;
  }

  async close(): Promise<void> {}

  private buffered(): Uint8Array {
    const at = this.offset - this.from;
    return at >= 0 && at <= this.filled ? this.buffer.subarray(at, this.filled) : this.buffer.subarray(0, 0);
  }

  private fill(bytes: Uint8Array, position: number): number {
    let done = 0;
    while (done < bytes.length) {
      const at = done;
      const count = onFile(
        this.name,
        () => readSync(this.fd, bytes, at, bytes.length - at, position + at),
        position + at,
      );
      if (count === 0) break;
      done += count;
    }
    return done;
  }
}
