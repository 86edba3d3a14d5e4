/** The flags of commands that read a dump, and how they open it: a directory, an archive, shards, a page stream or stdin. */
import { tmpdir } from 'node:os';
import type { HoldOptions } from '../arrival/hold.js';
import { openRandom, SOURCE_KINDS } from '../arrival/open.js';
import type { KnownDump } from '../arrival/summary.js';
import { dashed, type OptionName } from '../command-line/options.js';
import { hasMappedFiles } from '../containers/directory/files.js';
import { CountedFiles } from '../dump/counted.js';
import { type DumpFiles, dumpPlaces } from '../dump/files.js';
import { MEMORY_FOLDER } from '../dump/names.js';
import { hasSeveralPageSizes } from '../dump/page-size.js';
import type { DumpRecord } from '../dump/records.js';
import { onFile, UsageError } from '../errors.js';
import type { Place } from '../io/apart.js';
import type { MemoryBudget } from '../io/byte-queue.js';
import { reachOf } from '../io/mode.js';
import { type OpenDump, openDump, openDumpFiles, openUnchanging, type SourceOptions } from '../library/open-dump.js';
import { PAGE_SIZES } from '../memory/runs.js';
import { type Arguments, choice, type Io, pageSizeFlag } from './command.js';
import { Progress } from './progress.js';
import type { ReportedDump } from './report.js';
import type { DumpPlace } from './restore-commands.js';
import { s3Settings } from './s3-settings.js';

const MIB = 2 ** 20;
const DEFAULT_BUFFER_MIB = 32;

/** An open dump, and what commands report about it. */
export interface Source extends OpenDump {
  /** The directories and files that it is read from. */
  paths: readonly string[];
  /** Everything that is read: these, descriptors, the parent dumps, and the list of `--eager-list`. */
  inputs: readonly Place[];
  /** Bytes of all files and pages; 0 if that is not known beforehand. */
  totalBytes(): number;
  reported(): ReportedDump;
  budget: MemoryBudget;
}

/**
 * Opens the source that the options of a source describe.
 * @param areas whether pages are classified by their areas
 * @param budget shared by a command that opens more than one source
 * @throws {UsageError} or DumpError
 */
export async function openCommandSource(
  path: string,
  args: Arguments,
  areas: boolean,
  io: Io,
  budget: MemoryBudget = budgetOf(args),
): Promise<Source> {
  const shards = shardsOf(path, args);
  const names = shards ?? (path === '-' ? [] : [path]);
  const options = { ...openOptions(args, io), ...pageSizeFlag(args, PAGE_SIZES), budget, areas };
  const progress = new Progress(io, () => 0);
  const opened = await openDump(shards ?? path, { ...options, progress: progress.add }).finally(() => progress.done());
  const { kind, known } = opened;
  const isRandom = opened.files !== undefined;
  const place = opened.files?.path ?? path;
  if (opened.files?.kind === 'directory' && hasMappedFiles(place)) {
    io.note(
      `${place} maps files of its folder ${MEMORY_FOLDER}, and so will what is made of it; see pagepipe untemplate`,
    );
  }
  const paths = opened.files ? [place] : names.filter((name) => typeof name === 'string');
  return {
    ...opened,
    paths,
    inputs: [...inputPlaces(path, args, io), ...(opened.files ? dumpPlaces(opened.files) : [])],
    totalBytes: () => (isRandom ? known.bytes : 0),
    reported: () => reportedOf(place, { kind, paths }, known),
    budget,
  };
}

/**
 * The files of a source, for commands that need random access. A dump that arrives is held.
 * @param of `pages`: whether pages are held as well; `budget`: shared by a command that opens more than one source;
 *   `progress`: told of the bytes that arrive, and of those that are read
 */
export async function openCommandFiles(
  path: string,
  args: Arguments,
  io: Io,
  { pages = 'count', outside = false, budget = budgetOf(args), progress }: Partial<HoldOptions> = {},
): Promise<DumpFiles> {
  const options = { ...openOptions(args, io), pages, outside, budget, progress };
  const files = await openDumpFiles(shardsOf(path, args) ?? path, options);
  return progress ? new CountedFiles(files, progress) : files;
}

