/** The page stream as a source and a sink of records, over descriptors and over Node's and stream-chain's streams. */
import { Readable, Writable } from 'node:stream';
import { flushable, many, none } from 'stream-chain';
import type { FilePlace } from '../../bytes.js';
import { ExtentReader, extentOf, PIPE_PIECE_BYTES, spliceable } from '../../dump/extents.js';
import { batchesOf, type RecordSink, type RecordSource } from '../../dump/pump.js';
import type { BytesRecord, DumpRecord, ExtentsRecord } from '../../dump/records.js';
import { FdReader, FdWriter } from '../../io/fd.js';
import { enlargePipe, type Linux, LOAD_AFTER_BYTES, linux } from '../../io/linux.js';
import { withoutOutside } from '../../stages/drop-files.js';
import { PageStreamDecoder } from './decoder.js';
import { PageStreamEncoder } from './encoder.js';

/** Records of the page stream from a descriptor, for `pump`. Throws {@link DumpError} unless the stream is complete. */
export async function* readPageStream(fd: number, signal?: AbortSignal): AsyncGenerator<Iterable<DumpRecord>> {
  const decoder = new PageStreamDecoder('stdin');
  let inPages = false;
  /** A chunk ends with a frame of pages, and with the header after it. So the others are whole pages, which are written as they are. */
  const most = (): number => {
    const due = decoder.pagesDue;
    const limit = due > 0 || inPages ? decoder.lackingBytes : Number.POSITIVE_INFINITY;
    inPages = due > 0;
    return limit;
  };
  for await (const chunk of new FdReader(fd, signal, 'stdin', { isAlone: true }).chunks(most))
    yield decoder.push(chunk);
  decoder.end();
}

/**
 * The same from chunks, each of which may be overwritten when the next is asked for.
 * @param name for errors
 */
export async function* decodeChunks(
  chunks: AsyncIterable<Uint8Array>,
  name: string,
): AsyncGenerator<Iterable<DumpRecord>> {
  const decoder = new PageStreamDecoder(name);
  for await (const chunk of chunks) yield decoder.push(chunk);
  decoder.end();
}

/** The same, but reads no further than the end of the stream: something else may follow. */
export async function* decodeFromConnection(
  chunks: AsyncIterable<Uint8Array>,
  name: string,
): AsyncGenerator<Iterable<DumpRecord>> {
  const decoder = new PageStreamDecoder(name);
  for await (const chunk of chunks) {
    yield decoder.push(chunk);
    if (decoder.isComplete) return;
  }
  decoder.end();
}

/** For a pipe that was enlarged. It holds four of them, and one fits the processor's cache. */
const LARGE_PIECE_BYTES = 256 * 1024;

/** Writes records to a descriptor as a page stream. */
export class StreamSink implements RecordSink {
  private readonly writer: FdWriter;
  private readonly encoder: PageStreamEncoder;
  private extents = new ExtentReader(PIPE_PIECE_BYTES);
  private payloadBytes = 0;
  /** Present once there is much payload. */
  private system: Linux | undefined;
  private isEnlarged = false;

  /** @param progress called with the size of each piece of payload, in bytes */
  constructor(
    private readonly fd: number,
    private readonly progress?: (bytes: number) => void,
  ) {
    this.writer = new FdWriter(fd);
    this.encoder = new PageStreamEncoder(this.writer.write);
  }

  write(record: DumpRecord): void {
    if (record.type === 'extents') {
      if (record.file.spliceTo && this.encoder.passesPayload) this.splice(record);
      else this.read(record);
    } else if (record.type === 'bytes') {
      this.payload(record);
    } else {
      this.encoder.write(record);
    }
  }

  finish(): void {
    this.writer.flush();
  }

  /** What was sent cannot be undone. Its reader knows that it is incomplete, because the end is missing. */
  discard(): void {}

  /** Payload that is read here for its checksum. Large extents of a file then go into the pipe without a copy. */
  private read(record: ExtentsRecord): void {
    const place = this.system && spliceable(record);
    if (!place) {
      for (const bytes of this.extents.read(record)) this.payload({ type: 'bytes', bytes });
      return;
    }
    for (const { bytes, position } of this.extents.readPlaced(record)) {
      this.spliceRead(bytes, place, position);
      this.moved(bytes.length);
    }
  }

