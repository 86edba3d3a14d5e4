/** Where an archive or a shard goes: a file that appears as a whole, or stdout; compressed on the way, if that is wanted. */
import { once } from 'node:events';
import type { Duplex } from 'node:stream';
import type { Emit } from '../bytes.js';
import { DumpError } from '../errors.js';
import { AtomicFile } from './atomic-file.js';
import { type Compression, compressor } from './compression.js';
import { FdWriter } from './fd.js';

/** The output of an archive: complete with {@link ByteOutput.commit}, or gone. */
export interface ByteOutput {
  write: Emit;
  /** Where it has more to write than it can hold: resolves when it takes more. */
  drain(): void | Promise<void>;
  commit(): void | Promise<void>;
  discard(): void | Promise<void>;
}

/** Where one shard goes. */
export interface ShardOutput {
  write: Emit;
  /** Passes on what was gathered: who reads several shards waits for the next marker, in whichever it is. */
  flush(): void;
  commit(): void;
  discard(): void;
}

/** A shard, in a file or in a descriptor. */
export function openShard(place: string | number, stdoutFd: number): ShardOutput {
  if (typeof place === 'string' && place !== '-') return new AtomicFile(place);
  const writer = new FdWriter(place === '-' ? stdoutFd : (place as number), `shard ${place}`);
  const flush = () => writer.flush();
  return { write: writer.write, flush, commit: flush, discard: () => {} };
}

interface Plain {
  write: Emit;
  commit(): void;
  discard(): void;
}

/** @param path `-` for stdout */
export function openOutput(path: string, stdoutFd: number, compression: Compression | undefined): ByteOutput {
  const plain = path === '-' ? stdoutOutput(stdoutFd) : new AtomicFile(path);
  return compression ? compressed(plain, compression) : { ...wrap(plain), drain: () => {} };
}

const wrap = (plain: Plain) => ({
  write: plain.write,
  commit: () => plain.commit(),
  discard: () => plain.discard(),
});

function stdoutOutput(fd: number): Plain {
  const writer = new FdWriter(fd);
  return { write: writer.write, commit: () => writer.flush(), discard: () => {} };
}

function compressed(plain: Plain, compression: Compression): ByteOutput {
  try {
    return new CompressedOutput(plain, compression);
  } catch (error) {
    plain.discard();
    throw error;
  }
}

class CompressedOutput implements ByteOutput {
  private readonly stream: Duplex;
  private readonly done: Promise<void>;
  private isFull = false;

  constructor(
    private readonly plain: Plain,
    compression: Compression,
  ) {
    this.stream = compressor(compression);
    this.stream.on('error', () => {});
    this.done = this.collect();
    // The commit sees the rejection.
    this.done.catch(() => {});
  }

  private async collect(): Promise<void> {
    for await (const chunk of this.packed()) this.plain.write(chunk);
  }

  /** A compressor that is gone is a failure, and no reader of ours that has seen enough (EPIPE). */
  private async *packed(): AsyncGenerator<Uint8Array> {
    try {
      yield* this.stream as AsyncIterable<Buffer>;
    } catch (cause) {
      if (cause instanceof DumpError) throw cause;
      throw new DumpError('SYSTEM', `the compressor exited early: ${(cause as Error).message}`, {
        cause,
      });
    }
  }

  readonly write = (bytes: Uint8Array): void => {
    // The stream holds on to it.
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
    this.plain.commit();
  }

  discard(): void {
    this.stream.destroy();
    this.plain.discard();
  }
}
