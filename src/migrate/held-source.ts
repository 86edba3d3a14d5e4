/**
 * The processes at the near end, for a migration whose pages follow later: criu dumps all of them into a folder here, what is needed
 * at once goes to the far end first, and the other pages are served from the folder. It is the complete copy until the far end has
 * every page.
 */
import { existsSync, mkdtempSync, readFileSync, rmSync, statfsSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import type { Writable } from 'node:stream';
import { DirectoryFiles } from '../containers/directory/files.js';
import { Dump } from '../dump/dump.js';
import { pump } from '../dump/pump.js';
import { DumpError, onFile } from '../errors.js';
import { PageStreamSink } from '../send/page-stream-sink.js';
import { DumpMemory } from '../serve/memory.js';
import type { Serve } from '../serve/server.js';
import { Session } from '../serve/session.js';
import { classify } from '../stages/classify.js';
import { DROP_LAZY, filter } from '../stages/filter.js';
import { rebuild } from '../stages/rebuild.js';
import { PostDump } from '../stream-socket/post-dump.js';
import { CriuRun } from './criu-run.js';
import { ProcessTree } from './process-tree.js';
import { dumpFailed, LOG, type MigrationSource, noDump, type SourceOptions, settle } from './source.js';

/** A folder in memory. */
const MEMORY_FOLDER = '/dev/shm';
const PREFIX = 'pagepipe-migrate-';

export interface HeldSourceOptions extends SourceOptions {
  /** Where the folder is made; by default in memory, if there is room for the dump. */
  parent: string | undefined;
  /** Whether the dump stays when the far end has all pages. */
  keeps: boolean;
}

export class HeldSource implements MigrationSource {
  /** Where the dump is. */
  readonly place: string;
  private readonly work: string;
  private postDump: PostDump | undefined;
  private criu: CriuRun | undefined;
  private memory: DumpMemory | undefined;
  private state: 'running' | 'held' | 'delivered' = 'running';
  isDecided = false;
  private giveUp: (reason: unknown) => void = () => {};

  /** Throws {@link DumpError} SYSTEM. */
  constructor(private readonly options: HeldSourceOptions) {
    const parent = resolve(options.parent ?? holdingFolder(ProcessTree.of(options.pid)?.memoryBytes() ?? 0));
    this.place = onFile(parent, () => mkdtempSync(join(parent, PREFIX)));
    this.work = onFile(tmpdir(), () => mkdtempSync(join(tmpdir(), PREFIX)));
  }

  async ship(stream: Writable): Promise<void> {
    await this.dump();
    const { signal, warn, progress } = this.options;
    const files = new DirectoryFiles(this.place);
    this.memory = new DumpMemory(files);
    const dump = await Dump.open(files, { warn });
    const stages = [classify({ warn }), filter(DROP_LAZY), rebuild({ holes: 'flag' })];
    await pump(dump.records(), stages, new PageStreamSink(stream, undefined, progress), signal);
  }

  /** Resolves when criu has written all images, and waits. */
  private async dump(): Promise<void> {
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
    const own = ['-D', this.place, '-t', String(pid), '--action-script', postDump.script];
    const run = await CriuRun.start(criu, ['dump', ...own, ...words], join(this.work, LOG));
    this.criu = run;
    run.ended.then((end) => this.giveUp(dumpFailed(end, run))).catch(() => {});
    await waits;
  }

  async commit(): Promise<void> {
    const { signal, pid, warn } = this.options;
    const { postDump, criu } = this;
    const tree = ProcessTree.of(pid);
    if (!postDump || !criu || !tree) throw noDump(pid);
    signal.throwIfAborted();
    // From here on they may be dead, and this is their copy.
    this.state = 'held';
    this.isDecided = true;
    postDump.succeed();
    try {
      await settle(tree, criu, warn);
    } catch (error) {
      this.state = 'running';
      throw error;
    }
  }

  /** Answers one connection of the far end. */
  readonly serve: Serve = (stream) => {
    if (!this.memory) throw noDump(this.options.pid);
    return new Session(this.memory, stream).run();
  };

  delivered(): void {
    this.state = 'delivered';
  }

  async close(): Promise<void> {
    this.postDump?.close();
    await this.criu?.ended;
    this.memory?.close();
    this.memory = undefined;
    rmSync(this.work, { recursive: true, force: true });
    const isKept = this.state === 'held' || (this.state === 'delivered' && this.options.keeps);
    if (!isKept) rmSync(this.place, { recursive: true, force: true });
  }
}

/** A folder in memory, if the memory has room for so many bytes twice; else that of temporary files. */
function holdingFolder(bytes: number): string {
  if (!existsSync(MEMORY_FOLDER)) return tmpdir();
  const { bavail, bsize } = onFile(MEMORY_FOLDER, () => statfsSync(MEMORY_FOLDER));
  const [, available = '0'] = /^MemAvailable:\s+(\d+) kB$/m.exec(readFileSync('/proc/meminfo', 'latin1')) ?? [];
  return Math.min(bavail * bsize, Number(available) * 1024) > 2 * bytes ? MEMORY_FOLDER : tmpdir();
}
