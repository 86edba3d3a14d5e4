/**
 * CRIU's action script for a capture. CRIU has sent all images when it runs `post-dump`, and the task is still frozen: it is
 * let go, or killed, when the script ends, and goes on unharmed if the script fails. So the script waits until the dump is
 * complete in its place.
 *
 * The task stands still while the script starts, so it is of the shell alone. It asks through one FIFO and reads the answer
 * from another one. Capture has both open for reading and writing. If it ends in any way, the answers have no writer, and
 * the script finds their end: there is no dump. The script opens both ends first, because the open of one end would wait for
 * the other for ever.
 */
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, constants, fstatSync, lstatSync, openSync, rmSync, writeFileSync, writeSync } from 'node:fs';
import { Socket } from 'node:net';
import { join, resolve } from 'node:path';
import { DumpError, onFile, systemReason } from '../errors.js';
import { quoteWord } from '../shell.js';

const SCRIPT = 'pagepipe-post-dump';
const QUESTIONS = 'pagepipe-questions';
const ANSWERS = 'pagepipe-answers';
const COMPLETE = 'complete';

/** The end of the capture. */
export class PostDump {
  /** Called when CRIU runs the script. */
  onWaiting: (() => void) | undefined;
  private questions: Socket | undefined;
  private answers: number | undefined;
  /** Of the FIFO for answers. */
  private inode: number | undefined;
  /** Scripts that have no answer yet. */
  private waiting = 0;
  private isComplete = false;

  private constructor(private readonly directory: string) {}

  /**
   * Writes the script, and makes what it needs.
   * @throws {DumpError} OUTPUT_EXISTS, SYSTEM
   */
  static async open(directory: string): Promise<PostDump> {
    const own = new PostDump(resolve(directory));
    const [questions, answers] = [own.place(QUESTIONS), own.place(ANSWERS)] as const;
    try {
      makeFifos([questions, answers]);
      own.answers = openFifo(answers);
      own.inode = fstatSync(own.answers).ino;
      own.questions = new Socket({ fd: openFifo(questions), readable: true, writable: false });
      own.questions.on('data', (lines) => own.ask(lines.length)).on('error', () => {});
      const { script } = own;
      onFile(script, () => {
        rmSync(script, { force: true });
        writeFileSync(script, scriptText(own.directory), { mode: 0o700, flag: 'wx' });
      });
    } catch (error) {
      own.close();
      throw error;
    }
    return own;
  }

  /** Path of the script. */
  get script(): string {
    return this.place(SCRIPT);
  }

  /** Whether CRIU waits, and so has sent all images. */
  get isWaiting(): boolean {
    return this.waiting > 0;
  }

  /** The dump is complete: CRIU goes on. */
  succeed(): void {
    this.isComplete = true;
    this.answer();
  }

  /** Whoever still waits fails. Leaves alone what another process has put in place of its own. */
  close(): void {
    this.questions?.destroy();
    if (this.answers === undefined) return;
    closeSync(this.answers);
    this.answers = undefined;
    if (lstatSync(this.place(ANSWERS), { throwIfNoEntry: false })?.ino !== this.inode) return;
    for (const name of [SCRIPT, QUESTIONS, ANSWERS]) rmSync(this.place(name), { force: true });
  }

  /** @param count of scripts: each asks with one byte */
  private ask(count: number): void {
    this.waiting += count;
    if (this.isComplete) this.answer();
    else this.onWaiting?.();
  }

  private answer(): void {
    const { answers } = this;
    if (answers === undefined || this.waiting === 0) return;
    onFile(this.place(ANSWERS), () => writeSync(answers, `${COMPLETE}\n`.repeat(this.waiting)));
    this.waiting = 0;
  }

  private place(name: string): string {
    return join(this.directory, name);
  }
}

/** In place of those that an earlier process has left. */
function makeFifos(paths: readonly string[]): void {
  for (const path of paths) {
    const old = onFile(path, () => lstatSync(path, { throwIfNoEntry: false }));
    if (old && !old.isFIFO()) {
      throw new DumpError('OUTPUT_EXISTS', 'expected no file or a FIFO, found another file', { file: path });
    }
    onFile(path, () => rmSync(path, { force: true }));
  }
  const { error, status, stderr } = spawnSync('mkfifo', ['-m', '600', ...paths], { encoding: 'utf8' });
  if (error) throw new DumpError('SYSTEM', `mkfifo cannot be run: ${systemReason(error)}`);
  if (status !== 0) throw new DumpError('SYSTEM', stderr.trim());
}

/** Opens both ends. */
const openFifo = (path: string): number =>
  onFile(path, () => openSync(path, constants.O_RDWR | constants.O_NONBLOCK | constants.O_NOFOLLOW));

const scriptText = (directory: string): string => `#!/bin/sh
# Made and removed by pagepipe capture.
[ "$CRTOOLS_SCRIPT_ACTION" = post-dump ] || exit 0
cd ${quoteWord(directory)} && [ -p ${QUESTIONS} ] && [ -p ${ANSWERS} ] || exit 1
exec 3<>${ANSWERS} 4<${ANSWERS} 3>&- 5<>${QUESTIONS} || exit 1
echo >&5
read -r answer <&4 && [ "$answer" = ${COMPLETE} ]
`;

/**
 * Waits for the end of the capture in a directory.
 * @throws {DumpError} PROTOCOL if it has failed, SYSTEM if there is none
 */
export async function waitForCapture(directory: string): Promise<void> {
  const script = resolve(directory, SCRIPT);
  if (!onFile(script, () => lstatSync(script, { throwIfNoEntry: false }))) {
    throw new DumpError('SYSTEM', 'no capture runs in this directory', { file: directory });
  }
  const child = spawn(script, { stdio: 'ignore', env: { ...process.env, CRTOOLS_SCRIPT_ACTION: 'post-dump' } });
  const [code] = await once(child, 'exit').catch((error) => {
    throw new DumpError('SYSTEM', systemReason(error), { file: script });
  });
  if (code !== 0) throw new DumpError('PROTOCOL', 'the capture has failed', { file: directory });
}
