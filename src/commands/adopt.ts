import { existsSync, mkdtempSync, rmSync, statfsSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { extract } from '../arrival/extract.js';
import { DirectorySink } from '../containers/directory/write.js';
import { readShards } from '../containers/shards/read.js';
import type { FileEvents } from '../dump/events.js';
import { MIGRATION } from '../dump/names.js';
import { DumpError, onFile, UsageError } from '../errors.js';
import { CriuRun, checkCriu, criuVersion, endText } from '../migrate/criu-run.js';
import { FarEnd, GivenUp, PLACE } from '../migrate/far.js';
import { adoptOrphans } from '../migrate/orphans.js';
import { ownNamespace } from '../migrate/process-tree.js';
import type { Failed, Terms } from '../migrate/protocol.js';
import { Sum } from '../migrate/wire.js';
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
  const { message, hint } = error;
  return { message, ...(hint === undefined ? {} : { hint }) };
}

async function adopt(far: FarEnd, out: string, words: readonly string[], args: Arguments, io: Io): Promise<void> {
  const {
    criu = 'criu',
    force = false,
    keepDump = false,
  } = args.flags as { criu?: string; force?: boolean; keepDump?: boolean };
  const version = await criuVersion(criu);
  await checkCriu(criu);
  // It can be written, and replaces nothing.
  await new DirectorySink(out, { force }).discard();
  const { bavail, bsize } = onFile(out, () => statfsSync(dirname(out)));
  const terms = await far.ready({ criu: version, architecture: process.arch, out, freeBytes: bavail * bsize });
  checkFree(terms);
  const sum = new Sum();
  await far.takeDump(async (chunks) => {
    const events = marked(readShards([{ name: PLACE, chunks: sum.of(chunks) }]));
    await extract(events, out, { force, name: PLACE, signal: io.signal, warn: io.warn });
  }, io.signal);
  const word = await far.landed({ bytes: sum.bytes, crc: sum.crc });
  if (word === 'given up') {
    rmSync(out, { recursive: true, force: true });
    throw new GivenUp(true);
  }
  if (word === 'unknown') {
    throw new DumpError('PROTOCOL', `the connection ended before it was known whether the processes have ended there`, {
      hint: `if they have, restore them here: criu restore -D ${out} -d; if not, remove ${out}`,
    });
  }
  // From here on nothing but criu can stop it: there is no other copy.
  mark(out, COMMITTED);
  const seconds = await restore(criu, out, words);
  if (keepDump) rmSync(join(out, MIGRATION), { force: true });
  else rmSync(out, { recursive: true, force: true });
  await far.running({ seconds });
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

/** Returns how long it has taken, in seconds. Throws {@link DumpError} SYSTEM; then none of the processes is left. */
async function restore(criu: string, out: string, words: readonly string[]): Promise<number> {
  const work = onFile(tmpdir(), () => mkdtempSync(join(tmpdir(), 'pagepipe-migrate-')));
  const started = performance.now();
  const endOrphans = adoptOrphans();
  try {
    const run = await CriuRun.start(criu, ['restore', '-d', '-D', out, '-W', work, ...words], join(out, 'restore.log'));
    const end = await run.ended;
    if (end.code === 0) return Math.round(performance.now() - started) / 1000;
    endOrphans();
    const reason = run.reason();
    throw new DumpError('SYSTEM', `criu restore ended with ${endText(end)}${reason === '' ? '' : `: ${reason}`}`);
  } finally {
    rmSync(work, { recursive: true, force: true });
  }
}
