/** The dump on the connection of `pagepipe send`: a page stream, as it is or compressed. */
import type { Duplex } from 'node:stream';
import type { FilePlace } from '../bytes.js';
import { PageStreamEncoder } from '../containers/page-stream/encoder.js';
import { ExtentReader, FILE_PIECE_BYTES, spliceable } from '../dump/extents.js';
import type { RecordSink } from '../dump/pump.js';
import type { DumpRecord, ExtentsRecord } from '../dump/records.js';
import { Breather } from '../io/breathe.js';
import type { Compression } from '../io/compression.js';
import { PipeConnection } from '../io/pipe-connection.js';
import { inChunks } from './chunks.js';
import { PageStreamSink } from './page-stream-sink.js';

/** Smaller pieces are gathered before they are written. */
const GATHER_BYTES = 4 * 1024;

/**
 * Writes records to a connection, which stays open.
 * @param connection reports a write as done when it needs the bytes no longer
 * @param progress called with the size of each piece of payload, in bytes
 */
export const connectionSink = (
  connection: Duplex,
  compression: Compression | undefined,
  progress?: (bytes: number) => void,
): RecordSink =>
  compression ? new PageStreamSink(inChunks(connection), compression, progress) : new PlainSink(connection, progress);

/**
 * Payload is written from the buffer that it was read into. So each record waits until the kernel has it. Into a pipe it goes
 * at once, large extents of a file without a copy.
 */
class PlainSink implements RecordSink {
  private readonly extents = new ExtentReader(FILE_PIECE_BYTES);
  private readonly encoder = new PageStreamEncoder((bytes) => this.put(bytes));
  private readonly breather = new Breather();
  private readonly pipe: PipeConnection | undefined;
  private gathered = Buffer.allocUnsafeSlow(GATHER_BYTES);
  private gatheredBytes = 0;
  /** Writes that are not done. */
  private pending = 0;
  private settle: { resolve(): void; reject(error: Error): void } | undefined;

  constructor(
    private readonly connection: Duplex,
    private readonly progress?: (bytes: number) => void,
  ) {
    if (connection instanceof PipeConnection) this.pipe = connection;
  }

  write(record: DumpRecord): void | Promise<void> {
    return record.type === 'extents' ? this.writeExtents(record) : this.encode(record);
  }

  finish(): void | Promise<void> {
    this.flush();
    return this.written();
  }

  discard(): void {
    this.connection.destroy();
  }

  private async writeExtents(record: ExtentsRecord): Promise<void> {
    const place = this.pipe && spliceable(record);
    if (place) {
      for (const { bytes, position } of this.extents.readPlaced(record)) {
        await (this.splice(bytes, place, position) ?? this.breather.due());
      }
    } else {
      for (const bytes of this.extents.read(record)) {
        await (this.encode({ type: 'bytes', bytes }) ?? this.breather.due());
      }
    }
  }

  /** Payload that was read for its checksum. A file that has changed meanwhile does not match it. */
  private splice(read: Uint8Array, place: FilePlace, position: number): void | Promise<void> {
    this.encoder.passRead(read, (from, bytes) => {
      this.flush();
      const done = this.pipe?.spliceSoon(place, position + from, bytes) ?? 0;
      this.pass(read.subarray(from + done, from + bytes));
    });
    this.progress?.(read.length);
    return this.written();
  }

  private encode(record: Exclude<DumpRecord, ExtentsRecord>): void | Promise<void> {
    this.encoder.write(record);
    if (record.type === 'bytes') this.progress?.(record.bytes.length);
    return this.written();
  }

  /** A promise if some bytes are still needed. */
  private written(): void | Promise<void> {
    if (this.pending === 0) return;
    return new Promise((resolve, reject) => {
      this.settle = { resolve, reject };
    });
  }

  private put(bytes: Uint8Array): void {
    if (this.gatheredBytes + bytes.length > GATHER_BYTES) this.flush();
    if (bytes.length > GATHER_BYTES) {
      this.pass(bytes);
    } else {
      this.gathered.set(bytes, this.gatheredBytes);
      this.gatheredBytes += bytes.length;
    }
  }

  private flush(): void {
    if (this.gatheredBytes === 0) return;
    this.pass(this.gathered.subarray(0, this.gatheredBytes));
    this.gathered = Buffer.allocUnsafeSlow(GATHER_BYTES);
    this.gatheredBytes = 0;
  }

  private pass(bytes: Uint8Array): void {
    const done = this.pipe?.writeSoon(bytes) ?? 0;
    if (done === bytes.length) return;
    this.pending++;
    this.connection.write(bytes.subarray(done), this.done);
  }

  private readonly done = (error?: Error | null): void => {
    this.pending--;
    if (error) this.settle?.reject(error);
    else if (this.pending === 0) this.settle?.resolve();
  };
}
