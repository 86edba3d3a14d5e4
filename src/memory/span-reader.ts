/**
 * The bytes of spans of pages, one span after the other. All are in one buffer, which is reused. Pages of many short runs
 * follow each other in their pages file, so a read takes those of the next runs with it, as long as the spans do follow.
 */
import { type PayloadFile, scratch } from '../bytes.js';
import type { AddressSpace, StoredAt } from './space.js';

/** A span, as far as its bytes are concerned. */
interface StoredSpan {
  pageNumber: number;
  pages: number;
  at?: StoredAt;
}

/** A piece is at most so many bytes, unless the caller says otherwise. */
export const PIECE_BYTES = 1024 * 1024;

export class SpanReader {
  private buffer = scratch(0);
  /** What is in the buffer: plain bytes of this file, from `start` to `end`. */
  private file: PayloadFile | undefined;
  private start = 0;
  private end = 0;

  /** @param pageSize bytes */
  constructor(private readonly pageSize: number) {}

  /**
   * A span in pieces with their bytes, which the next piece overwrites.
   * @param space decodes the blocks of compressed pages
   * @param options pieceBytes: a piece has no more, but at least a page; readsAhead: whether the next spans are wanted, too
   */
  *read<Span extends StoredSpan>(
    span: Span,
    space: AddressSpace,
    { pieceBytes, readsAhead }: { pieceBytes: number; readsAhead: boolean },
  ): Generator<Span & { bytes: Uint8Array }> {
    const { at } = span;
    const { pageSize } = this;
    const most = Math.max(1, Math.floor(pieceBytes / pageSize)) * pageSize;
    for (let done = 0; at && done < span.pages; ) {
      const pageNumber = span.pageNumber + done;
      const left = (span.pages - done) * pageSize;
      const bytes = at.compressed
        ? this.decoded(space, pageNumber, at, Math.min(left, most))
        : this.plain(at.file, at.position + (pageNumber - at.firstPage) * pageSize, { left, most, readsAhead });
      const pages = bytes.length / pageSize;
      yield { ...span, pageNumber, pages, bytes };
      done += pages;
    }
  }

  private decoded(space: AddressSpace, pageNumber: number, at: StoredAt, length: number): Uint8Array {
    this.file = undefined;
    const bytes = this.room(length);
    space.fill(bytes, pageNumber, at);
    return bytes;
  }

  /** Whole pages from a position on: at least one, and no more than are left or a piece may have. */
  private plain(
    file: PayloadFile,
    position: number,
    { left, most, readsAhead }: { left: number; most: number; readsAhead: boolean },
  ): Uint8Array {
    const { pageSize } = this;
    const isHere = file === this.file && position >= this.start && position + pageSize <= this.end;
    if (!isHere) {
      // As long as the reader goes on where it was, it reads more and more beyond what is asked for.
      const ahead = readsAhead && file === this.file && position === this.end ? 2 * (this.end - this.start) : 0;
      const length = Math.min(most, Math.max(left, Math.min(ahead, file.size - position)));
      this.file = undefined;
      file.read(this.room(length), position);
      this.file = file;
      this.start = position;
      this.end = position + length;
    }
    const from = position - this.start;
    const here = Math.floor((this.end - position) / pageSize) * pageSize;
    return this.buffer.subarray(from, from + Math.min(here, left, most));
  }

  private room(bytes: number): Uint8Array {
    if (this.buffer.length < bytes) this.buffer = scratch(bytes);
    return this.buffer.subarray(0, bytes);
  }
}
