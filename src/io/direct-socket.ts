/**
 * An accepted connection without the costs of a stream for each message: what comes is read into one buffer and handed over
 * at once, and an answer is written at once if the kernel has room for it.
 *
 * A stream of Node allocates 64 KiB for each read, and queues what is read and written. For small messages, one after the
 * other, that takes more time than the system calls. Everything else about this is a socket: `write` for what has to wait,
 * time limits, the end.
 */
import { writeSync } from 'node:fs';
import { Socket, type SocketConstructorOpts } from 'node:net';
import { finished } from 'node:stream';

/** Bytes per read: a hundred requests for pages. */
const BUFFER_BYTES = 4096;

/**
 * Gets what has come: a view that the next call overwrites. Returns whether that is enough, or a promise of it; until that
 * is fulfilled, nothing more is read.
 */
export type Take = (chunk: Uint8Array) => boolean | Promise<boolean>;

/** What Node keeps of a connection. Not documented, but the same in all versions since 0.11. */
interface Handle {
  /** -1 once it is closed. */
  readonly fd: number;
}
interface WithHandle {
  _handle: Handle | null;
}

export class DirectSocket extends Socket {
  /** Returns whether more may be read. Without it, what comes is dropped. */
  private received: ((chunk: Uint8Array) => boolean) | undefined;

  private constructor(
    options: SocketConstructorOpts,
    private readonly handle: Handle,
  ) {
    super(options);
  }

  /**
   * Takes over a connection of a server with `pauseOnConnect`, half open if the client ends first. Returns the connection as
   * it is if Node does not say what is behind it.
   */
  static of(accepted: Socket): Socket {
    const holder = accepted as unknown as WithHandle;
    const handle = holder._handle;
    if (!handle || !(handle.fd >= 0)) return accepted;
    holder._handle = null;
    const buffer = Buffer.allocUnsafeSlow(BUFFER_BYTES);
    let chunk = buffer;
    const callback = (bytes: number): boolean => {
      // Most messages have the same length as the one before.
      if (chunk.length !== bytes) chunk = buffer.subarray(0, bytes);
      return socket.received?.(chunk) ?? true;
    };
    const options = { handle, allowHalfOpen: true, onread: { buffer, callback } };
    const socket = new DirectSocket(options as SocketConstructorOpts, handle);
    socket.pause();
    // The server counts its connections by the sockets that it has made.
    socket.on('close', () => accepted.destroy());
    return socket;
  }

  /**
   * Reads until `take` has enough (true) or the client has ended (false).
   * @throws what `take` throws, and the error of the connection
   */
  drain(take: Take): Promise<boolean> {
    return new Promise<boolean>((resolve, reject) => {
      /** Whether a promise of `take` is pending; and the end that has come meanwhile. */
      let isBusy = false;
      let end: (() => void) | undefined;
      finished(this, { writable: false }, (error) => {
        end = error ? () => reject(error) : () => resolve(false);
        if (!isBusy) end();
      });
      const settle = (action: () => void): void => {
        this.received = undefined;
        action();
      };
      const goOn = (isEnough: boolean): void => {
        isBusy = false;
        if (isEnough) settle(() => resolve(true));
        else if (end) end();
        else this.resume();
      };
      this.received = (chunk) => {
        try {
          const result = take(chunk);
          if (typeof result === 'boolean') {
            if (result) settle(() => resolve(true));
            return true;
          }
          isBusy = true;
          result.then(goOn, (error) => settle(() => reject(error)));
          return false;
        } catch (error) {
          settle(() => reject(error));
          return true;
        }
      };
      this.resume();
    });
  }

  /** Writes what the kernel takes now of the first `count` bytes. Returns the number of bytes; the others are for `write`. */
  writeAtOnce(bytes: Uint8Array, count = bytes.length): number {
    if (this.writableLength > 0 || this.destroyed) return 0;
    try {
      return writeSync(this.handle.fd, bytes, 0, count);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'EAGAIN') return 0;
      throw error;
    }
  }
}
