/** Reads the payload of extents, in pieces, into one buffer that stays in the processor's cache. */
import type { ExtentsRecord, PayloadFile } from './records.js';

/** For copies from file to file. 64 KiB to 256 KiB are equally fast; 1 MiB does not fit the processor's cache. */
export const FILE_PIECE_BYTES = 128 * 1024;
/** For copies into a pipe, which holds 64 KiB: the writer fills it while the reader empties it. */
export const PIPE_PIECE_BYTES = 64 * 1024;

/** Extents are copied in portions of this many bytes, and signals are handled between two portions. */
const PORTION_BYTES = 8 * 1024 * 1024;

/** One range of a file, in bytes. */
export const extentOf = (file: PayloadFile, position: number, bytes: number): ExtentsRecord => ({
  type: 'extents',
  file,
  extents: Float64Array.of(position, bytes),
});

/** Cuts a record into records of at most {@link PORTION_BYTES}. */
export function* portions({ file, extents }: ExtentsRecord): Generator<ExtentsRecord> {
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

  constructor(pieceBytes: number) {
    this.buffer = new Uint8Array(pieceBytes);
  }

  /** The bytes of all extents. Each piece is overwritten by the next; small extents share one. */
  *read({ file, extents }: ExtentsRecord): Generator<Uint8Array> {
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
}
