/**
 * The far end of `criu restore --stream`: says which files there are, and writes each into the pipe that comes with its
 * request. Several restored tasks may ask at once. A pipe that is closed by its reader is no failure: CRIU knows what it needs.
 */
import { constants, openSync, writeSync } from 'node:fs';
import { Socket } from 'node:net';
import { type DumpFiles, missingImage, pieces, type ReadableFiles } from '../dump/files.js';
import { DumpError, isErrno, systemError } from '../errors.js';
import { CriuSession } from './criu-session.js';
import type { ReceivedDescriptor } from './descriptors.js';
import { SERVE_SOCKET } from './protocol.js';

/** Bytes that are read at once. Hundreds of files may be open. */
const PIECE_BYTES = 128 * 1024;
/** What is left to the event loop when the pipe is full. More would make the event loop slower, less the pipe emptier. */
const WAITING_BYTES = 32 * 1024;

export interface ProvideOptions {
  signal: AbortSignal;
  warn(message: string): void;
  /** Called when CRIU can connect, with the path of the socket. */
  listening(path: string): void;
  progress(bytes: number): void;
  /** Files of the dump that do not go to CRIU: pipes by name. They stay open. */
  external?: ReadonlyMap<string, number>;
}

/**
 * Provides the files of a dump to one restore. Resolves when CRIU has closed its connection and the pipes.
 * @throws {DumpError} BAD_NAME, OUTPUT_EXISTS, SYSTEM, those of the protocol, and those of reading the files
 */
export async function provide(files: DumpFiles, directory: string, options: ProvideOptions): Promise<void> {
  const { signal, warn, listening, progress, external = new Map() } = options;
  const sizes = new Map(files.entries().map(({ name }) => [name, files.stat(name)?.size]));
  for (const name of external.keys()) if (sizes.get(name) === undefined) throw missingImage(name);
  const writers = new Set<PipeWriter>();
  let session: CriuSession | undefined;
  const abort = () => fail(signal.reason);
  let fail: (error: unknown) => void = () => {};
  try {
    await new Promise<void>((resolve, reject) => {
      fail = reject;
      let hasEnded = false;
      const file = (name: string, pipe: ReceivedDescriptor) => {
        const writer = new PipeWriter(pipe, name);
        writers.add(writer);
        const checkEnd = () => {
          writers.delete(writer);
          if (hasEnded && writers.size === 0) resolve();
        };
        writer.writeAll(files, sizes.get(name) as number, progress).then(checkEnd, reject);
      };
      const ended = () => {
        hasEnded = true;
        if (writers.size === 0) resolve();
      };
      signal.throwIfAborted();
      signal.addEventListener('abort', abort);
      const wants = (name: string) => sizes.get(name) !== undefined;
      CriuSession.listen(directory, SERVE_SOCKET, { wants, replies: true, file, ended, failed: reject, warn }).then(
        (open) => {
          session = open;
          for (const [name, fd] of external) file(name, { fd, close: () => {} });
          listening(open.path);
        },
        reject,
      );
    });
  } finally {
    signal.removeEventListener('abort', abort);
    session?.close();
    for (const writer of writers) writer.close();
  }
}

/** The write end of a pipe of CRIU. */
class PipeWriter {
  private readonly fd: number;
  private readonly socket: Socket;

  constructor(
    pipe: ReceivedDescriptor,
    private readonly name: string,
  ) {
    try {
      // Opened again: the descriptor may be shared, and must not become non-blocking for others.
      this.fd = openSync(`/proc/self/fd/${pipe.fd}`, constants.O_WRONLY | constants.O_NONBLOCK);
    } finally {
      pipe.close();
    }
    this.socket = new Socket({ fd: this.fd, readable: false, writable: true });
    this.socket.on('error', () => {});
  }

  /** Writes a file that had `size` bytes when the dump was checked, and closes the pipe. */
  async writeAll(files: ReadableFiles, size: number, progress: (bytes: number) => void): Promise<void> {
    try {
      let position = 0;
      for (const piece of pieces(files, this.name, PIECE_BYTES, size)) {
        await this.write(piece);
        position += piece.length;
        progress(piece.length);
      }
      if (position !== size) {
        const what = `expected ${size} bytes as before, found ${position}`;
        throw new DumpError('CHANGED', what, { file: this.name });
      }
    } catch (error) {
      if (!isErrno(error, 'EPIPE') && !this.socket.destroyed) throw systemError(error, this.name);
    } finally {
      this.close();
    }
  }

  /** Writes directly while the pipe takes it: the event loop costs more. */
  private async write(bytes: Uint8Array): Promise<void> {
    for (let rest = bytes; rest.length > 0; ) {
      if (this.socket.destroyed) throw new Error('closed');
      const written = this.writeNow(rest);
      rest = rest.subarray(written);
      if (written > 0) continue;
      await this.writeLater(rest.subarray(0, WAITING_BYTES));
      rest = rest.subarray(WAITING_BYTES);
    }
  }

  private writeNow(bytes: Uint8Array): number {
    try {
      return writeSync(this.fd, bytes);
    } catch (error) {
      if (isErrno(error, 'EAGAIN')) return 0;
      throw error;
    }
  }

  private writeLater(bytes: Uint8Array): Promise<void> {
    return new Promise((resolve, reject) => {
      this.socket.write(bytes, (error) => (error ? reject(error) : resolve()));
    });
  }

  close(): void {
    this.socket.destroy();
  }
}