/** The files of a source that allows random access, which must not change from now on; undefined for one that arrives. */
export const openCommandUnchanging = (path: string, args: Arguments, io: Io): Promise<DumpFiles | undefined> =>
  openUnchanging(shardsOf(path, args) ?? path, openOptions(args, io));

/** The files of a source that allows random access; undefined for one that arrives. */
export const openBeforehand = (path: string, args: Arguments, io: Io): Promise<DumpFiles | undefined> =>
  shardsOf(path, args) ? Promise.resolve(undefined) : openRandom(path, openOptions(args, io));

/** What is read of a source, and of the list of `--eager-list`; {@link dumpPlaces} knows more of a dump that is open. */
export function inputPlaces(path: string, args: Arguments, io: Io): Place[] {
  const { eagerList } = args.flags as { eagerList?: string };
  return [
    ...(shardsOf(path, args) ?? [path === '-' ? io.stdinFd : path]),
    ...(eagerList === undefined ? [] : [eagerList]),
  ];
}

/**
 * Makes a stage for a dump whose new place is not known. Its directory is open only to those who can reach the dump here.
 */
export function privately({ files, name }: Source) {
  const reach = files?.kind === 'directory' ? onFile(name, () => reachOf(files.path)) : 0o777;
  return (record: DumpRecord): DumpRecord =>
    record.type === 'header' ? { ...record, directoryMode: record.directoryMode & reach } : record;
}

/** The name of a source in errors. */
export const sourceName = (path: string, args: Arguments): string => {
  if (path !== '-') return path;
  return args.flags['shardFds'] === undefined ? 'stdin' : 'shards';
};

/** What the options of a source say. */
export function openOptions(args: Arguments, io: Io): Required<Omit<SourceOptions, 'progress'>> {
  return {
    from: args.flags['from'] === undefined ? undefined : choice(args, 'from', SOURCE_KINDS, 'directory'),
    budget: budgetOf(args),
    maxBytes: sizeOf(args, 'maxBytes', Number.MAX_SAFE_INTEGER, 1),
    stdinFd: io.stdinFd,
    incomplete: args.flags['incomplete'] === true,
    signal: io.signal,
    warn: io.warn,
    s3: s3Settings(args),
  };
}

function reportedOf(path: string, place: DumpPlace, { tasks, pageSize, march, bytes }: KnownDump): ReportedDump {
  const hidden = hasSeveralPageSizes(march) ? { pageSize } : {};
  return { path, place: { ...place, ...hidden }, tasks, pageSize, bytes };
}

export const budgetOf = (args: Arguments): MemoryBudget => ({
  bytes: sizeOf(args, 'buffer', DEFAULT_BUFFER_MIB, MIB),
  directory: (args.flags['spillDir'] as string | undefined) ?? tmpdir(),
});

/** A size in bytes. Throws {@link UsageError}. */
function sizeOf(args: Arguments, name: OptionName, fallback: number, unitBytes: number): number {
  const value = (args.flags[name] as number | undefined) ?? fallback;
  const bytes = Math.floor(value * unitBytes);
  if (Number.isSafeInteger(bytes) && bytes >= 0) return bytes;
  throw new UsageError(`${dashed(name)}: expected a size from 0 to 2^53 bytes, found ${value * unitBytes}`);
}

/** Shards by descriptor or, with `--from shards`, by name. */
export function shardsOf(path: string, args: Arguments): (number | string)[] | undefined {
  const fds = shardFds(args);
  if (fds) return fds;
  return args.flags['from'] === 'shards' && path !== '-' ? path.split(',') : undefined;
}

/** The descriptors of `--shard-fds`. Throws {@link UsageError}. */
export function shardFds(args: Arguments): number[] | undefined {
  const fds = args.flags['shardFds'] as string | undefined;
  if (fds === undefined) return undefined;
  if (!/^\d+(,\d+)*$/.test(fds))
    throw new UsageError(`--shard-fds: expected numbers and commas, found ${JSON.stringify(fds)}`);
  return fds.split(',').map(Number);
}
