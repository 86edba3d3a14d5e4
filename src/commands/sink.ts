/** Where commands put a dump. */
import { existsSync, statSync } from 'node:fs';
import { DirectorySink } from '../containers/directory/write.js';
import type { ShardSink } from '../containers/shards/write.js';
import type { TarSink } from '../containers/tar/write.js';
import { UsageError } from '../errors.js';
import type { Place } from '../io/apart.js';
import type { MemoryBudget } from '../io/byte-queue.js';
import type { Compression } from '../io/compression.js';
import { type ArchiveOptions, openShards, openTar, type PlaceOptions } from '../library/sinks.js';
import { type Arguments, choice, type Io, refuseTerminals } from './command.js';

export const SINK_KINDS = ['directory', 'tar', 'shards'] as const;
export type SinkKind = (typeof SINK_KINDS)[number];

/** What a sink must know of where the dump comes from. */
export interface SinkSource {
  kind: string;
  compression: Compression | undefined;
  /** All that is read for it. */
  inputs: readonly Place[];
  budget: MemoryBudget;
}

/** Of an archive becomes an archive, of all else a directory. */
export function sinkKindOf(source: SinkSource, out: string, to: SinkKind | undefined): SinkKind {
  if (to) return to;
  if (out === '-') return 'tar';
  const isDirectory = existsSync(out) && statSync(out).isDirectory();
  return source.kind === 'tar' && !isDirectory ? 'tar' : 'directory';
}

/** Flags that are for archives alone. Throws {@link UsageError} if there is none. */
export function archiveFlags(args: Arguments, kind: SinkKind) {
  const { compress, prefix } = args.flags as { compress?: string; prefix?: string };
  if (kind !== 'tar' && (compress ?? prefix) !== undefined) {
    throw new UsageError('expected --to tar with --compress and --prefix: they are for archives');
  }
  const bad = prefix !== undefined && !/^[^/]+(\/[^/]+)*\/?$/.test(prefix);
  if (bad) throw new UsageError(`--prefix: expected a folder in the archive, found ${JSON.stringify(prefix)}`);
  return {
    compress: compress === undefined ? undefined : choice(args, 'compress', ['gzip', 'zstd'] as const, 'gzip'),
    prefix: prefix ?? '',
  };
}

/** Opens a sink; an archive is compressed as the one that it comes from. */
export function openSink(
  kind: SinkKind,
  out: string,
  { compression, budget, inputs: sources }: SinkSource,
  options: Pick<ArchiveOptions, 'force' | 'progress' | 'prefix'>,
  io: Io,
): DirectorySink | TarSink | ShardSink {
  const { prefix = '', ...placeOptions } = { ...options, sources };
  if (kind === 'directory') return new DirectorySink(out, placeOptions);
  if (kind === 'shards') return openCommandShards(out.split(','), placeOptions, io);
  if (out === '-') refuseTerminals(io, { stdout: true });
  const archive = { ...placeOptions, prefix, compression, budget, signal: io.signal };
  return openTar(out === '-' ? io.stdoutFd : out, archive, 'stdout');
}

/** A sink of shards by name, where `-` is stdout, or by descriptor. */
export function openCommandShards(places: readonly (string | number)[], options: PlaceOptions, io: Io): ShardSink {
  if (new Set(places).size < places.length) throw new UsageError('expected each shard once, found one twice');
  if (places.includes('-')) refuseTerminals(io, { stdout: true });
  return openShards(
    places.map((place) => (place === '-' ? io.stdoutFd : place)),
    options,
  );
}
