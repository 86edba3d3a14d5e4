/**
 * Looks for matches in pages that come one piece after the other. Pieces that follow each other are put together, with as much
 * of the last ones as a match may have, so a match is found once wherever the pieces end. Memory is constant.
 */
import { type Matcher, View } from './matcher.js';

/** Pages without bytes, or pages that do not follow the last ones, are a border: no match goes across. */
export interface ScannedPiece {
  /** Address / page size. */
  pageNumber: number;
  pages: number;
  bytes?: Uint8Array;
}

/** A match with what is around it, until the next one is asked for. */
export interface FoundBytes {
  /** Page that it begins in, and bytes into that page. */
  pageNumber: number;
  pageOffset: number;
  /** The match with the bytes around it, of which it is those from `start` to `end`. */
  bytes: Buffer;
  start: number;
  end: number;
}

export interface ScanOptions {
  /** Bytes. */
  pageSize: number;
  /** Bytes before and after a match, as far as they are there. */
  context?: number;
  /** No match begins in so many bytes at the start, which are fewer than those that are looked at together. */
  skip?: number;
  /** Bytes that are looked at together. */
  viewBytes?: number;
}

/** Small enough for the cache of a processor, and for V8 to make a string of it where it makes those that do not last. */
const VIEW_BYTES = 96 * 1024;

/** The matches in pieces, in order and without overlap. */
export function* scan(
  pieces: Iterable<ScannedPiece>,
  matcher: Matcher,
  { pageSize, context = 0, skip = 0, viewBytes = VIEW_BYTES }: ScanOptions,
): Generator<FoundBytes> {
  const extent = new Extent(matcher, pageSize, context, viewBytes);
  let skipped = skip;
  for (const { pageNumber, pages, bytes } of pieces) {
    if (!bytes || pageNumber !== extent.nextPage) {
      yield* extent.drain(true);
      extent.begin(pageNumber, skipped);
      skipped = 0;
    }
    if (!bytes) continue;
    for (let taken = 0; taken < bytes.length; ) {
      taken += extent.fill(bytes, taken);
      if (extent.isFull) yield* extent.drain(false);
    }
    extent.nextPage = pageNumber + pages;
  }
  yield* extent.drain(true);
}

/** Memory without gaps, of which a part is in a buffer. */
class Extent {
  nextPage = -1;
  private firstPage = 0;
  private readonly buffer: Buffer;
  private length = 0;
  /** Bytes of the extent before the buffer. */
  private passed = 0;
  /** Where in the buffer the next match may begin. */
  private next = 0;
  /** Bytes before that which must stay, and which must follow the last match of a view. */
  private readonly around: number;

  constructor(
    private readonly matcher: Matcher,
    private readonly pageSize: number,
    private readonly context: number,
    viewBytes: number,
  ) {
    this.around = Math.max(1, context);
    this.buffer = Buffer.allocUnsafe(viewBytes + matcher.reach + 2 * this.around);
  }

  get isFull(): boolean {
    return this.length === this.buffer.length;
  }

  begin(pageNumber: number, next: number): void {
    this.firstPage = pageNumber;
    this.length = 0;
    this.passed = 0;
    this.next = next;
  }

  /** Takes bytes from a position on, as many as there is room for; returns how many. */
  fill(bytes: Uint8Array, from: number): number {
    const part = bytes.subarray(from, from + this.buffer.length - this.length);
    this.buffer.set(part, this.length);
    this.length += part.length;
    return part.length;
  }

  /** The matches that begin where enough is known of what follows. */
  *drain(isEnd: boolean): Generator<FoundBytes> {
    const { matcher, length, around } = this;
    if (length === 0) return;
    const view = new View(this.buffer.subarray(0, length), isEnd);
    const last = isEnd ? length - 1 : length - matcher.reach - around;
    for (let match = matcher.next(view, this.next, last); match; match = matcher.next(view, this.next, last)) {
      this.next = match.end;
      yield this.found(match.start, match.end);
    }
    if (isEnd) return;
    this.next = Math.max(this.next, last + 1);
    const gone = Math.max(0, this.next - around);
    this.buffer.copyWithin(0, gone, length);
    this.length -= gone;
    this.passed += gone;
    this.next -= gone;
  }

  private found(start: number, end: number): FoundBytes {
    const { pageSize, context } = this;
    const from = Math.max(0, start - context);
    const offset = this.passed + start;
    return {
      pageNumber: this.firstPage + Math.floor(offset / pageSize),
      pageOffset: offset % pageSize,
      bytes: this.buffer.subarray(from, Math.min(this.length, end + context)),
      start: start - from,
      end: end - from,
    };
  }
}
