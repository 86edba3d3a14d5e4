/**
 * Stdin and stdout that lead to another program. Much data is read plainly, into one buffer, which takes half of the time that
 * a stream of Node takes. Otherwise this is a stream.
 */
import { fstatSync } from 'node:fs';
import { Socket } from 'node:net';
import { scratch } from '../bytes.js';
import { onFile } from '../errors.js';
import { readAvailable } from './fd.js';
import { enlargePipe, LOAD_AFTER_BYTES } from './linux.js';
import { SocketPair } from './socket-pair.js';

/** Bytes per read: what a socket holds. */
const BUFFER_BYTES = 256 * 1024;

export class PlainConnection extends SocketPair {
  private readonly isPipe: boolean;
  private plainBytes = 0;
  private isEnlarged = false;
  /** Resolves the wait of {@link chunks}. While it is set, nothing goes into the stream. */
  private arrived: ((bytes: number) => void) | undefined;

  private constructor(
    private readonly fd: number,
    socket: Socket,
    output: Socket,
    private readonly buffer: Uint8Array,
  ) {
    super(socket, output);
    this.isPipe = onFile('stdin', () => fstatSync(fd)).isFIFO();
    socket.pause();
    socket.on('end', () => this.arrived?.(0));
    this.on('close', () => this.arrived?.(0));
  }

  /** From two descriptors of pipes or sockets. Throws ERR_INVALID_FD_TYPE for files. */
  static override ofDescriptors(inputFd: number, outputFd: number): PlainConnection {
    const buffer = scratch(BUFFER_BYTES);
    const callback = (bytes: number): boolean => connection.received(bytes);
    const socket = new Socket({
      fd: inputFd,
      readable: true,
      writable: false,
      onread: { buffer, callback },
    } as ConstructorParameters<typeof Socket>[0]);
    const output = new Socket({ fd: outputFd, readable: false, writable: true });
    const connection: PlainConnection = new PlainConnection(inputFd, socket, output, buffer);
    return connection;
  }

  /**
   * What comes until the end, or until the caller needs no more. Each chunk is overwritten by the next. Nobody may read the
   * stream meanwhile.
   */
  async *chunks(): AsyncGenerator<Uint8Array> {
    while (!this.destroyed) {
      const bytes = readAvailable(this.fd, this.buffer) ?? (await this.wait());
      if (bytes === 0) return;
      yield this.buffer.subarray(0, bytes);
      this.plainBytes += bytes;
      if (this.isPipe && this.plainBytes >= LOAD_AFTER_BYTES && !this.isEnlarged) {
        this.isEnlarged = true;
        enlargePipe(this.fd);
      }
    }
  }

  private async wait(): Promise<number> {
    try {
      return await new Promise((resolve) => {
        this.arrived = resolve;
        this.input.resume();
      });
    } finally {
      this.arrived = undefined;
    }
  }

  /** What the event loop has read. Returns whether it may read more. */
  private received(bytes: number): boolean {
    if (!this.arrived) return this.push(Buffer.from(this.buffer.subarray(0, bytes)));
    this.arrived(bytes);
    return false;
  }
}
