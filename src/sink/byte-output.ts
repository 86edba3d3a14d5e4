/** Where an archive goes: a file that appears as a whole, or stdout; compressed on the way, if that is wanted. */
import { once } from 'node:events';
import type { Duplex } from 'node:stream';
import { type Compression, compressor } from '../archive/compression.js';
import type { Emit } from '../bytes.js';
import { FdWriter } from '../stream/fd.js';
import { AtomicFile } from './atomic-file.js';
import type { ShardOutput } from './shards.js';
import type { ByteOutput } from './tar.js';

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
  return compression ? new CompressedOutput(plain, compression) : { ...wrap(plain), drain: () => {} };
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
    // Met by whoever commits.
    this.done.catch(() => {});
  }

  private async collect(): Promise<void> {
    for await (const chunk of this.stream) this.plain.write(chunk as Buffer);
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
    await Promise.race([once(this.stream, 'drain'), this.done]);
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
