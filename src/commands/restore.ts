import { accessSync, constants, existsSync, mkdtempSync, realpathSync, rmSync, symlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { DirectoryFiles } from '../containers/directory/files.js';
import { Dump } from '../dump/dump.js';
import { pump, type Stage } from '../dump/pump.js';
import { DumpError, onFile, UsageError } from '../errors.js';
import { checkApart, isRemote } from '../io/apart.js';
import { LazyDaemon } from '../lazy/daemon.js';
import { requireDaemonCalls } from '../lazy/daemon-calls.js';
import type { OpenPages } from '../library/lazy-pages.js';
import { directorySink } from '../library/sinks.js';
import { PAGE_SIZES } from '../memory/runs.js';
import { FaultRecord } from '../serve/recorder.js';
import { classify } from '../stages/classify.js';
import { DROP_LAZY, filter } from '../stages/filter.js';
import { rebuild } from '../stages/rebuild.js';
import { MappedMemory } from '../template/mapped-memory.js';
import { type Arguments, type Command, type Io, ProgramFailed, pageSizeFlag, refuseOptions } from './command.js';
import { runCriu } from './criu.js';
import { openPages, pageOrder, RestoreReport } from './lazy-source.js';
import { writeTemplate } from './template.js';

/** A folder in memory. */
const MEMORY_FOLDER = '/dev/shm';

export const command: Command = {
  cleansUp: true,
  endsTwice: true,
  async run(args, io) {
    const [path, ...options] = args.input;
    if (path === undefined || path.startsWith('--')) throw new UsageError('expected DUMP, found nothing');
    const folder = args.flags['template'] as string | undefined;
    if (folder !== undefined) {
      await restoreTemplate(path, folder, options, args, io);
      return;
    }
    refuseOptions(args, ['minSize', 'allowDontneed', 'root'], ' is for --template');
    if (args.flags['plain'] !== true) requireDaemonCalls();
    const opened = await openPages(path, args, io);
    const isPlain = args.flags['plain'] === true;
    const made: string[] = [];
    try {
      const parent = (args.flags['workDir'] as string | undefined) ?? workParent(isPlain);
      checkApart(parent, opened.places);
      const work = onFile(parent, () => mkdtempSync(join(resolve(parent), 'pagepipe-restore-')));
      made.push(work);
      const small = join(work, 'images');
      if (!isPlain) await makeHot(opened, small, args, io);
      else if (opened.files.kind !== 'directory') await copyTo(opened, small, [], args, io);
      const images = isPlain && opened.files.kind === 'directory' ? resolve(opened.files.path) : small;
      if (isPlain) await restorePlainly(images, work, options, args, io);
      else await restoreLazily(opened, images, work, options, args, io);
    } finally {
      opened.source.close();
      for (const folder of made) rmSync(folder, { recursive: true, force: true });
    }
  },
};

/** Restores from the template of a dump, which is made first if it is not there. */
async function restoreTemplate(
  path: string,
  folder: string,
  options: readonly string[],
  args: Arguments,
  io: Io,
): Promise<void> {
  refuseOptions(args, ['order', 'record', 'plain'], ' does not go with --template, which delivers no pages');
  if (existsSync(join(folder, 'inventory.img'))) checkTemplate(folder);
  else {
    const { out, memory } = await writeTemplate(path, folder, args, io);
    io.tell(`made the template ${out}: keep ${memory} as it is, and in its place`);
  }
  const parent = (args.flags['workDir'] as string | undefined) ?? tmpdir();
  const work = onFile(parent, () => mkdtempSync(join(resolve(parent), 'pagepipe-restore-')));
  try {
    await restorePlainly(resolve(folder), work, options, args, io);
  } finally {
    rmSync(work, { recursive: true, force: true });
  }
}

/** Throws {@link DumpError} if a mapped file of a template is not what it was. */
function checkTemplate(folder: string): void {
  const memory = MappedMemory.open(new DirectoryFiles(folder), undefined);
  if (!memory) throw new DumpError('OUTPUT_EXISTS', 'expected a template, found another dump', { file: folder });
  try {
    memory.check();
  } finally {
    memory.close();
  }
}

/** Where a work directory is made if none is given: a whole dump may be too large for memory. */
function workParent(isPlain: boolean): string {
  if (isPlain) return tmpdir();
  try {
    accessSync(MEMORY_FOLDER, constants.W_OK);
    return MEMORY_FOLDER;
  } catch {
    return tmpdir();
  }
}

/** Writes the dump, or what some stages leave of it, to a new directory. */
async function copyTo({ files }: OpenPages, path: string, stages: Stage[], args: Arguments, io: Io): Promise<void> {
  const incomplete = args.flags['incomplete'] === true;
  const dump = await Dump.open(files, { ...pageSizeFlag(args, PAGE_SIZES), incomplete, warn: io.warn });
  const sink = await directorySink(path);
  await pump(dump.records(), stages, sink, io.signal);
  if (!sink.written.parentMissing) return;
  if (isRemote(files.path)) {
    throw new DumpError('UNSUPPORTED', 'criu restore cannot reach the parent of a dump in an object store', {
      file: files.path,
      hint: 'copy the dumps that it builds on to directories first, each with the name that it has there',
    });
  }
  // The link was relative to the dump.
  const link = join(path, 'parent');
  rmSync(link, { force: true });
  symlinkSync(realpathSync(join(files.path, 'parent')), link);
}

const makeHot = (opened: OpenPages, path: string, args: Arguments, io: Io): Promise<void> =>
  copyTo(opened, path, [classify({ warn: io.warn }), filter(DROP_LAZY), rebuild({ holes: 'flag' })], args, io);

async function restoreLazily(
  { source, places }: OpenPages,
  images: string,
  work: string,
  options: readonly string[],
  args: Arguments,
  io: Io,
): Promise<void> {
  const { record: list } = args.flags as { record?: string };
  const record = list === undefined ? undefined : new FaultRecord(list, places, source.pageSize);
  const noConnection = new AbortController();
  try {
    const report = new RestoreReport(io, args.flags['json'] === true, source.pageSize, () => daemon.active);
    let criu: Promise<number> | undefined;
    let isConnected = false;
    const daemon: LazyDaemon = new LazyDaemon(source, requireDaemonCalls(), {
      directory: work,
      order: pageOrder(args, source.pageSize),
      record: record && ((pid, page) => record.add(pid, page)),
      signal: AbortSignal.any([io.signal, noConnection.signal]),
      signalAgain: io.secondSignal,
      listening: () => {
        criu = runCriu(['restore', '--lazy-pages', ...placesOf(images, work), ...detached(args), ...options], args);
        // A criu that has ended before it connected will not connect.
        criu.finally(() => isConnected || noConnection.abort()).catch(() => {});
      },
      began: () => {
        isConnected = true;
      },
      running: (restore) => report.running(restore),
      ended: (restore, error) => report.ended(restore, error),
      finishing: (left) => report.finishing(left),
    });
    const delivered = daemon.run().finally(() => report.done());
    const [pages, ended] = await Promise.allSettled([delivered, delivered.catch(() => {}).then(() => criu ?? 0)]);
    if (ended.status === 'rejected') throw ended.reason;
    if (ended.value !== 0) throw new ProgramFailed('criu restore', ended.value);
    if (pages.status === 'rejected') throw pages.reason;
    if (!isConnected) {
      io.signal.throwIfAborted();
      throw new DumpError('PROTOCOL', 'criu restore ended without asking for pages');
    }
    record?.commit();
  } finally {
    record?.discard();
  }
}

async function restorePlainly(
  images: string,
  work: string,
  options: readonly string[],
  args: Arguments,
  io: Io,
): Promise<void> {
  const started = performance.now();
  const exitCode = await runCriu(['restore', ...placesOf(images, work), ...detached(args), ...options], args);
  if (exitCode !== 0) throw new ProgramFailed('criu restore', exitCode);
  if (args.flags['wait'] !== true) io.tell(`restored in ${((performance.now() - started) / 1000).toFixed(2)} s`);
}

const placesOf = (images: string, work: string): string[] => ['-D', images, '-W', work];

const detached = (args: Arguments): string[] => (args.flags['wait'] === true ? [] : ['-d']);
