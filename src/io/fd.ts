/**
 * Pipes at full rate. This folder reads and writes files and pipes by plain read(2) and write(2). Node's
 * streams allocate a buffer for every 64 KiB and go through the event loop for it. One buffer that stays in the cache makes a
 * chain of five processes two to three times as fast (docs/benchmarks.md). Streams are used only where Node offers nothing
 * else: for sockets and compression.
 */
import { closeSync, constants, fstatSync, openSync, readSync, writeSync, writevSync } from 'node:fs';
import { Socket } from 'node:net';
import { type FilePlace, scratch } from '../bytes.js';
import { isErrno, onFile, systemError } from '../errors.js';
import { Breather } from './breathe.js';
import { enlargePipe, type Linux, LOAD_AFTER_BYTES, linux } from './linux.js';

/** Default capacity of a Linux pipe: a read returns no more. */
const PIPE_BYTES = 64 * 1024;
/** Bytes per read from a file. */
const FILE_BYTES = 256 * 1024;
/** Smaller pieces are gathered before they are written: few, since the reader of a pipe waits for them. */
const GATHER_BYTES = 4 * 1024;

/**
 * How often an empty pipe is read again before waiting in the event loop. A read takes some 10 µs, about as long as the
 * writer needs to fill the pipe. Any sleep takes longer.
 */
const SPINS = 6;

/**
 * How long a wait for a pipe may block the event loop, in ms, where system calls are available. A writer that is at work puts
 * something there earlier. Unlike the read of an empty pipe, such a wait throws nothing.
 */
export const MAX_WAIT_MS = 20;

export interface FdReaderOptions {
  /** Whether nothing else is read meanwhile, so that a short wait may block the event loop. */
  isAlone?: boolean;
}

/**
 * Reads a descriptor to its end. Without an abort signal, a read simply blocks. With one, the event loop must run, so that
 * the signal arrives.
 */
export class FdReader {
  private buffer: Uint8Array;
  private bytes = 0;
  private isLarge = false;
  private readonly isPipe: boolean;
  private readonly readFd: number;
  private readonly breather = new Breather();
  private socket: Socket | undefined;
  private settle: { resolve(chunk: Uint8Array): void; reject(error: Error): void } | undefined;

  /**
   * @param fd of a pipe, socket, file or terminal
   * @param signal ends a wait for more
   * @param name for errors
   */
  constructor(
    private readonly fd: number,
    private readonly signal?: AbortSignal,
    private readonly name = 'stdin',
    private readonly options: FdReaderOptions = {},
  ) {
    const stats = onFile(name, () => fstatSync(fd));
    this.buffer = scratch(stats.isFile() ? FILE_BYTES : PIPE_BYTES);
    this.isPipe = stats.isFIFO();
    this.readFd = signal && this.isPipe ? onFile(name, () => nonBlocking(fd)) : fd;
    signal?.addEventListener('abort', () => this.settle?.reject(signal.reason));
  }

  /**
   * The chunks; each is overwritten by the next.
   * @param most bytes of the next chunk, where much is read from a pipe without waiting for the event loop
   */
  async *chunks(most = () => Number.POSITIVE_INFINITY): AsyncGenerator<Uint8Array> {
    try {
      for (;;) {
        const waits = this.isLarge && this.signal && this.options.isAlone ? linux() : undefined;
        const chunk = (waits ? await this.readSoon(waits, most()) : this.readNow()) ?? (await this.readLater());
        if (chunk.length === 0) return;
        yield chunk;
        this.bytes += chunk.length;
        if (this.isPipe && this.bytes >= LOAD_AFTER_BYTES) this.enlarge();
      }
    } catch (error) {
      throw systemError(error, this.name);
    } finally {
      this.close();
    }
  }

  /** For large amounts: a larger pipe takes fewer reads. */
  private enlarge(): void {
    if (this.isLarge) return;
    this.isLarge = true;
    this.buffer = scratch(FILE_BYTES);
    enlargePipe(this.readFd);
  }

  /** Closes what was opened here: the socket owns the descriptor that it reads. */
  private close(): void {
    if (this.socket) this.socket.destroy();
    else if (this.readFd !== this.fd) closeSync(this.readFd);
  }

  private readNow(most = this.buffer.length): Uint8Array | undefined {
    const buffer = this.buffer.subarray(0, most);
    const bytes = readAvailable(this.readFd, buffer);
    return bytes === undefined ? undefined : buffer.subarray(0, bytes);
  }

  /** What comes within a short time; undefined for nothing. */
  private async readSoon(system: Linux, most: number): Promise<Uint8Array | undefined> {
    await this.breather.due();
    system.waitReadable(this.readFd, MAX_WAIT_MS);
    // Reads in any case: the end of a pipe whose last writer left before it was opened here ends no wait.
    return this.readNow(most);
  }

  /** A chunk that the event loop reads. */
  private readLater(): Promise<Uint8Array> {
    return new Promise((resolve, reject) => {
      this.signal?.throwIfAborted();
      this.settle = { resolve, reject };
      this.socket ??= this.openSocket(this.buffer);
      this.socket.resume();
    });
  }

