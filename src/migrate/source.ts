/**
 * The processes at the near end: criu freezes them and sends their images. While its script waits they are frozen. It ends in one
 * of two ways: they are dead, or they go on.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Writable } from 'node:stream';
import { setTimeout as delay } from 'node:timers/promises';
import { DumpError, onFile } from '../errors.js';
import { Capture } from '../stream-socket/capture.js';
import { CriuRun, endText, type ProgramEnd } from './criu-run.js';
import { ProcessTree } from './process-tree.js';
import type { Landed } from './protocol.js';
import { Sum, writeShard } from './wire.js';

/** How long killed processes may take to begin their end, and how often that is looked at, in ms. */
const END_MS = 2000;
const END_STEP_MS = 2;
/** When processes are looked at again, of which none seems to end. */
const SECOND_LOOK_MS = 50;
export const LOG = 'dump.log';

export interface SourceOptions {
  pid: number;
  criu: string;
  /** For criu dump. */
  words: readonly string[];
  /** When aborted before the commit, the processes go on. */
  signal: AbortSignal;
  warn(message: string): void;
  progress(bytes: number): void;
  /** Criu has begun to freeze them. */
  frozen(): void;
}

/** What the near end does with the processes. */
export interface MigrationSource {
  /** Whether criu has been told to let them die. */
  readonly isDecided: boolean;
  /** Dumps them, and writes what the far end needs. They stay frozen until {@link commit} or {@link close}. */
  ship(stream: Writable): Promise<void>;
  /** Lets them die. Throws if they go on instead. */
  commit(landed: Landed): Promise<void>;
  /** Ends the dump, if it has not ended. Resolves when criu has. */
  close(): Promise<void>;
}

/** Their images go to the far end as criu gives them: there is no copy here. */
export class StreamedSource implements MigrationSource {
  /** Work directory of criu, with the sockets. */
  private readonly directory: string;
  private readonly sum = new Sum();
  isDecided = false;
  private capture: Capture | undefined;
  private criu: CriuRun | undefined;

  /** Throws {@link DumpError} SYSTEM. */
  constructor(private readonly options: SourceOptions) {
    this.directory = onFile(tmpdir(), () => mkdtempSync(join(tmpdir(), 'pagepipe-migrate-')));
  }

  async ship(stream: Writable): Promise<void> {
    const { pid, criu, words, signal, warn, progress, frozen } = this.options;
    const capture = await Capture.listen(this.directory, { signal, warn, frozen, progress, runsScript: true });
    this.capture = capture;
    const own = ['--stream', '-D', this.directory, '-t', String(pid), '--action-script', capture.script];
    const run = await CriuRun.start(criu, ['dump', ...own, ...words], join(this.directory, LOG));
    this.criu = run;
    const hasEnded = run.ended.then((end) => {
      // It will not connect any more.
      if (!capture.hasBegun) capture.fail(dumpFailed(end, run));
      return end;
    });
    try {
      await writeShard(capture.events(), stream, this.sum);
    } catch (error) {
      capture.close();
      const end = await hasEnded;
      // It has closed the connection without a complete dump, and knows why.
      throw error instanceof DumpError && error.code === 'TRUNCATED' ? dumpFailed(end, run) : error;
    }
  }

  async commit({ bytes, crc }: Landed): Promise<void> {
    const { signal, pid, warn } = this.options;
    const { capture, criu, sum } = this;
    const tree = ProcessTree.of(pid);
    if (!capture || !criu || !tree) throw noDump(pid);
    if (bytes !== sum.bytes || crc !== sum.crc) {
      throw new DumpError('PROTOCOL', 'the far side has received other bytes than were sent');
    }
    signal.throwIfAborted();
    this.isDecided = true;
    capture.succeed();
    await settle(tree, criu, warn);
  }

  async close(): Promise<void> {
    this.capture?.close();
    await this.criu?.ended;
    rmSync(this.directory, { recursive: true, force: true });
  }
}

/**
 * Waits for the end of criu, which kills the processes. Resolves when they are dead. A criu that is killed may have killed some of
 * them. The others are of no use then, and their dump is complete: they are killed, too.
 * @param tree of the frozen processes
 * @throws {DumpError} SYSTEM if all of them go on
 */
export async function settle(tree: ProcessTree, criu: CriuRun, warn: (message: string) => void): Promise<void> {
  const end = await criu.ended;
  const failed = end.code !== 0;
  if (failed) {
    // One that criu has killed just now may be between the signal and its end.
    if (tree.alive().length === tree.size) await delay(SECOND_LOOK_MS);
    const alive = tree.alive().length;
    if (alive === tree.size) throw dumpFailed(end, criu);
    warn(`criu dump ended with ${endText(end)} after it had ended ${tree.size - alive} of ${tree.size} processes`);
    tree.signal('SIGKILL');
  }
  const deadline = Date.now() + END_MS;
  while (tree.alive().length > 0) {
    if (Date.now() > deadline) {
      throw new DumpError('SYSTEM', 'criu dump has succeeded, but the processes have not ended', {
        hint: 'a configuration file of criu may have leave-running in it',
      });
    }
    await delay(END_STEP_MS);
  }
}

export const noDump = (pid: number): DumpError =>
  new DumpError('PROTOCOL', 'the far side does not follow the protocol: there is no dump', { file: String(pid) });

export const dumpFailed = (end: ProgramEnd, run: CriuRun): DumpError => {
  const reason = run.reason();
  return new DumpError('SYSTEM', `criu dump ended with ${endText(end)}${reason === '' ? '' : `: ${reason}`}`);
};
