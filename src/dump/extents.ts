/**
 * Reads the payload of extents, in pieces, into one buffer that stays in the processor's cache. An output that is a file may
 * have the kernel copy large extents instead.
 */
import { scratch } from '../bytes.js';
import { LOAD_AFTER_BYTES } from '../io/linux.js';
import type { ExtentsRecord, FilePlace, PayloadFile } from './records.js';

/** For copies from file to file. 64 KiB to 256 KiB are equally fast; 1 MiB does not fit the processor's cache. */
export const FILE_PIECE_BYTES = 128 * 1024;
/** For copies into a pipe, which holds 64 KiB: the writer fills it while the reader empties it. */
export const PIPE_PIECE_BYTES = 64 * 1024;

/** Smaller extents are read, because pieces of several go into one write. */
const KERNEL_BYTES = 256 * 1024;

/**
 * Copies a range of a file to the end of an output.
 * @param position in bytes, from where the file begins in its place
 * @returns bytes copied, fewer than asked for if the kernel does not copy them
 */
export type CopyRange = (place: FilePlace, position: number, bytes: number) => number;

/** Extents are copied in portions of this many bytes, and signals are handled between two portions. */
const PORTION_BYTES = 8 * 1024 * 1024;

/** Smaller extents are copied into a pipe: a system call for each would cost more. */
const SPLICED_BYTES = 64 * 1024;

/** Where the file of extents is, if all of them are worth moving into a pipe by the kernel. */
export const spliceable = ({ file, extents }: ExtentsRecord): FilePlace | undefined =>
  extents.every((bytes, i) => i % 2 === 0 || bytes >= SPLICED_BYTES) ? file.place?.() : undefined;

/** One range of a file, in bytes. */
export const extentOf = (file: PayloadFile, position: number, bytes: number): ExtentsRecord => ({
  type: 'extents',
  file,
  extents: Float64Array.of(position, bytes),
});

/** Cuts a record into records of at most {@link PORTION_BYTES}. The file is told what will be read. */
export function portions(record: ExtentsRecord): Iterable<ExtentsRecord> {
  record.file.willRead?.(record.extents);
  return isOneOf(record.extents, PORTION_BYTES) ? [record] : cut(record);
}

/** Whether it is one extent of at most so many bytes, as of most files: these are read without a generator. */
const isOneOf = ({ length, 1: bytes = 0 }: Float64Array, most: number): boolean =>
  length === 2 && bytes > 0 && bytes <= most;

function* cut({ file, extents }: ExtentsRecord): Generator<ExtentsRecord> {
  let portion: number[] = [];
  let free = PORTION_BYTES;
  for (let i = 0; i < extents.length; i += 2) {
    let position = extents[i] as number;
    for (let left = extents[i + 1] as number; left > 0; ) {
      const count = Math.min(left, free);
      portion.push(position, count);
      position += count;
      left -= count;
      free -= count;
      if (free > 0) continue;
      yield { type: 'extents', file, extents: Float64Array.from(portion) };
      portion = [];
      free = PORTION_BYTES;
    }
  }
  if (portion.length > 0) yield { type: 'extents', file, extents: Float64Array.from(portion) };
}

export class ExtentReader {
  private readonly buffer: Uint8Array;
  /** Of extents that could be copied: system calls are worth loading only for many. */
  private payloadBytes = 0;

  constructor(pieceBytes: number) {
    this.buffer = scratch(pieceBytes);
  }

  /** Says how many bytes the dump has. */
  expect(bytes: number): void {
    this.payloadBytes = bytes;
  }

  /** The bytes of all extents but those that `copy` copies, between the bytes before and after them. */
  readOrCopy(record: ExtentsRecord, copy: CopyRange): Iterable<Uint8Array> {
    return this.isLarge(record.extents) ? this.copyOrRead(record, copy) : this.read(record);
  }

  private *copyOrRead({ file, extents }: ExtentsRecord, copy: CopyRange): Generator<Uint8Array> {
    for (let i = 0; i < extents.length; i += 2) {
      const [position, bytes] = [extents[i] as number, extents[i + 1] as number];
      const place = bytes >= KERNEL_BYTES ? file.place?.() : undefined;
      const copied = place ? copy(place, position, bytes) : 0;
      if (copied < bytes) yield* this.read(extentOf(file, position + copied, bytes - copied));
    }
  }

  private isLarge(extents: Float64Array): boolean {
    let isLarge = false;
    for (let i = 1; i < extents.length; i += 2) {
      const bytes = extents[i] as number;
      isLarge ||= bytes >= KERNEL_BYTES;
      this.payloadBytes += bytes;
    }
    return isLarge && this.payloadBytes >= LOAD_AFTER_BYTES;
  }

  /** The bytes of all extents. Each piece is overwritten by the next; small extents share one. */
  read(record: ExtentsRecord): Iterable<Uint8Array> {
    const { file, extents } = record;
    if (!isOneOf(extents, this.buffer.length)) return this.readAll(record);
    const piece = this.buffer.subarray(0, extents[1]);
    file.read(piece, extents[0] as number);
    return [piece];
  }

  private *readAll({ file, extents }: ExtentsRecord): Generator<Uint8Array> {
    let filled = 0;
    for (let i = 0; i < extents.length; i += 2) {
      let position = extents[i] as number;
      let left = extents[i + 1] as number;
      while (left > 0) {
        const count = Math.min(left, this.buffer.length - filled);
        file.read(this.buffer.subarray(filled, filled + count), position);
        filled += count;
        position += count;
        left -= count;
        if (filled === this.buffer.length) {
          yield this.buffer;
          filled = 0;
        }
      }
    }
    if (filled > 0) yield this.buffer.subarray(0, filled);
  }

  /** The same, each with its position in the file. None has bytes of two extents. */
  *readPlaced({ file, extents }: ExtentsRecord): Generator<{ bytes: Uint8Array; position: number }> {
    for (let i = 0; i < extents.length; i += 2) {
      let position = extents[i] as number;
      for (const bytes of this.read(extentOf(file, position, extents[i + 1] as number))) {
        yield { bytes, position };
        position += bytes.length;
      }
    }
  }
}
