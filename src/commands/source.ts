/** What commands share that take a dump from wherever it is. */

import { statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import type { ImageIndex } from '../archive/image-index.js';
import type { MemberSource } from '../archive/members.js';
import {
  type OpenOptions,
  type OpenSource,
  openImages,
  openInPlace,
  openSource,
  SOURCE_KINDS,
  type SourceKind,
  sourceKind,
} from '../archive/open.js';
import type { SpoolBudget } from '../archive/spool.js';
import type { KnownDump } from '../archive/streamed-dump.js';
import { UsageError } from '../errors.js';
import { PAGE_SIZES } from '../memory/runs.js';
import type { RecordSource } from '../pump.js';
import { Dump } from '../source/directory.js';
import { VARIABLE_PAGE_SIZE } from '../source/tasks.js';
import { type Arguments, choice, type Flag, type Io, pageSizeFlag } from './command.js';
import type { ReportedDump } from './report.js';
import type { DumpPlace } from './restore-commands.js';

/** Flags of every command with a source. */
export const SOURCE_FLAGS: Record<string, Flag> = {
  from: { type: 'string' },
  shardFds: { type: 'string' },
  buffer: { type: 'number' },
  spillDir: { type: 'string' },
  maxBytes: { type: 'number' },
  pageSize: { type: 'number' },
};

/** Help for them. */
export const SOURCE_HELP = `  --from directory|tar|stream|shards
                     what the source must be (found out from what is there); - is stdin
  --shard-fds 10,11  descriptors of the shards of criu-image-streamer; several files of shards may be named with commas
  --buffer MIB       memory for what must wait or be held (64)
  --spill-dir DIR    folder for what does not fit there, in a file without a name (the system's temporary folder)
  --max-bytes BYTES  most that a compressed archive may hold (2^53)
  --page-size BYTES  page size of the dumped machine (found out from the dump)`;

const MIB = 2 ** 20;
const DEFAULT_BUFFER_MIB = 64;

/** A dump that is open, and what is known of it when it has been read. */
export interface Source {
  kind: 'directory' | OpenSource['kind'];
  compression: OpenSource['compression'];
  records: RecordSource;
  /** The same as files that arrive, instead of the records, where it is neither a directory nor a page stream. */
  members: MemberSource | undefined;
  /** Of the source, for errors. */
  name: string;
  /** Of files and pages, where it is known beforehand. */
  totalBytes(): number;
  reported(): ReportedDump;
  /** Of its directory, if it is one. */
  directory: string | undefined;
  /** Of its file, if it is one. */
  path: string | undefined;
  budget: SpoolBudget;
  close(): void;
}

/**
 * Opens what the flags of {@link SOURCE_FLAGS} say.
 * @param areas whether pages are classified by their areas
 * @param budget where a command opens more than one
 * @throws {UsageError} and DumpError
 */
export async function openCommandSource(
  path: string,
  args: Arguments,
  areas: boolean,
  io: Io,
  budget: SpoolBudget = budgetOf(args),
): Promise<Source> {
  const from = fromFlag(args);
  const page = pageSizeFlag(args, PAGE_SIZES);
  const shards = shardsOf(path, args);
  if (!shards && sourceKind(path, from) === 'directory') return directorySource(path, page, budget, io);
  const source = await openSource(path, { ...openOptions(path, args, io), ...page, areas, budget });
  const file = path === '-' || shards ? undefined : path;
  const paths = file === undefined ? (shards ?? []).filter((shard) => typeof shard === 'string') : [file];
  const isServable = file !== undefined && source.kind === 'tar' && !source.compression && statSync(file).isFile();
  return {
    ...source,
    totalBytes: () => 0,
    directory: undefined,
    path: file,
    budget,
    reported: () => reportedOf(path, { kind: source.kind, isServable, paths }, source.dump, source.dump.bytes),
  };
}

/**
 * The files of what is no directory, for commands that look here and there; undefined for a directory.
 * @param of whether pages are held as well; where a command opens more than one source, what they share
 */
export async function openCommandImages(
  path: string,
  args: Arguments,
  io: Io,
  { pages = 'count', budget = budgetOf(args) }: { pages?: 'count' | 'hold'; budget?: SpoolBudget } = {},
): Promise<ImageIndex | undefined> {
  const options = openOptions(path, args, io);
  if (!options.shards && sourceKind(path, options.from) === 'directory') return undefined;
  return openImages(path, { ...options, pages, budget });
}

/**
 * What can be looked into before it is read: a plain archive, by an index, or a directory. Undefined for what can only be
 * read from front to back.
 */
export async function openBeforehand(
  path: string,
  args: Arguments,
): Promise<{ index: ImageIndex | undefined } | undefined> {
  const from = fromFlag(args);
  const shards = shardsOf(path, args);
  if (!shards && sourceKind(path, from) === 'directory') return { index: undefined };
  const index = await openInPlace(path, { from, ...(shards ? { shards } : {}) });
  return index && { index };
}

/** What a source is called in errors. */
export const sourceName = (path: string, args: Arguments): string => {
  if (path !== '-') return path;
  return args.flags['shardFds'] === undefined ? 'stdin' : 'shards';
};

const fromFlag = (args: Arguments): SourceKind | undefined =>
  args.flags['from'] === undefined ? undefined : choice(args, 'from', SOURCE_KINDS, 'directory');

function openOptions(path: string, args: Arguments, io: Io): OpenOptions {
  const shards = shardsOf(path, args);
  return {
    from: fromFlag(args),
    ...(shards ? { shards } : {}),
    areas: false,
    budget: budgetOf(args),
    maxBytes: positive(args, 'maxBytes', Number.MAX_SAFE_INTEGER),
    stdinFd: io.stdinFd,
    signal: io.signal,
  };
}

function directorySource(path: string, page: { pageSize?: number }, budget: SpoolBudget, io: Io): Source {
  const dump = new Dump(path, { ...page, warn: (message) => io.err(`pagepipe: warning: ${message}\n`) });
  const bytes = () => dump.otherBytes + dump.payloadBytes;
  return {
    kind: 'directory',
    compression: undefined,
    // May be gone through again.
    records: { [Symbol.iterator]: () => dump.records() },
    members: undefined,
    name: path,
    totalBytes: bytes,
    directory: path,
    path: undefined,
    budget,
    reported: () => reportedOf(path, { kind: 'directory', isServable: true, paths: [path] }, dump, bytes()),
    close: () => dump.close(),
  };
}

function reportedOf(
  path: string,
  place: DumpPlace,
  { tasks, pageSize, march }: Omit<KnownDump, 'bytes'>,
  bytes: number,
): ReportedDump {
  const hidden = VARIABLE_PAGE_SIZE.includes(march ?? 0) ? { pageSize } : {};
  return { path, place: { ...place, ...hidden }, tasks, pageSize, bytes };
}

export const budgetOf = (args: Arguments): SpoolBudget => ({
  bytes: positive(args, 'buffer', DEFAULT_BUFFER_MIB) * MIB,
  directory: (args.flags['spillDir'] as string | undefined) ?? tmpdir(),
});

function positive(args: Arguments, name: string, fallback: number): number {
  const value = (args.flags[name] as number | undefined) ?? fallback;
  if (!Number.isSafeInteger(value) || value < 0)
    throw new UsageError(`--${name}: expected a whole number, found ${value}`);
  return value;
}

/** Shards by descriptor or, with `--from shards`, by their names. */
function shardsOf(path: string, args: Arguments): (number | string)[] | undefined {
  const fds = shardFds(args);
  if (fds) return fds;
  return args.flags['from'] === 'shards' && path !== '-' ? path.split(',') : undefined;
}

/** What `--shard-fds` says. Throws {@link UsageError}. */
export function shardFds(args: Arguments): number[] | undefined {
  const fds = args.flags['shardFds'] as string | undefined;
  if (fds === undefined) return undefined;
  if (!/^\d+(,\d+)*$/.test(fds))
    throw new UsageError(`--shard-fds: expected numbers and commas, found ${JSON.stringify(fds)}`);
  return fds.split(',').map(Number);
}
