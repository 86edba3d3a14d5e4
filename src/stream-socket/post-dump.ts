/**
 * CRIU's action script for a capture. CRIU has sent all images when it runs `post-dump`, and the task is still frozen: it is
 * let go, or killed, when the script ends, and goes on unharmed if the script fails. So the script waits until the dump is
 * complete in its place. It hears so over a second socket in the same directory: a byte for success. A connection that ends
 * without it means that there is no dump, however the capture has ended.
 */
import { rmSync, writeFileSync } from 'node:fs';
import { createConnection, type Socket } from 'node:net';
import { join, resolve } from 'node:path';
import { DumpError, onFile, systemReason } from '../errors.js';
import { quoteWord } from '../shell.js';
import { PrivateSocket, socketPath } from './private-socket.js';

const WAIT_SOCKET = 'pagepipe-wait.sock';
const SCRIPT = 'pagepipe-post-dump';
const COMPLETE = 'y';

/** The end of the capture. */
export class PostDump {
  /** Called when CRIU runs the script. */
  onWaiting: (() => void) | undefined;
  private readonly waiting = new Set<Socket>();
  private socket: PrivateSocket | undefined;

  private constructor(
    /** Path of the script. */
    readonly script: string,
  ) {}

  /**
   * Writes the script and listens for it.
   * @param program the words that start pagepipe
   * @throws {DumpError} SYSTEM
   */
  static async open(directory: string, program: readonly string[]): Promise<PostDump> {
    const script = resolve(directory, SCRIPT);
    const own = new PostDump(script);
    own.socket = await PrivateSocket.listen(directory, WAIT_SOCKET, (socket) => own.add(socket));
    try {
      onFile(script, () => {
        rmSync(script, { force: true });
        writeFileSync(script, scriptText(directory, program), { mode: 0o700, flag: 'wx' });
      });
    } catch (error) {
      own.close();
      throw error;
    }
    return own;
  }

  private add(socket: Socket): void {
    this.waiting.add(socket);
    socket.on('error', () => {});
    this.onWaiting?.();
  }

  /** Whether CRIU waits, and so has sent all images. */
  get isWaiting(): boolean {
    return this.waiting.size > 0;
  }

  /** The dump is complete: CRIU goes on. */
  succeed(): void {
    for (const socket of this.waiting) socket.end(COMPLETE);
    this.waiting.clear();
  }

  /** Whoever still waits fails. */
  close(): void {
    this.socket?.close();
    for (const socket of this.waiting) socket.destroy();
    rmSync(this.script, { force: true });
  }
}

function scriptText(directory: string, program: readonly string[]): string {
  const command = [...program, 'capture-wait', '-D', '.'].map(quoteWord).join(' ');
  return `#!/bin/sh
# Made and removed by pagepipe capture.
[ "$CRTOOLS_SCRIPT_ACTION" = post-dump ] || exit 0
cd ${quoteWord(resolve(directory))} && exec ${command}
`;
}

/**
 * Waits for the end of the capture in a directory.
 * @throws {DumpError} PROTOCOL if it has failed, SYSTEM if there is none
 */
export function waitForCapture(directory: string): Promise<void> {
  const path = socketPath(directory, WAIT_SOCKET);
  return new Promise((done, reject) => {
    const socket = createConnection(path);
    let text = '';
    socket.setEncoding('utf8').on('data', (more: string) => {
      text += more;
    });
    socket.on('error', (error) => {
      reject(new DumpError('SYSTEM', `no capture can be reached: ${systemReason(error)}`, { file: path }));
    });
    socket.on('close', () => {
      if (text === COMPLETE) done();
      else reject(new DumpError('PROTOCOL', 'the capture has failed', { file: join(directory, WAIT_SOCKET) }));
    });
  });
}