  /** @param buffer stays that of the socket when the other one becomes larger */
  private openSocket(buffer: Uint8Array): Socket {
    const socket = new Socket({
      fd: this.readFd,
      readable: true,
      writable: false,
      onread: {
        buffer,
        callback: (bytes: number) => {
          this.settle?.resolve(buffer.subarray(0, bytes));
          // One chunk at a time.
          return false;
        },
      },
    } as ConstructorParameters<typeof Socket>[0]);
    socket.on('end', () => this.settle?.resolve(buffer.subarray(0, 0)));
    socket.on('error', (error) => this.settle?.reject(error));
    return socket;
  }
}

/** Bytes read, 0 at the end, or undefined if there are none yet and the descriptor does not block. */
export function readAvailable(fd: number, buffer: Uint8Array): number | undefined {
  for (let spin = 0; ; spin++) {
    try {
      return readSync(fd, buffer, 0, buffer.length, null);
    } catch (error) {
      if (!isErrno(error, 'EAGAIN')) throw error;
      if (spin === SPINS) return undefined;
    }
  }
}

/**
 * Reads up to `buffer.length` bytes; 0 at the end. Blocks even if the descriptor was made non-blocking elsewhere.
 * @param name for errors
 */
export function readBlocking(fd: number, buffer: Uint8Array, name: string): number {
  return blocking(name, () => readSync(fd, buffer, 0, buffer.length, null));
}

/** Repeats a read or a write until it need not wait. Throws EPIPE unchanged. */
function blocking<T>(name: string, action: () => T): T {
  for (let waitMs = 0.05; ; waitMs = Math.min(2 * waitMs, 10)) {
    try {
      return action();
    } catch (error) {
      if (!isErrno(error, 'EAGAIN')) throw isErrno(error, 'EPIPE') ? error : systemError(error, name);
      sleep(waitMs);
    }
  }
}

/**
 * The same pipe, opened again, so that it does not become non-blocking for other processes that share it. Without /proc the
 * descriptor itself is used.
 */
function nonBlocking(fd: number): number {
  try {
    return openSync(`/proc/self/fd/${fd}`, constants.O_RDONLY | constants.O_NONBLOCK);
  } catch (error) {
    // With too many open files it would block, and nothing else would be read.
    if (isErrno(error, 'EMFILE') || isErrno(error, 'ENFILE')) throw error;
    return fd;
  }
}

/** What a descriptor is called in errors. */
export const descriptorName = (fd: number): string => ['stdin', 'stdout'][fd] ?? `descriptor ${fd}`;

/** Writes to a descriptor. Small pieces are gathered, large ones are written without a copy. */
export class FdWriter {
  private readonly gathered: Uint8Array;
  private gatheredBytes = 0;
  private kernelCopies = true;

  /**
   * @param name for errors
   * @param gatherBytes pieces up to this size are gathered
   */
  constructor(
    private readonly fd: number,
    private readonly name = 'stdout',
    gatherBytes = GATHER_BYTES,
  ) {
    this.gathered = scratch(gatherBytes);
  }

  /** Needs the bytes only until it returns. Throws EPIPE unchanged if the reader has exited. */
  readonly write = (bytes: Uint8Array): void => {
    if (bytes.length + this.gatheredBytes <= this.gathered.length) {
      this.gathered.set(bytes, this.gatheredBytes);
      this.gatheredBytes += bytes.length;
      return;
    }
    const pieces = this.gatheredBytes > 0 ? [this.gathered.subarray(0, this.gatheredBytes), bytes] : [bytes];
    this.gatheredBytes = 0;
    this.writeAll(pieces);
  };

  /** Has the kernel copy a range of a file. Returns how many bytes it has copied: none into anything but a file. */
  readonly copyFrom = ({ fd, offset }: FilePlace, position: number, bytes: number): number => {
    const system = this.kernelCopies ? linux() : undefined;
    if (!system) return 0;
    this.flush();
    let done = 0;
    while (this.kernelCopies && done < bytes) {
      const count = system.copyFileRange(fd, offset + position + done, this.fd, undefined, bytes - done);
      if (count > 0) done += count;
      else this.kernelCopies = false;
    }
    return done;
  };

  flush(): void {
    if (this.gatheredBytes === 0) return;
    this.writeAll([this.gathered.subarray(0, this.gatheredBytes)]);
    this.gatheredBytes = 0;
  }

  private writeAll(pieces: Uint8Array[]): void {
    let rest = pieces;
    while (rest.length > 0) {
      let written = this.writeSome(rest);
      while (rest.length > 0 && written >= (rest[0] as Uint8Array).length) {
        written -= (rest[0] as Uint8Array).length;
        rest = rest.slice(1);
      }
      if (written > 0) rest = [(rest[0] as Uint8Array).subarray(written), ...rest.slice(1)];
    }
  }

  /** One write; if the descriptor was made non-blocking elsewhere, waits until it takes something. */
  private writeSome(pieces: Uint8Array[]): number {
    const [piece] = pieces as [Uint8Array];
    return blocking(this.name, () => (pieces.length === 1 ? writeSync(this.fd, piece) : writevSync(this.fd, pieces)));
  }
}

const SLEEPER = new Int32Array(new SharedArrayBuffer(4));

/** Waits, and blocks the event loop. */
const sleep = (ms: number): void => void Atomics.wait(SLEEPER, 0, 0, ms);
