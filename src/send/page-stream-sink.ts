/** Records as a page stream into a stream of Node. */
import type { Writable } from 'node:stream';
import { finished, pipeline } from 'node:stream/promises';
import { type Compression, compressor } from '../archive/compression.js';
import type { RecordSink } from '../pump.js';
import type { DumpRecord, ExtentsRecord } from '../records.js';
import { PageStreamEncoder } from '../stream/encoder.js';
import { ExtentReader, PIPE_PIECE_BYTES } from '../stream/extents.js';

/** Small pieces are gathered into blocks of this size. */
const BLOCK_BYTES = 128 * 1024;
/** Bytes that the stream has and has not passed on: with fewer it would run dry before it asks for more. */
const MAX_IN_FLIGHT_BYTES = 1024 * 1024;

export class PageStreamSink implements RecordSink {
  private readonly extents = new ExtentReader(PIPE_PIECE_BYTES);
  private readonly encoder = new PageStreamEncoder((bytes) => this.gather(bytes));
  private block = Buffer.allocUnsafeSlow(BLOCK_BYTES);
  private filled = 0;
  private inFlight = 0;
  private wake: (() => void) | undefined;
  /** What is written to: the compressor, or the stream itself. */
  private readonly first: Writable;
  private readonly closed: Promise<void>;

  /** @param progress told of the bytes of each piece of payload */
  constructor(
    private readonly out: Writable,
    compression: Compression | undefined,
    private readonly progress?: (bytes: number) => void,
  ) {
    if (compression) {
      const first = compressor(compression);
      this.first = first;
      this.closed = pipeline(first, out);
    } else {
      this.first = out;
      this.closed = finished(out, { readable: false });
    }
    // Met by whoever writes next, or waits for the end.
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
    this.out.destroy(new Error('the dump ends here, and not at its end'));
  }

  private async writeExtents(pieces: Iterable<Uint8Array>): Promise<void> {
    for (const bytes of pieces) {
      const full = this.encode({ type: 'bytes', bytes });
      if (full) await full;
    }
  }

  /** A promise if the stream wants to be waited for. */
  private encode(record: Exclude<DumpRecord, ExtentsRecord>): void | Promise<void> {
    this.encoder.write(record);
    if (record.type === 'bytes') this.progress?.(record.bytes.length);
    if (this.first.destroyed) return this.closed;
    if (this.inFlight >= MAX_IN_FLIGHT_BYTES) return this.room();
  }

  /** Resolves when half of what is in flight has gone, or when the stream is closed. */
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

  /** Hands on what was gathered; the stream keeps it. */
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
