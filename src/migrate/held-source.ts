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
import { onFile } from '../errors.js';
import { PageStreamSink } from '../send/page-stream-sink.js';
import { DumpMemory } from '../serve/memory.js';
import type { Serve } from '../serve/server.js';
import { Session } from '../serve/session.js';
import { quoteWord } from '../shell.js';
import { classify } from '../stages/classify.js';
import { DROP_LAZY, filter } from '../stages/filter.js';
import { rebuild } from '../stages/rebuild.js';
import { PausedDump, PREFIX } from './paused-dump.js';
import { ProcessTree } from './process-tree.js';
import { type MigrationSource, noDump, type SourceOptions, settle } from './source.js';

/** A folder in memory. */
const MEMORY_FOLDER = '/dev/shm';

export interface HeldSourceOptions extends SourceOptions {
  /** Where the folder is made; by default in memory, if there is room for the dump. */
  parent: string | undefined;
  /** Whether the dump stays when the far end has all pages. */
  keeps: boolean;
}

/** Serves the pages that the far end has not got yet. */
export interface LazySource extends MigrationSource {
  /** Answers one connection of the far end. */
  readonly serve: Serve;
  /** The far end has all pages. */
  delivered(): void;
  /** The complete copy here, until all pages are there. */
  readonly remains: Remains;
}

export interface Remains {
  /** For programs. */
  field: { held: string } | { stopped: readonly number[] };
  /** What is true of the process until all pages are there, and if they do not come. */
  until: string;
  state: string;
  /** What to do if they do not come. */
  remedy: string;
}

export class HeldSource implements LazySource {
  /** Where the dump is. */
  private readonly place: string;
  private readonly dump: PausedDump;
  private memory: DumpMemory | undefined;
  private state: 'running' | 'held' | 'delivered' = 'running';
  isDecided = false;

  /** Throws {@link DumpError} SYSTEM. */
  constructor(private readonly options: HeldSourceOptions) {
    const parent = resolve(options.parent ?? holdingFolder(ProcessTree.of(options.pid)?.memoryBytes() ?? 0));
    this.place = onFile(parent, () => mkdtempSync(join(parent, PREFIX)));
    this.dump = new PausedDump(options);
  }

  get remains() {
    return {
      field: { held: this.place },
      until: `has ended here, and its dump is ${this.place} until all pages are there`,
      state: 'has ended here',
      remedy: `restore it here, as it was: criu restore -D ${quoteWord(this.place)} -d`,
    };
  }

  async ship(stream: Writable): Promise<void> {
    await this.dump.begin(this.place);
    const { signal, warn, progress } = this.options;
    const files = new DirectoryFiles(this.place);
    this.memory = new DumpMemory(files);
    const dump = await Dump.open(files, { warn });
    const stages = [classify({ warn }), filter(DROP_LAZY), rebuild({ holes: 'flag' })];
    await pump(dump.records(), stages, new PageStreamSink(stream, undefined, progress), signal);
  }

  async commit(): Promise<void> {
    const { signal, pid, warn } = this.options;
    const { criu } = this.dump;
    const tree = ProcessTree.of(pid);
    if (!this.memory || !criu || !tree) throw noDump(pid);
    signal.throwIfAborted();
    // From here on they may be dead, and this is their copy.
    this.state = 'held';
    this.isDecided = true;
    this.dump.succeed();
    try {
      await settle(tree, criu, warn);
    } catch (error) {
      this.state = 'running';
      throw error;
    }
  }

  readonly serve: Serve = (stream) => {
    if (!this.memory) throw noDump(this.options.pid);
    return new Session(this.memory, stream).run();
  };

  delivered(): void {
    this.state = 'delivered';
  }

  async close(): Promise<void> {
    await this.dump.close();
    this.memory?.close();
    this.memory = undefined;
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
