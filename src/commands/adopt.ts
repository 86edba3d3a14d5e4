import { existsSync, mkdtempSync, rmSync, statfsSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import type { Duplex } from 'node:stream';
import { extract } from '../arrival/extract.js';
import { DirectoryFiles } from '../containers/directory/files.js';
import { DirectorySink } from '../containers/directory/write.js';
import { decodeChunks } from '../containers/page-stream/stream.js';
import { readShards } from '../containers/shards/read.js';
import type { FileEvents } from '../dump/events.js';
import { MIGRATION } from '../dump/names.js';
import { pump } from '../dump/pump.js';
import { DumpError, onFile, UsageError } from '../errors.js';
import { LazyDaemon } from '../lazy/daemon.js';
import { requireDaemonCalls } from '../lazy/daemon-calls.js';
import { firstNeeded } from '../lazy/first-needed.js';
import type { Restore } from '../lazy/restore.js';
import { ServerSource } from '../lazy/server-source.js';
import { CriuRun, checkCriu, criuVersion, endText } from '../migrate/criu-run.js';
import { FarEnd, GivenUp, PLACE } from '../migrate/far.js';
import { adoptOrphans } from '../migrate/orphans.js';
import { ownNamespace } from '../migrate/process-tree.js';
import type { Failed, Terms } from '../migrate/protocol.js';
import { Sum } from '../migrate/wire.js';
import { DumpMemory } from '../serve/memory.js';
import type { Arguments, Command, Io } from './command.js';
import { stdioStream } from './serve.js';

/** Ids in a message. */
const MAX_NAMED = 3;

const UNDECIDED =
  'This dump came with pagepipe migrate, and the connection ended before it was known here whether its processes\n' +
  'have ended at the other side. If they have, restore it: criu restore. If not, remove it.\n';
const COMMITTED =
  'This dump came with pagepipe migrate. Its processes have ended at the other side, and were about to be restored here.\n' +
  'If they do not run, restore it: criu restore.\n';

const HOT =
  'A part of a dump that came with pagepipe migrate --lazy. It is of no use without the pages that are at the other side.\n';

interface Flags {
  criu?: string;
  force?: boolean;
  keepDump?: boolean;
  lazy?: boolean;
}

/** What is restored, and how. */
interface Restorer {
  criu: string;
  out: string;
  /** Options for criu. */
  words: readonly string[];
}

export const command: Command = {
  cleansUp: true,
  endsTwice: true,
  async run(args, io) {
    const [out, ...words] = args.input;
    if (out === undefined) throw new UsageError('expected DIR, found nothing');
    const far = new FarEnd(stdioStream(io));
    try {
      await adopt(far, resolve(out), words, args, io);
    } catch (error) {
      // The near side says why.
      if (error instanceof GivenUp) return;
      if (!(await far.failed(failureOf(error, io)))) throw error;
    } finally {
      far.close();
    }
  },
};

function failureOf(error: unknown, { signal }: Io): Failed {
  if (!(error instanceof DumpError)) return { message: signal.aborted ? 'it was told to end' : String(error) };
  const { message, hint, temporary } = error;
  return { message, temporary, ...(hint === undefined ? {} : { hint }) };
}

async function adopt(far: FarEnd, out: string, words: readonly string[], args: Arguments, io: Io): Promise<void> {
  const { criu = 'criu', force = false, keepDump = false, lazy = false } = args.flags as Flags;
  if (lazy) requireDaemonCalls();
  const version = await criuVersion(criu);
  await checkCriu(criu);
  // It can be written, and replaces nothing.
  await new DirectorySink(out, { force }).discard();
  const { bavail, bsize } = onFile(out, () => statfsSync(dirname(out)));
  const terms = await far.ready({
    criu: version,
    architecture: process.arch,
    out,
    freeBytes: bavail * bsize,
    namespace: ownNamespace(),
  });
  checkFree(terms);
  const sum = new Sum();
  const restorer = { criu, out, words };
  if (!lazy) {
    await far.takeDump((chunks) => takeWhole(sum.of(chunks), out, force, io), io.signal);
    await restoreWhole(far, restorer, sum, keepDump);
    return;
  }
  const server = new Connections(far);
  try {
    await far.takeDump((chunks) => takeHot(server.openWith(sum.of(chunks)), out, force, io), io.signal);
    await restoreLazily(far, server, restorer, sum, io);
  } finally {
    server.close();
  }
}

/** Both connections to the page server at the near end. It has its pages when the dump begins to come, and they are opened then. */
class Connections {
  private opening: Promise<[Duplex, Duplex]> | undefined;

  constructor(private readonly far: FarEnd) {}

  async *openWith(chunks: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array, void, void> {
    for await (const chunk of chunks) {
      this.open().catch(() => {});
      yield chunk;
    }
  }

  open(): Promise<[Duplex, Duplex]> {
    this.opening ??= Promise.all([this.far.pages(), this.far.pages()]);
    return this.opening;
  }

  /** The session does not end before its streams. */
  close(): void {
    this.opening
      ?.then((streams) => {
        for (const stream of streams) stream.end();
      })
      .catch(() => {});
  }
}

async function takeWhole(chunks: AsyncIterable<Uint8Array>, out: string, force: boolean, io: Io): Promise<void> {
  await extract(marked(readShards([{ name: PLACE, chunks }])), out, {
    force,
    name: PLACE,
    signal: io.signal,
    warn: io.warn,
  });
}

/** What is needed at once. */
async function takeHot(chunks: AsyncIterable<Uint8Array>, out: string, force: boolean, io: Io): Promise<void> {
  const sink = new DirectorySink(out, { force, isTransient: true });
  try {
    onFile(out, () => writeFileSync(join(sink.temporary, MIGRATION), HOT));
    await pump(decodeChunks(chunks, PLACE), [], sink, io.signal);
  } finally {
    await sink.discard();
  }
}

/** Restores a dump that is complete here, when it is known that there is no other copy. */
async function restoreWhole(far: FarEnd, restorer: Restorer, sum: Sum, keepDump: boolean): Promise<void> {
  const { out } = restorer;
  const word = await far.landed({ bytes: sum.bytes, crc: sum.crc });
  if (word === 'given up') {
    rmSync(out, { recursive: true, force: true });
    throw new GivenUp(true);
  }
  if (word === 'unknown') {
    throw new DumpError('PROTOCOL', 'the connection ended before it was known whether the processes have ended there', {
      hint: `if they have, restore them here: criu restore -D ${out} -d; if not, remove ${out}`,
    });
  }
  // From here on nothing but criu can stop it: there is no other copy.
  mark(out, COMMITTED);
  const work = workFolder();
  const seconds = await restore(restorer, work, []).finally(() => rmSync(work, { recursive: true, force: true }));
  if (keepDump) rmSync(join(out, MIGRATION), { force: true });
  else rmSync(out, { recursive: true, force: true });
  await far.running({ seconds });
}

/** Restores what is needed at once, and gets the other pages from the near end. That has the complete dump. */
async function restoreLazily(far: FarEnd, server: Connections, restorer: Restorer, sum: Sum, io: Io): Promise<void> {
  const { out } = restorer;
  const work = workFolder();
  const noRestore = new AbortController();
  let source: ServerSource | undefined;
  try {
    const files = new DirectoryFiles(out);
    source = ServerSource.over(new DumpMemory(files), files, 'the other side', await server.open());
    let ended: Restore | undefined;
    const daemon = new LazyDaemon(source, requireDaemonCalls(), {
      directory: work,
      order: firstNeeded(files, source),
      signal: noRestore.signal,
      signalAgain: io.secondSignal,
      ended: (restored) => {
        ended = restored;
      },
    });
    const delivered = daemon.run();
    // Whoever waits for it sees the rejection.
    delivered.catch(() => {});
    const stop = async () => {
      noRestore.abort();
      await delivered.catch(() => {});
    };
    const word = await far.landed({ bytes: sum.bytes, crc: sum.crc });
    if (word !== 'commit') {
      await stop();
      if (word === 'given up') throw new GivenUp(true);
      throw new DumpError('PROTOCOL', 'the connection ended before the restore', { hint: 'nothing is left here' });
    }
    const seconds = await restore(restorer, work, ['--lazy-pages']).catch(async (error) => {
      await stop();
      throw error;
    });
    // If it is not heard, the pages do not come either.
    await far.running({ seconds }).catch(() => {});
    await delivered;
    if (!ended) throw new DumpError('PROTOCOL', 'criu restore ended without asking for pages');
    await far.delivered(ended.stats.summary(source.pageSize));
  } finally {
    source?.close();
    // It is of no use without the pages that are elsewhere.
    for (const folder of [work, out]) rmSync(folder, { recursive: true, force: true });
  }
}

/** Throws {@link DumpError} if other processes have the ids that the restored ones need. */
function checkFree({ ids, namespace }: Terms): void {
  // Here they are those of the processes themselves.
  if (namespace === ownNamespace()) return;
  const used = ids.filter((id) => existsSync(`/proc/${id}`));
  if (used.length === 0) return;
  const more = used.length > MAX_NAMED ? ` and ${used.length - MAX_NAMED} more` : '';
  throw new DumpError('SYSTEM', `other processes have the ids ${used.slice(0, MAX_NAMED).join(', ')}${more} there`);
}

/** A full disk is no reason not to restore. */
function mark(out: string, text: string): void {
  try {
    writeFileSync(join(out, MIGRATION), text);
  } catch {
    // It says that it is not known.
  }
}

/** The files of the dump, and one that says what it is. */
async function* marked(events: FileEvents): FileEvents {
  yield { type: 'file', name: MIGRATION, kind: 'regular', mode: 0o600 };
  yield { type: 'data', name: MIGRATION, bytes: Buffer.from(UNDECIDED) };
  yield { type: 'fileEnd', name: MIGRATION };
  yield* events;
}

const workFolder = (): string => onFile(tmpdir(), () => mkdtempSync(join(tmpdir(), 'pagepipe-migrate-')));

/** Returns how long it has taken, in seconds. Throws {@link DumpError} SYSTEM; then none of the processes is left. */
async function restore({ criu, out, words }: Restorer, work: string, own: readonly string[]): Promise<number> {
  const started = performance.now();
  const endOrphans = adoptOrphans();
  const options = ['-d', '-D', out, '-W', work, ...own, ...words];
  const run = await CriuRun.start(criu, ['restore', ...options], join(out, 'restore.log'));
  const end = await run.ended;
  if (end.code === 0) return Math.round(performance.now() - started) / 1000;
  endOrphans();
  const reason = run.reason();
  throw new DumpError('SYSTEM', `criu restore ended with ${endText(end)}${reason === '' ? '' : `: ${reason}`}`);
}
