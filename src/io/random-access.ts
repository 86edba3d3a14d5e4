/** Bytes that can be read at any position: a file, or anything that behaves like one. */
import { closeSync, fstatSync, readSync, statSync } from 'node:fs';
import { type FilePlace, readFully, scratch } from '../bytes.js';
import { onFile } from '../errors.js';
import { checkUnchanged, openRegular, stateOf } from './open-files.js';

export interface RandomAccess {
  /** For errors. */
  readonly name: string;
  /** Bytes. */
  readonly size: number;
  /**
   * Reads into `buffer` from a position; returns the number of bytes, 0 at the end.
   * @throws {DumpError} CHANGED if the file has changed since it was opened, SYSTEM
   */
  readSome(buffer: Uint8Array, position: number): number;
  /** Where the bytes are, if in a file. Throws as readSome does. */
  place?(): FilePlace;
  /**
   * Says what will be read next: position and bytes of each range, ascending. For what is far away.
   * @param isAwaited whether somebody waits for it, so that time counts more than bytes
   */
  willRead?(extents: Float64Array, isAwaited?: boolean): void;
  /** Of what is far away: bytes that have come are wrong, so they are fetched again when they are read again. */
  forget?(position: number, bytes: number): void;
  /**
   * Of what is far away: has bytes come, without waiting for them.
   * @param isNeeded with false it only looks whether they are here
   * @returns undefined if they are here, so that reading them takes no time; else what is fulfilled when it is worth asking again
   */
  arrival?(position: number, bytes: number, isNeeded?: boolean): Promise<void> | undefined;
  close(): void;
}

/** A regular file, which must not change while it is open; undefined for a pipe and the like, which is not touched. */
export function openRandomAccess(path: string): RandomAccess | undefined {
  // Opening and closing a pipe would end its writer.
  if (!onFile(path, () => statSync(path)).isFile()) return undefined;
  const fd = openRegular(path, path);
  try {
    const stats = onFile(path, () => fstatSync(fd));
    const state = stateOf(stats);
    return {
      name: path,
      size: stats.size,
      readSome(buffer, position) {
        checkUnchanged(fd, state, path);
        return onFile(path, () => readSync(fd, buffer, 0, buffer.length, position), position);
      },
      place() {
        checkUnchanged(fd, state, path);
        return { fd, offset: 0 };
      },
      close: () => closeSync(fd),
    };
  } catch (error) {
    closeSync(fd);
    throw error;
  }
}

/** Bytes per read. */
const BUFFER_BYTES = 64 * 1024;

/** Reads in sequence; skipped bytes are not read. */
export class SequentialReader {
  /** Offset of the next byte. */
  offset = 0;
  private readonly buffer = scratch(BUFFER_BYTES);
  /** Offset of the buffer, and its filled bytes. */
  private from = 0;
  private filled = 0;

  constructor(private readonly bytes: RandomAccess) {}

  /** Exactly `count` bytes, or fewer at the end. */
  async exactly(count: number): Promise<Uint8Array> {
    const ready = this.buffered();
    if (ready.length >= count) {
      this.offset += count;
      return ready.subarray(0, count);
    }
    const bytes = new Uint8Array(Math.max(0, Math.min(count, this.bytes.size - this.offset)));
    this.offset += this.fill(bytes, this.offset);
    return bytes;
  }

  /** At least one byte and at most `most`, or none at the end: a view, overwritten by the next call. */
  async some(most: number): Promise<Uint8Array> {
    if (this.buffered().length === 0) {
      this.from = this.offset;
      this.filled = this.fill(this.buffer, this.offset);
    }
    const bytes = this.buffered().subarray(0, most);
    this.offset += bytes.length;
    return bytes;
  }

  private buffered(): Uint8Array {
    const at = this.offset - this.from;
    return at >= 0 && at <= this.filled ? this.buffer.subarray(at, this.filled) : this.buffer.subarray(0, 0);
  }

  private fill(bytes: Uint8Array, position: number): number {
    return readFully((buffer, at) => this.bytes.readSome(buffer, at), bytes, position);
  }
}
