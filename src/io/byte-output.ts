/** The output for an archive or a shard: a file that appears when it is complete, or stdout; optionally compressed. */
import { once } from 'node:events';
import type { Duplex, Writable } from 'node:stream';
import { finished } from 'node:stream/promises';
import type { Emit, FilePlace } from '../bytes.js';
import { DumpError } from '../errors.js';
import { AtomicFile } from './atomic-file.js';
import { type Compression, compressor, isZstdProgram } from './compression.js';
import { descriptorName, FdWriter } from './fd.js';
import { ZstdFileOutput } from './zstd-file-output.js';
import { exitedEarly } from './zstd-program.js';

/** The output for an archive. It is complete after {@link ByteOutput.commit}, and removed by `discard`. */
export interface ByteOutput {
  write: Emit;
  /** Has the kernel copy a range of a file, if bytes go into the output as they are. Returns how many were copied. */
  copyFrom?(place: FilePlace, position: number, bytes: number): number;
  /** If the buffer is full, resolves when it takes more. */
  drain(): void | Promise<void>;
  commit(): void | Promise<void>;
  discard(): void | Promise<void>;
}

/** The output for one shard. */
export interface ShardOutput {
  write: Emit;
  /** Writes what was gathered: a reader of several shards waits for the next marker, in any of them. */
  flush(): void;
  commit(): void;
  discard(): void;
}

/** A shard, in a file or in a descriptor. */
export function openShard(place: string | number): ShardOutput {
  if (typeof place === 'string') return new AtomicFile(place);
  const writer = new FdWriter(place, `shard ${place}`);
  const flush = () => writer.flush();
  return { write: writer.write, flush, commit: flush, discard: () => {} };
}

/** Where an archive goes: a path, a descriptor that stays open, or a stream, which ends with it. */
export type BytePlace = string | number | Writable;

/** @param name of a descriptor, for errors */
export function openOutput(place: BytePlace, compression: Compression | undefined, name?: string): ByteOutput {
  if (typeof place !== 'string') return compressedOutput(plainOutput(place, name), compression);
  const file = new AtomicFile(place, { syncsMeanwhile: true });
  const packed = file.isNew && compression === 'zstd' ? zstdFile(file) : undefined;
  return packed ?? compressedOutput(fileOutput(file), compression);
}

/** An output whose bytes are compressed on their way into another one. Throws {@link DumpError} UNSUPPORTED without a zstd. */
export function compressedOutput(plain: ByteOutput, compression: Compression | undefined): ByteOutput {
  if (!compression) return plain;
  try {
    return new CompressedOutput(plain, compression);
  } catch (error) {
    plain.discard();
    throw error;
  }
}

/** Undefined if the program is not needed, or cannot write the file itself. */
function zstdFile(file: AtomicFile): ByteOutput | undefined {
  try {
    return isZstdProgram ? ZstdFileOutput.open(file) : undefined;
  } catch (error) {
    file.discard();
    throw error;
  }
}

function fileOutput(file: AtomicFile): ByteOutput {
  const { write, copyFrom } = file;
  return { write, copyFrom, drain: () => {}, commit: () => file.finish(), discard: () => file.abandon() };
}

function plainOutput(place: number | Writable, name: string | undefined): ByteOutput {
  if (typeof place === 'object') return new StreamOutput(place);
  const writer = new FdWriter(place, name ?? descriptorName(place));
  const { write, copyFrom } = writer;
  return { write, copyFrom, drain: () => {}, commit: () => writer.flush(), discard: () => {} };
}

/** A stream of Node. One that is destroyed fails the next write, or the commit. */
class StreamOutput implements ByteOutput {
  private readonly closed: Promise<void>;
  private wake: (() => void) | undefined;

  constructor(private readonly stream: Writable) {
    this.closed = finished(stream, { readable: false });
    this.closed.catch(() => {}).finally(() => this.wake?.());
    stream.on('drain', () => this.wake?.());
  }

  readonly write = (bytes: Uint8Array): void => {
    // The stream keeps it.
    if (!this.stream.destroyed) this.stream.write(bytes.slice());
  };

  drain(): void | Promise<void> {
    if (this.stream.destroyed) return this.closed;
    if (!this.stream.writableNeedDrain) return;
    return new Promise((resolve) => {
      this.wake = resolve;
    });
  }

  async commit(): Promise<void> {
    this.stream.end();
    await this.closed;
  }

  discard(): void {
    this.stream.destroy(new Error('the dump is incomplete'));
  }
}

class CompressedOutput implements ByteOutput {
  private readonly stream: Duplex;
  private readonly done: Promise<void>;
  private isFull = false;

  constructor(
    private readonly plain: ByteOutput,
    compression: Compression,
  ) {
    this.stream = compressor(compression);
    this.stream.on('error', () => {});
    this.done = this.collect();
    // The commit sees the rejection.
    this.done.catch(() => {});
  }

  private async collect(): Promise<void> {
    for await (const chunk of this.packed()) {
      this.plain.write(chunk);
      const drained = this.plain.drain();
      if (drained) await drained;
    }
  }

  /** A compressor that exits early is a failure. */
  private async *packed(): AsyncGenerator<Uint8Array> {
    try {
      yield* this.stream as AsyncIterable<Buffer>;
    } catch (cause) {
      if (cause instanceof DumpError) throw cause;
      throw exitedEarly((cause as Error).message, cause);
    }
  }

  readonly write = (bytes: Uint8Array): void => {
    // The stream keeps it.
    this.isFull = !this.stream.write(bytes.slice());
  };

  drain(): void | Promise<void> {
    if (!this.isFull) return;
    this.isFull = false;
    if (this.stream.writableNeedDrain) return this.taken();
  }

  private async taken(): Promise<void> {
    await Promise.race([once(this.stream, 'drain').catch(() => this.done), this.done]);
  }

  async commit(): Promise<void> {
    this.stream.end();
    await this.done;
    await this.plain.commit();
  }

  async discard(): Promise<void> {
    this.stream.destroy();
    await this.plain.discard();
  }
}
