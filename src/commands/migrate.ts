import type { Writable } from 'node:stream';
import { setTimeout as delay } from 'node:timers/promises';
import { dashed } from '../command-line/options.js';
import { DumpError, UsageError } from '../errors.js';
import { criuVersion, isOlder } from '../migrate/criu-run.js';
import { FrozenSource } from '../migrate/frozen-source.js';
import { HeldSource, type LazySource } from '../migrate/held-source.js';
import { FarLost, NearEnd, type Steps } from '../migrate/near.js';
import { ownNamespace, ProcessTree } from '../migrate/process-tree.js';
import type { Delivered, Landed, Ready, Running, Terms } from '../migrate/protocol.js';
import { noDump, type SourceOptions, StreamedSource } from '../migrate/source.js';
import { parseDestination, RemoteProgram } from '../send/remote-shell.js';
import type { Serve } from '../serve/server.js';
import { type Arguments, type Command, type Io, refuseOptions } from './command.js';
import { MigrateReport } from './migrate-report.js';
import { Progress } from './progress.js';

/** Time limit for the far side to come to an end, in ms. */
const END_MS = 5000;

/** What would undo what a migration does, of the options of criu dump. */
const REFUSED = [
  ...['-t', '--tree', '-D', '--images-dir', '--stream', '-o', '--log-file', '-W', '--work-dir'],
  ...['-R', '--leave-running', '-s', '--leave-stopped'],
  ...['--lazy-pages', '--page-server', '--prev-images-dir', '--track-mem', '--auto-dedup'],
];
/** Options that criu restore must have, too, if criu dump has them. */
const SHARED = [
  ...['-j', '--shell-job', '-l', '--file-locks', '--tcp-established', '--tcp-close', '--skip-in-flight'],
  ...['--manage-cgroups', '--cgroup-root', '--ext-unix-sk', '--enable-external-masters', '--network-lock'],
];

export const command: Command = {
  cleansUp: true,
  endsTwice: true,
  async run(args, io) {
    const plan = planOf(args);
    if (args.flags['lazy'] !== true) refuseOptions(args, ['dumpDir'], ' needs --lazy');
    const tree = ProcessTree.of(plan.pid);
    if (!tree) throw new DumpError('SYSTEM', 'there is no such process', { file: String(plan.pid) });
    const version = await criuVersion(plan.criu);
    await new Migration(plan, tree, version, args, io).run();
  },
};

interface Plan {
  pid: number;
  host: string;
  out: string;
  criu: string;
  /** Options for criu dump, and for criu restore. */
  dumpWords: readonly string[];
  restoreWords: readonly string[];
}

function planOf({ input, flags }: Arguments): Plan {
  const [first, place, ...dumpWords] = input;
  if (first === undefined) throw new UsageError('expected PID, found nothing');
  if (!/^[1-9]\d*$/.test(first)) throw new UsageError(`expected a PID, found ${JSON.stringify(first)}`);
  if (place === undefined || place.startsWith('--')) throw new UsageError('expected HOST[:DIR], found nothing');
  const { criu = 'criu', restoreOptions = '' } = flags as { criu?: string; restoreOptions?: string };
  const more = restoreOptions.split(' ').filter((word) => word !== '');
  for (const word of [...dumpWords, ...more]) {
    if (REFUSED.includes(nameOf(word))) throw new UsageError(`${nameOf(word)} does not go with migrate`);
  }
  const pid = Number(first);
  const hasPlace = /:.*[^\]]$/.test(place.replace(/^([^@]*@)?\[[^\]]*\]/, ''));
  return {
    pid,
    ...parseDestination(hasPlace ? place : `${place.replace(/:$/, '')}:pagepipe-${pid}`),
    criu,
    dumpWords,
    restoreWords: [...dumpWords.filter((word) => SHARED.includes(nameOf(word))), ...more],
  };
}

const nameOf = (word: string): string => word.split('=', 1)[0] as string;

class Migration implements Steps {
  private readonly report: MigrateReport;
  private readonly progress: Progress;
  /** If lazy, it depends on the far end. */
  private source: StreamedSource | LazySource | undefined;
  readonly serve?: Serve;
  private readonly roll = new AbortController();
  private committing: Promise<void> | undefined;
  private hasCommitted = false;
  private far: Ready | undefined;

  constructor(
    private readonly plan: Plan,
    private readonly tree: ProcessTree,
    private readonly version: string,
    private readonly args: Arguments,
    private readonly io: Io,
  ) {
    const { pid, host } = plan;
    this.report = new MigrateReport(io, args.flags['json'] === true, pid, host);
    this.progress = new Progress(io, () => tree.memoryBytes());
    if (args.flags['lazy'] !== true) this.source = new StreamedSource(this.sourceOptions());
    else this.serve = (...client) => this.lazySource?.serve(...client) ?? Promise.reject(noDump(pid));
  }

  async run(): Promise<void> {
    const { io, plan, args } = this;
    const { rsh = 'ssh', pagepipePath = 'pagepipe', farCriu } = args.flags as Record<string, string | undefined>;
    const words = [pagepipePath, 'adopt', plan.out];
    if (farCriu !== undefined) words.push('--criu', farCriu);
    for (const flag of ['force', 'keepDump'] as const) if (args.flags[flag] === true) words.push(dashed(flag));
    if (this.serve) words.push('--lazy');
    if (plan.restoreWords.length > 0) words.push('--', ...plan.restoreWords);
    let remote: RemoteProgram | undefined;
    try {
      io.signal.throwIfAborted();
      remote = await RemoteProgram.start(rsh, plan.host, words);
      await this.talk(remote);
    } catch (error) {
      throw await this.explained(error, remote);
    } finally {
      this.progress.done();
      await this.source?.close();
      remote?.kill();
    }
  }