  /** Puts bytes of a file into the pipe without copying them. A file that has changed meanwhile does not match its checksum. */
  private spliceRead(read: Uint8Array, { fd, offset }: FilePlace, position: number): void {
    this.encoder.passRead(read, (from, bytes) => {
      this.writer.flush();
      let done = 0;
      while (this.system && done < bytes) {
        const count = this.system.spliceFrom(fd, offset + position + from + done, this.fd, bytes - done);
        if (count > 0) done += count;
        else this.system = undefined;
      }
      if (done < bytes) this.writer.write(read.subarray(from + done, from + bytes));
    });
  }

  /** Payload from pipe to pipe. What the kernel does not move is read. */
  private splice({ file, extents }: ExtentsRecord): void {
    for (let i = 0; i < extents.length; i += 2) {
      const start = extents[i] as number;
      this.encoder.pass(extents[i + 1] as number, (position, bytes) => {
        this.writer.flush();
        const from = start + position;
        const moved = file.spliceTo?.(this.fd, from, bytes) ?? 0;
        for (const piece of this.extents.read(extentOf(file, from + moved, bytes - moved))) this.writer.write(piece);
        this.moved(bytes);
      });
    }
  }

  private payload(record: BytesRecord): void {
    this.encoder.write(record);
    this.moved(record.bytes.length);
  }

  private moved(bytes: number): void {
    this.payloadBytes += bytes;
    if (this.payloadBytes >= LOAD_AFTER_BYTES && !this.isEnlarged) {
      this.isEnlarged = true;
      enlargePipe(this.fd);
      this.system = linux();
      if (this.system) this.extents = new ExtentReader(LARGE_PIECE_BYTES);
    }
    this.progress?.(bytes);
  }
}

/**
 * Records as the beginning of a pipeline of Node's or stream-chain's streams. Bytes are copied, since a pipeline reads ahead;
 * payload that is referred to is not read here.
 */
export const sourceStream = (source: RecordSource): Readable =>
  Readable.from(ownRecords(source), { objectMode: true, highWaterMark: 1 });

/** The page stream of a dump as a stream of bytes; `Readable.toWeb()` makes a Web stream of it. */
export const pageStream = (source: RecordSource): Readable => Readable.from(encoded(source), { objectMode: false });

async function* ownRecords(source: RecordSource): AsyncGenerator<DumpRecord> {
  for await (const batch of batchesOf(source)) {
    for (const record of batch) {
      yield record.type === 'bytes' ? { type: 'bytes', bytes: record.bytes.slice() } : record;
    }
  }
}

async function* encoded(source: RecordSource): AsyncGenerator<Uint8Array> {
  const inside = withoutOutside();
  const encode = encodePageStream();
  for await (const record of ownRecords(source)) if (inside(record) !== none) yield* encode(record);
}

/** A sink as the end of a pipeline of Node's or stream-chain's streams; a pipeline that fails discards it. */
export function sinkStream(sink: RecordSink): Writable {
  const settle = async (action: () => void | Promise<void>, callback: (error?: Error | null) => void) => {
    try {
      await action();
      callback();
    } catch (error) {
      callback(error as Error);
    }
  };
  let finished = false;
  return new Writable({
    objectMode: true,
    // Records may be large, and they are not copied.
    highWaterMark: 1,
    write: (record: DumpRecord, _, callback) => void settle(() => sink.write(record), callback),
    final: (callback) =>
      void settle(async () => {
        await sink.finish();
        finished = true;
      }, callback),
    destroy: (error, callback) =>
      void settle(async () => {
        if (!finished) await sink.discard();
        if (error) throw error;
      }, callback),
  });
}

/**
 * A stage for stream-chain: chunks of a page stream in, records out.
 * @throws {DumpError} in the chain, also at the end of a stream that was cut
 */
export function decodePageStream() {
  const decoder = new PageStreamDecoder('stream');
  return flushable(
    (chunk: Uint8Array) => many([...decoder.push(chunk)]),
    () => {
      decoder.end();
      return many<DumpRecord>([]);
    },
  );
}

/** A stage for stream-chain: records in, chunks of a page stream out, ready for any byte stream. */
export function encodePageStream() {
  let out: Uint8Array[] = [];
  const encoder = new PageStreamEncoder((bytes) => out.push(bytes));
  const extents = new ExtentReader(PIPE_PIECE_BYTES);
  return function* encodeRecord(record: DumpRecord): Generator<Uint8Array> {
    if (record.type === 'extents') {
      for (const bytes of extents.read(record)) {
        // Later streams may keep it past the next piece.
        encoder.write({ type: 'bytes', bytes: bytes.slice() });
        yield* out;
        out = [];
      }
      return;
    }
    encoder.write(record);
    yield* out;
    out = [];
  };
}
