/** Where commands put a dump. */
import { existsSync, realpathSync, type Stats, statSync } from 'node:fs';
import { basename, dirname, join, resolve } from 'node:path';
import { DirectorySink, type DirectorySinkOptions } from '../containers/directory/write.js';
import type { FilesSinkOptions } from '../containers/files-sink.js';
import { ShardSink } from '../containers/shards/write.js';
import { TarSink } from '../containers/tar/write.js';
import { DumpError, onFile, UsageError } from '../errors.js';
import { openOutput, openShard, type ShardOutput } from '../io/byte-output.js';
import type { MemoryBudget } from '../io/byte-queue.js';
import type { Compression } from '../io/compression.js';
import { type Arguments, choice, type Io, refuseTerminals } from './command.js';

export const SINK_KINDS = ['directory', 'tar', 'shards'] as const;
export type SinkKind = (typeof SINK_KINDS)[number];

/** What a sink must know of where the dump comes from. */
export interface SinkSource {
  kind: string;
  compression: Compression | undefined;
  /** Directories and files that it is in. */
  paths: readonly string[];
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
    prefix: prefix === undefined ? '' : `${prefix.replace(/\/$/, '')}/`,
  };
}

/** Opens a sink; an archive is compressed as the one that it comes from. */
export function openSink(
  kind: SinkKind,
  out: string,
  source: SinkSource,
  { force = false, progress, prefix = '' }: Pick<DirectorySinkOptions, 'force' | 'progress'> & { prefix?: string },
  io: Io,
): DirectorySink | TarSink | ShardSink {
  const options = progress ? { progress } : {};
  if (kind === 'directory') return new DirectorySink(out, { force, ...options, sources: source.paths });
  if (kind === 'shards') return openShards(out.split(','), source, { force, ...options }, io);
  if (out === '-') refuseTerminals(io, { stdout: true });
  else checkOutputFile(out, source, force);
  return new TarSink(openOutput(out, io.stdoutFd, source.compression), {
    budget: source.budget,
    prefix,
    mtimeSeconds: Math.floor(Date.now() / 1000),
    signal: io.signal,
    ...options,
  });
}

/** A sink of shards by name or by descriptor. */
export function openShards(
  places: readonly (string | number)[],
  source: Pick<SinkSource, 'paths'>,
  { force = false, ...options }: FilesSinkOptions & { force?: boolean },
  io: Io,
): ShardSink {
  if (new Set(places).size < places.length) throw new UsageError('expected each shard once, found one twice');
  for (const place of places) {
    if (place === '-') refuseTerminals(io, { stdout: true });
    else if (typeof place === 'string') checkOutputFile(place, source, force);
  }
  const outputs: ShardOutput[] = [];
  try {
    for (const place of places) outputs.push(openShard(place, io.stdoutFd));
    return new ShardSink(outputs, options);
  } catch (error) {
    for (const output of outputs) output.discard();
    throw error;
  }
}

/** Throws {@link DumpError} OUTPUT_EXISTS, OUTPUT_INSIDE_DUMP for a place where no file may appear. */
export function checkOutputFile(out: string, { paths }: Pick<SinkSource, 'paths'>, force: boolean): void {
  const found = onFile(out, () => statSync(out, { throwIfNoEntry: false }));
  for (const path of paths) checkApart(out, found, path);
  // Pipes and devices are written as they are.
  if (!found || found.isFIFO() || found.isCharacterDevice() || (found.isFile() && force)) return;
  const what = found.isFile() ? 'a file' : 'something else';
  throw new DumpError('OUTPUT_EXISTS', `expected a new file, found ${what}`, {
    file: out,
    ...(found.isFile() ? { hint: 'use --force to replace it' } : {}),
  });
}

/** Throws {@link DumpError} OUTPUT_INSIDE_DUMP if a place is an input, or lies in it. */
function checkApart(out: string, found: Stats | undefined, path: string): void {
  const input = statSync(path, { throwIfNoEntry: false });
  if (found && input && found.dev === input.dev && found.ino === input.ino) {
    throw new DumpError('OUTPUT_INSIDE_DUMP', 'expected an output other than the dump', { file: out });
  }
  if (!input?.isDirectory()) return;
  const folder = onFile(out, () => realpathSync(dirname(resolve(out))));
  if (join(folder, basename(out)).startsWith(`${realpathSync(path)}/`)) {
    throw new DumpError('OUTPUT_INSIDE_DUMP', 'expected an output outside the dump', { file: out });
  }
}
