/** Places the payload of runs in their pages file: zeros come before payload that is aligned to a page. */
import type { ExtentsRecord } from '../dump/records.js';
import { invariant } from '../errors.js';
import { PagesLayout } from '../memory/pages-layout.js';
import type { RunBatch } from '../memory/runs.js';

export class PagesPlacer {
  private readonly layout: PagesLayout;
  private readonly zeros: Uint8Array;
  /** Bytes of the file so far. */
  private written = 0;
  /** The places for the payload of the current runs, and how much of the first one is still free. */
  private places: Float64Array = new Float64Array(0);
  private next = 0;
  private left = 0;

  /**
   * @param pageSize bytes
   * @param pad writes bytes to the file, before the next piece of payload
   */
  constructor(
    pageSize: number,
    private readonly pad: (bytes: Uint8Array) => void,
  ) {
    this.layout = new PagesLayout(pageSize);
    this.zeros = new Uint8Array(pageSize);
  }

  /** Bytes of the file, if there are no more runs than those so far. */
  get size(): number {
    return this.layout.end;
  }

  /** Begins with the payload of the next runs. */
  start(runs: RunBatch): void {
    this.places = this.layout.place(runs);
    this.next = 0;
    this.left = 0;
  }

  /** Pieces of the next payload. Each must be in the file before the next one is asked for. */
  *bytes(bytes: Uint8Array): Generator<Uint8Array> {
    for (let at = 0; at < bytes.length; ) {
      const count = this.take(bytes.length - at);
      yield bytes.subarray(at, at + count);
      at += count;
    }
  }

  /** The same for payload by reference. */
  *extents({ file, extents }: ExtentsRecord): Generator<ExtentsRecord> {
    let piece: number[] = [];
    for (let i = 0; i < extents.length; i += 2) {
      let position = extents[i] as number;
      for (let rest = extents[i + 1] as number; rest > 0; ) {
        if (this.left === 0 && piece.length > 0) {
          yield { type: 'extents', file, extents: Float64Array.from(piece) };
          piece = [];
        }
        const count = this.take(rest);
        piece.push(position, count);
        position += count;
        rest -= count;
      }
    }
    if (piece.length > 0) yield { type: 'extents', file, extents: Float64Array.from(piece) };
  }

  /** Called after the last payload: runs without payload may end the file with padding. */
  end(): void {
    this.padTo(this.size);
  }

  /** Bytes that may be written now, at most `most`. */
  private take(most: number): number {
    if (this.left === 0) {
      invariant(this.next < this.places.length, 'no more payload than the runs have');
      this.padTo(this.places[this.next] as number);
      this.left = this.places[this.next + 1] as number;
      this.next += 2;
    }
    const count = Math.min(most, this.left);
    this.left -= count;
    this.written += count;
    return count;
  }

  private padTo(position: number): void {
    const count = position - this.written;
    if (count > 0) this.pad(this.zeros.subarray(0, count));
    this.written = position;
  }
}
