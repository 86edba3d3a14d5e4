/**
 * A dump by criu into a folder at the near end, up to the moment where all images are there and criu's script waits. The processes
 * are frozen until it goes on.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { onFile } from '../errors.js';
import { PostDump } from '../stream-socket/post-dump.js';
import { CriuRun } from './criu-run.js';
import { dumpFailed, LOG, type SourceOptions } from './source.js';

export const PREFIX = 'pagepipe-migrate-';

export class PausedDump {
  /** A folder for criu's log and for what its script needs, which is removed in the end. */
  readonly work: string;
  private postDump: PostDump | undefined;
  criu: CriuRun | undefined;
  private giveUp: (reason: unknown) => void = () => {};

  /** Throws {@link DumpError} SYSTEM. */
  constructor(private readonly options: SourceOptions) {
    this.work = onFile(tmpdir(), () => mkdtempSync(join(tmpdir(), PREFIX)));
  }

  /**
   * Resolves when criu has written all images, and waits.
   * @param folder for the images
   * @param own more options for criu
   * @param hasSocket whether criu gets a socket as its descriptor 3
   * @throws the reason of the signal; {@link DumpError} SYSTEM if criu ends instead
   */
  async begin(folder: string, own: readonly string[] = [], hasSocket = false): Promise<void> {
    const { pid, criu, words, signal, frozen } = this.options;
    signal.throwIfAborted();
    const postDump = await PostDump.open(this.work);
    this.postDump = postDump;
    const waits = new Promise<void>((done, reject) => {
      postDump.onWaiting = done;
      this.giveUp = reject;
    });
    waits.catch(() => {});
    signal.addEventListener('abort', () => this.giveUp(signal.reason));
    frozen();
    const all = ['dump', '-D', folder, '-t', String(pid), '--action-script', postDump.script, ...own, ...words];
    const run = await CriuRun.start(criu, all, join(this.work, LOG), hasSocket);
    this.criu = run;
    run.ended.then((end) => this.giveUp(dumpFailed(end, run))).catch(() => {});
    await waits;
  }

  /** Lets criu's script succeed. */
  succeed(): void {
    this.postDump?.succeed();
  }

  /** Lets criu's script fail, unless it has succeeded. Resolves when criu has ended. */
  async close(): Promise<void> {
    this.postDump?.close();
    await this.criu?.ended;
    rmSync(this.work, { recursive: true, force: true });
  }
}
