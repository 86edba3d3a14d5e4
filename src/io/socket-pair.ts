/**
 * Two sockets, one for each direction, as one stream that behaves like a socket: stdin and stdout, or those of a program.
 *
 * A write is done when the kernel has the bytes, not when they wait in a buffer of Node. The writer may then reuse its own
 * buffer. Duplex.from() reports a write earlier.
 */
import { Socket } from 'node:net';
import { Duplex, finished } from 'node:stream';

export class SocketPair extends Duplex {
  /** Sockets that were idle for the time of {@link setTimeout}. */
  private readonly quiet = new Set<Socket>();

  constructor(
    protected readonly input: Socket,
    protected readonly output: Socket,
  ) {
    super();
    this.input.on('data', (chunk) => {
      this.quiet.delete(this.input);
      if (!this.push(chunk)) this.input.pause();
    });
    this.input.on('end', () => this.push(null));
    for (const end of [this.input, this.output]) end.on('error', (error) => this.destroy(error));
  }

  /** From two descriptors of pipes or sockets. Throws ERR_INVALID_FD_TYPE for files. */
  static ofDescriptors(inputFd: number, outputFd: number): SocketPair {
    return new SocketPair(
      new Socket({ fd: inputFd, readable: true, writable: false }),
      new Socket({ fd: outputFd, readable: false, writable: true }),
    );
  }

  /** Like `setTimeout` of a socket: calls back when nothing was read or written for this time. */
  setTimeout(milliseconds: number, onIdle: () => void): void {
    for (const end of [this.input, this.output]) {
      end.setTimeout(milliseconds, () => {
        this.quiet.add(end);
        if (this.quiet.size === 2) onIdle();
      });
    }
  }

  override _read(): void {
    this.input.resume();
  }

  override _write(chunk: Uint8Array, _encoding: string, done: (error?: Error | null) => void): void {
    this.quiet.delete(this.output);
    this.output.write(chunk, done);
  }

  override _final(done: (error?: Error | null) => void): void {
    // Not by a callback of end(), which never comes if the output was destroyed before: Node does that when a program exits.
    finished(this.output, { readable: false }, () => {
      done();
      // No answer can come now.
      this.destroy();
    });
    this.output.end();
  }

  override _destroy(error: Error | null, done: (error: Error | null) => void): void {
    this.input.destroy();
    this.output.destroy();
    done(error);
  }
}
