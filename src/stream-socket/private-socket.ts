/**
 * A unix socket that only its owner can connect to. It is made under another name, in a folder of its own, and appears at its
 * place when it is private and listens. A socket that an earlier process has left there is replaced.
 */
import { chmodSync, closeSync, lstatSync, mkdtempSync, openSync, renameSync, rmSync } from 'node:fs';
import { createServer, type Server, type Socket } from 'node:net';
import { join } from 'node:path';
import { DumpError, onFile, systemError } from '../errors.js';

/** `sun_path`, without its NUL. */
const MAX_PATH_BYTES = 107;
const O_PATH = 0o10000000;
const NAME = 'pagepipe-socket';

export class PrivateSocket {
  private constructor(
    readonly path: string,
    private readonly server: Server,
    private readonly inode: number,
  ) {}

  /**
   * Listens in a directory.
   * @param onConnection called with each connection, of which nothing has been read
   * @throws {DumpError} BAD_NAME, OUTPUT_EXISTS, SYSTEM
   */
  static async listen(directory: string, name: string, onConnection: (socket: Socket) => void): Promise<PrivateSocket> {
    const path = socketPath(directory, name);
    const old = onFile(path, () => lstatSync(path, { throwIfNoEntry: false }));
    if (old && !old.isSocket()) {
      throw new DumpError('OUTPUT_EXISTS', 'expected no file or a socket, found another file', { file: path });
    }
    const folder = onFile(directory, () => mkdtempSync(join(directory, '.pagepipe-')));
    const server = createServer({ pauseOnConnect: true }, onConnection);
    try {
      await listenIn(folder, server, path);
      const made = join(folder, NAME);
      const inode = onFile(path, () => {
        chmodSync(made, 0o600);
        renameSync(made, path);
        return lstatSync(path).ino;
      });
      return new PrivateSocket(path, server, inode);
    } catch (error) {
      server.close();
      throw error;
    } finally {
      rmSync(folder, { recursive: true, force: true });
    }
  }

  /** Ends no connection. Leaves a socket alone that another process has put in its place. */
  close(): void {
    this.server.close();
    if (lstatSync(this.path, { throwIfNoEntry: false })?.ino === this.inode) rmSync(this.path, { force: true });
  }
}

/** Throws {@link DumpError} BAD_NAME for a path that is too long for a socket. */
export function socketPath(directory: string, name: string): string {
  const path = join(directory, name);
  const bytes = Buffer.byteLength(path);
  if (bytes <= MAX_PATH_BYTES) return path;
  throw new DumpError('BAD_NAME', `expected a path of at most ${MAX_PATH_BYTES} bytes, found ${bytes}`, {
    file: path,
    hint: 'sockets have short names; go to the directory and use -D .',
  });
}

/** By a descriptor of the folder, whose own path may be too long. */
async function listenIn(folder: string, server: Server, path: string): Promise<void> {
  const fd = onFile(folder, () => openSync(folder, O_PATH));
  try {
    await new Promise<void>((resolve, reject) => {
      server.once('error', reject);
      server.listen(`/proc/self/fd/${fd}/${NAME}`, () => {
        server.off('error', reject);
        resolve();
      });
    });
  } catch (error) {
    throw systemError(error, path);
  } finally {
    closeSync(fd);
  }
}
