/**
 * Where commands put a dump. As with `tar -a`, the name of the place says what it becomes: an archive by its suffix, otherwise
 * a directory. `--to` and `--compress` take precedence.
 */
import { foreignSuffix } from '../arrival/foreign.js';
import { OPTIONS } from '../command-line/options.js';
import type { DirectorySink } from '../containers/directory/write.js';
import type { CheckpointImage } from '../containers/oci/layout.js';
import { isS3Name } from '../containers/s3/address.js';
import type { S3Settings } from '../containers/s3/protocol.js';
import type { S3Sink } from '../containers/s3/write.js';
import type { ShardSink } from '../containers/shards/write.js';
import type { TarSink } from '../containers/tar/write.js';
import { SizeSink } from '../dump/size.js';
import { UsageError } from '../errors.js';
import type { Place } from '../io/apart.js';
import type { MemoryBudget } from '../io/byte-queue.js';
import type { Compression } from '../io/compression.js';
import { openDirectory, openOci, openShards, openTar, type PlaceOptions } from '../library/sinks.js';
import { type Arguments, choice, type Io, refuseTerminals } from './command.js';
import { s3Settings } from './s3-settings.js';

const SINK_KINDS = OPTIONS.to.value;
export const COMPRESSIONS = OPTIONS.compress.value;
export type SinkKind = (typeof SINK_KINDS)[number];

/** What is written to a place. */
export interface Target {
  /** As on the command line: `-` for stdout, shards separated by commas. */
  place: string;
  kind: SinkKind;
  compression: Compression | undefined;
  prefix: string;
}

/** What a sink must know of where the dump comes from. */
export interface SinkSource {
  kind: string;
  /** The OCI image that it is in. */
  image?: CheckpointImage | undefined;
  /** All that is read for it. */
  inputs: readonly Place[];
  budget: MemoryBudget;
}

/** What the name of an archive says about its compression; undefined for other names. */
const ARCHIVE_NAMES: readonly [name: RegExp, compression: Compression | 'none'][] = [
  [/\.tar$/, 'none'],
  [/\.(tar\.gz|tgz)$/, 'gzip'],
  [/\.(tar\.zst|tzst)$/, 'zstd'],
];

/** What is to be written to a place. Throws {@link UsageError} as {@link targetsOf} does. */
export const targetOf = (args: Arguments, place: string): Target => targetsOf(args, [place])[0] as Target;

/**
 * What is to be written to each of the places. If one of several is stdout, `--to` is for that one.
 * @throws {UsageError} for a place whose name does not say it, and for flags that are for archives where none is written
 */
export function targetsOf(args: Arguments, places: readonly string[]): Target[] {
  const { compress, prefix } = args.flags as { compress?: string; prefix?: string };
  const { to, ...byName } = args.flags;
  const takesTo = (place: string) => place === '-' || !places.includes('-');
  const targets = places.map((place) => targetAt(takesTo(place) ? args : { ...args, flags: byName }, place));
  if ((compress ?? prefix) !== undefined && targets.every(({ kind }) => !isArchive(kind))) {
    throw new UsageError(
      `--${compress === undefined ? 'prefix' : 'compress'} is for archives; name one (${places[0]}.tar) or use --to tar`,
    );
  }
  if (prefix !== undefined && !/^[^/]+(\/[^/]+)*\/?$/.test(prefix)) {
    throw new UsageError(`--prefix: expected a folder in the archive, found ${JSON.stringify(prefix)}`);
  }
  return targets;
}

function targetAt(args: Arguments, place: string): Target {
  const named = ARCHIVE_NAMES.find(([name]) => name.test(place))?.[1];
  const kind = kindOf(args, place, named !== undefined);
  const byName = kind === 'oci' ? 'gzip' : (named ?? 'none');
  const compression = choice(args, 'compress', COMPRESSIONS, byName);
  const { prefix = '' } = args.flags as { prefix?: string };
  return { place, kind, compression: compression === 'none' ? undefined : compression, prefix };
}