  private async talk(remote: RemoteProgram): Promise<void> {
    const { io, plan } = this;
    const near = new NearEnd(remote.connection, plan.host, this);
    const stop = () => {
      if (this.source?.isDecided) this.report.goesOn(this.lazySource?.remains);
      else this.rollBack(io.signal.reason, near);
    };
    const stopAtOnce = () => remote.connection.destroy();
    io.signal.addEventListener('abort', stop);
    io.secondSignal?.addEventListener('abort', stopAtOnce);
    near.lost.addEventListener('abort', () => this.rollBack(near.lost.reason, near));
    try {
      await near.run();
      // It has nothing more to say.
      await remote.end().catch(() => {});
    } finally {
      io.signal.removeEventListener('abort', stop);
      io.secondSignal?.removeEventListener('abort', stopAtOnce);
    }
  }

  private get lazySource(): LazySource | undefined {
    return this.source instanceof StreamedSource ? undefined : this.source;
  }

  private sourceOptions(): SourceOptions {
    const { pid, criu, dumpWords } = this.plan;
    return {
      pid,
      criu,
      words: dumpWords,
      signal: this.roll.signal,
      warn: this.io.warn,
      progress: this.progress.add,
      frozen: () => this.report.frozen(),
    };
  }

  /** The processes can be their own copy, unless that is wanted in a folder, or they must end before they can be restored. */
  private lazySourceFor(far: Ready): LazySource {
    const { dumpDir, keepDump = false } = this.args.flags as { dumpDir?: string; keepDump?: boolean };
    const options = this.sourceOptions();
    const isFrozen = dumpDir === undefined && !keepDump && far.namespace !== ownNamespace();
    return isFrozen ? new FrozenSource(options) : new HeldSource({ ...options, parent: dumpDir, keeps: keepDump });
  }

  /** The processes go on at once, if they are not about to die already. */
  private rollBack(reason: unknown, near: NearEnd): void {
    this.roll.abort(reason);
    near.fail(reason);
    this.source?.close().catch(() => {});
  }

  async ready(far: Ready): Promise<Terms> {
    const { version, tree, plan } = this;
    const place = { file: plan.host };
    this.far = far;
    if (far.architecture !== process.arch) {
      throw new DumpError('UNSUPPORTED', `expected a machine of ${process.arch}, found ${far.architecture}`, place);
    }
    if (isOlder(far.criu, version) && this.args.flags['olderCriu'] !== true) {
      throw new DumpError('UNSUPPORTED', `its criu ${far.criu} is older than the criu ${version} here`, {
        ...place,
        hint: '--older-criu tries it nevertheless',
      });
    }
    const needed = tree.memoryBytes();
    if (!this.serve && far.freeBytes < needed) {
      const what = `expected room for ${needed} bytes in the file system of ${far.out}, found ${far.freeBytes}`;
      throw new DumpError('SYSTEM', what, { ...place, temporary: true });
    }
    if (this.serve) this.source = this.lazySourceFor(far);
    this.report.checked(far);
    return { ids: tree.neededIds(), namespace: ownNamespace() };
  }

  ship(stream: Writable): Promise<void> {
    return this.source?.ship(stream) ?? Promise.reject(noDump(this.plan.pid));
  }

  async commit(landed: Landed): Promise<void> {
    this.progress.done();
    this.committing = this.source?.commit(landed);
    await this.committing;
    this.hasCommitted = true;
    this.report.committed(landed.bytes, this.lazySource?.remains);
  }

  running(running: Running): void {
    this.report.running(running);
  }

  delivered(delivered: Delivered): void {
    this.lazySource?.delivered();
    this.report.delivered(delivered);
  }

  /** The error, with what has become of the processes. */
  private async explained(error: unknown, remote: RemoteProgram | undefined): Promise<unknown> {
    await this.source?.close();
    // The connection may have ended before it was settled.
    await this.committing?.catch(() => {});
    let cause = error;
    const ended = remote?.end().catch((end) => {
      // How the far side has ended says more.
      if (error instanceof FarLost) cause = end;
    });
    // It removes what it has.
    if (!this.io.secondSignal?.aborted) await Promise.race([ended, delay(END_MS, undefined, { ref: false })]);
    const { pid, host } = this.plan;
    const message = cause instanceof Error ? cause.message : String(cause);
    if (this.hasCommitted) {
      const out = this.far?.out ?? this.plan.out;
      return new DumpError('PROTOCOL', message, {
        hint: this.report.afterCommit(out, error instanceof FarLost, this.lazySource?.remains),
        temporary: false, // The processes are no longer here.
        cause,
      });
    }
    const isAlive = this.tree.alive().includes(pid);
    const state = isAlive ? `process ${pid} goes on here` : `process ${pid} has ended here: look at ${host}`;
    if (!(cause instanceof DumpError)) {
      this.io.tell(state);
      return cause;
    }
    const hint = cause.hint === undefined ? state : `${cause.hint}; ${state}`;
    const { code, file, message: text } = cause;
    return new DumpError(code, file === undefined ? text : text.replace(`${file}: `, ''), {
      ...(file === undefined ? {} : { file }),
      hint,
      temporary: isAlive && cause.temporary,
      cause,
    });
  }
}
