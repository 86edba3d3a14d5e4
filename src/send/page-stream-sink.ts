/** Writes records as a page stream to a stream of Node. */
import type { Writable } from 'node:stream';
import { finished } from 'node:stream/promises';
import { PageStreamEncoder } from '../containers/page-stream/encoder.js';
import { ExtentReader, PIPE_PIECE_BYTES } from '../dump/extents.js';
import type { RecordSink } from '../dump/pump.js';
import type { DumpRecord, ExtentsRecord } from '../dump/records.js';
import { type Compression, compressor } from '../io/compression.js';
import { pour } from '../io/pour.js';

/** Small pieces are gathered into blocks of this size. */
const BLOCK_BYTES = 128 * 1024;
/** Bytes that the stream may hold: with fewer it would run dry before the next ones come. */
const MAX_IN_FLIGHT_BYTES = 1024 * 1024;

export class PageStreamSink implements RecordSink {
  private readonly extents = new ExtentReader(PIPE_PIECE_BYTES);
  private readonly encoder = new PageStreamEncoder((bytes) => this.gather(bytes));
  private block = Buffer.allocUnsafeSlow(BLOCK_BYTES);
  private filled = 0;
  private inFlight = 0;
  private wake: (() => void) | undefined;
  /** The compressor, or the stream itself. */
  private readonly first: Writable;
  private readonly closed: Promise<void>;

  /** @param progress called with the size of each piece of payload, in bytes */
  constructor(
    private readonly out: Writable,
    compression: Compression | undefined,
    private readonly progress?: (bytes: number) => void,
  ) {
    if (compression) {
      const first = compressor(compression);
      this.first = first;
      this.closed = pour(first, out);
    } else {
      this.first = out;
      this.closed = finished(out, { readable: false });
    }
    // The next write, or finish(), sees the rejection.
    this.closed.catch(() => {}).finally(() => this.wake?.());
  }

  write(record: DumpRecord): void | Promise<void> {
    return record.type === 'extents' ? this.writeExtents(this.extents.read(record)) : this.encode(record);
  }

  async finish(): Promise<void> {
    this.pass();
    this.first.end();
    await this.closed;
  }

  discard(): void {
    this.first.destroy();
    this.out.destroy(new Error('the dump is incomplete'));
  }

  private async writeExtents(pieces: Iterable<Uint8Array>): Promise<void> {
    for (const bytes of pieces) {
      const full = this.encode({ type: 'bytes', bytes });
      if (full) await full;
    }
  }

  /** Returns a promise if the stream holds enough. */
  private encode(record: Exclude<DumpRecord, ExtentsRecord>): void | Promise<void> {
    this.encoder.write(record);
    if (record.type === 'bytes') this.progress?.(record.bytes.length);
    if (this.first.destroyed) return this.closed;
    if (this.inFlight >= MAX_IN_FLIGHT_BYTES) return this.room();
  }

  /** Resolves when the stream has passed on half of what it holds, or is closed. */
  private room(): Promise<void> {
    return new Promise((resolve) => {
      this.wake = resolve;
    });
  }

  private gather(bytes: Uint8Array): void {
    for (let at = 0; at < bytes.length; ) {
      const count = Math.min(bytes.length - at, BLOCK_BYTES - this.filled);
      this.block.set(bytes.subarray(at, at + count), this.filled);
      this.filled += count;
      at += count;
      if (this.filled === BLOCK_BYTES) this.pass();
    }
  }

  /** Passes on the block, which is the stream's from now on. */
  private pass(): void {
    if (this.filled === 0) return;
    const bytes = this.filled;
    this.inFlight += bytes;
    this.first.write(this.block.subarray(0, bytes), () => {
      this.inFlight -= bytes;
      if (this.inFlight <= MAX_IN_FLIGHT_BYTES / 2) this.wake?.();
    });
    this.block = Buffer.allocUnsafeSlow(BLOCK_BYTES);
    this.filled = 0;
  }
}