function kindOf(args: Arguments, place: string, isNamed: boolean): SinkKind {
  if (args.flags['to'] !== undefined) return choice(args, 'to', SINK_KINDS, 'directory');
  if (place === '-') throw new UsageError('- is stdout: expected --to tar, --to oci or --to shards with it');
  if (place.endsWith('.oci.tar')) return 'oci';
  if (isNamed) return 'tar';
  const suffix = foreignSuffix(place);
  if (suffix === undefined) return 'directory';
  throw new UsageError(
    `${place}: expected .tar, .tar.gz or .tar.zst, found ${suffix}; --to tar writes a plain archive`,
  );
}

/** Whether a container has folders, and files outside the dump. */
const isArchive = (kind: string): boolean => kind === 'tar' || kind === 'oci';

export interface SinkOptions {
  force: boolean;
  /** Whether nothing is to be written. */
  dryRun: boolean;
  /** Whether the dump gets sums of its blocks. */
  sums: boolean;
  /** Where the object store of s3:// names is. */
  s3: S3Settings;
  progress(bytes: number): void;
}

export const sinkOptions = (args: Arguments, progress: (bytes: number) => void): SinkOptions => ({
  force: args.flags['force'] === true,
  dryRun: args.flags['dryRun'] === true,
  sums: args.flags['blockSums'] === true,
  s3: s3Settings(args),
  progress,
});

/** Opens a sink. Throws {@link UsageError} for `--prefix` if the images already have a folder. */
export function openSink(
  { place, kind, compression, prefix }: Target,
  { kind: from, image, budget, inputs: sources }: SinkSource,
  { dryRun, ...common }: SinkOptions,
  io: Io,
): DirectorySink | S3Sink | TarSink | ShardSink | SizeSink {
  const options = { ...common, sources, signal: io.signal };
  if (prefix !== '' && isArchive(from)) {
    throw new UsageError('--prefix: the source is an archive, whose files keep their folders');
  }
  if (dryRun) return new SizeSink();
  if (kind === 'directory') return openDirectory(place, options);
  if (kind === 'shards') return openCommandShards(place.split(','), options, io);
  if (place === '-') refuseTerminals(io, { stdout: true });
  const archive = { ...options, prefix, compression, budget, mtimeSeconds: sourceDateEpoch() };
  const to = place === '-' ? io.stdoutFd : place;
  return kind === 'oci' ? openOci(to, { ...archive, image }, 'stdout') : openTar(to, archive, 'stdout');
}

/** Latest time that a header of an archive can have. */
const MAX_TIME_SECONDS = 8 ** 11 - 1;

/**
 * The time of the files in a new archive, in seconds since 1970: 0, unless SOURCE_DATE_EPOCH says something else. It must not
 * be that of the clock, because the same dump would give other bytes each time. See reproducible-builds.org.
 */
function sourceDateEpoch(): number {
  const { SOURCE_DATE_EPOCH: text = '0' } = process.env;
  const seconds = /^\d{1,11}$/.test(text) ? Number(text) : Number.NaN;
  if (seconds <= MAX_TIME_SECONDS) return seconds;
  throw new UsageError(`SOURCE_DATE_EPOCH: expected seconds since 1970, found ${JSON.stringify(text)}`);
}

/** A sink of shards by name, where `-` is stdout, or by descriptor. */
export function openCommandShards(places: readonly (string | number)[], options: PlaceOptions, io: Io): ShardSink {
  if (places.some(isS3Name)) throw new UsageError('shards are pipes or files, and not objects: write .tar or a prefix');
  if (new Set(places).size < places.length) throw new UsageError('expected each shard once, found one twice');
  if (places.includes('-')) refuseTerminals(io, { stdout: true });
  return openShards(
    places.map((place) => (place === '-' ? io.stdoutFd : place)),
    options,
  );
}
