/**
 * The processes at the near end, for a migration whose pages follow later, without a copy of them: criu dumps all but the lazy pages,
 * which the far end then gets from the frozen processes themselves. These are the complete copy until it has every page.
 *
 * They are frozen by criu, and would go on if it were killed. So each gets a SIGSTOP before the far end may restore them: it waits
 * until criu lets them go, for whatever reason, and they run no instruction before it. Only then there is a second copy.
 *
 * At the end criu would serve the lazy pages itself. It gets a socket at which nobody asks for any.
 */
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import type { Writable } from 'node:stream';
import { DirectoryFiles } from '../containers/directory/files.js';
import { Dump } from '../dump/dump.js';
import { pump } from '../dump/pump.js';
import { DumpError, onFile } from '../errors.js';
import { PageStreamSink } from '../send/page-stream-sink.js';
import type { Serve } from '../serve/server.js';
import { Session } from '../serve/session.js';
import { FrozenMemory } from './frozen-memory.js';
import type { LazySource } from './held-source.js';
import { PausedDump } from './paused-dump.js';
import { ProcessTree } from './process-tree.js';
import { noDump, type SourceOptions } from './source.js';

/** Descriptor 3 of criu. */
const WITHOUT_LAZY_PAGES = ['--lazy-pages', '--ps-socket', '3'];

export class FrozenSource implements LazySource {
  private readonly dump: PausedDump;
  private tree: ProcessTree | undefined;
  /** Processes that were alive when criu waited. */
  private frozen = 0;
  /** Those that stood still before. */
  private stopped: readonly number[] = [];
  private memory: FrozenMemory | undefined;
  private state: 'running' | 'stopped' | 'delivered' = 'running';

  /** Throws {@link DumpError} SYSTEM. */
  constructor(private readonly options: SourceOptions) {
    this.dump = new PausedDump(options);
  }

  get isDecided(): boolean {
    return this.state !== 'running';
  }

  get remains() {
    const pids = this.continuable();
    return {
      field: { stopped: pids },
      until: 'is frozen here until all pages are there',
      state: 'is stopped here',
      remedy: `let it go on here, as it was: kill -CONT ${pids.join(' ')}`,
    };
  }

  async ship(stream: Writable): Promise<void> {
    const { pid, signal, warn, progress } = this.options;
    this.stopped = ProcessTree.of(pid)?.stopped() ?? [];
    const place = join(this.dump.work, 'images');
    onFile(place, () => mkdirSync(place));
    await this.dump.begin(place, WITHOUT_LAZY_PAGES, true);
    const tree = ProcessTree.of(pid);
    if (!tree) throw noDump(pid);
    this.tree = tree;
    this.frozen = tree.alive().length;
    const files = new DirectoryFiles(place);
    this.memory = new FrozenMemory(files, tree.byOwnId());
    const dump = await Dump.open(files, { warn });
    await pump(dump.records(), [], new PageStreamSink(stream, undefined, progress), signal);
  }

  async commit(): Promise<void> {
    const { tree } = this;
    const { pid, signal } = this.options;
    if (!this.memory || !tree) throw noDump(pid);
    signal.throwIfAborted();
    tree.signal('SIGSTOP');
    if (tree.alive().length < this.frozen || !tree.isTraced()) {
      // They may have run since the dump, or ended.
      tree.signal('SIGCONT', this.continuable());
      throw new DumpError('SYSTEM', 'criu dump has let the processes go before their dump was complete');
    }
    this.state = 'stopped';
  }

  readonly serve: Serve = (stream) => {
    if (!this.memory) throw noDump(this.options.pid);
    return new Session(this.memory, stream).run();
  };

  delivered(): void {
    this.state = 'delivered';
  }

  async close(): Promise<void> {
    const isDelivered = this.state === 'delivered';
    if (isDelivered) {
      this.dump.succeed();
      await this.dump.criu?.ended;
    }
    await this.dump.close();
    // With CRIU 4.3 the dump fails when nobody asks for pages, and leaves them stopped.
    if (isDelivered) this.tree?.signal('SIGKILL');
    this.memory?.close();
    this.memory = undefined;
  }

  private continuable(): number[] {
    return this.tree?.alive().filter((pid) => !this.stopped.includes(pid)) ?? [];
  }
}
