/** Where commands put a dump. */
import { existsSync, realpathSync, type Stats, statSync } from 'node:fs';
import { basename, dirname, join, resolve } from 'node:path';
import type { Compression } from '../archive/compression.js';
import type { SpoolBudget } from '../archive/spool.js';
import { DumpError, onFile, UsageError } from '../errors.js';
import { openOutput, openShard } from '../sink/byte-output.js';
import { DirectorySink, type DirectorySinkOptions } from '../sink/directory.js';
import type { FilesSinkOptions } from '../sink/files-sink.js';
import { type ShardOutput, ShardSink } from '../sink/shards.js';
import { TarSink } from '../sink/tar.js';
import { type Arguments, choice, type Io, refuseTerminals } from './command.js';

export const SINK_KINDS = ['directory', 'tar', 'shards'] as const;
export type SinkKind = (typeof SINK_KINDS)[number];

/** What a sink must know of where the dump comes from. */
export interface SinkSource {
  kind: string;
  compression: Compression | undefined;
  directory: string | undefined;
  /** Of the file that it is, if it is one. */
  path: string | undefined;
  budget: SpoolBudget;
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
  if (kind === 'directory') return new DirectorySink(out, { force, ...options, ...sourceOf(source) });
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

/** What an output must not replace. */
export function sourceOf({ directory, path }: Pick<SinkSource, 'directory' | 'path'>): { source?: string } {
  const source = directory ?? path;
  return source === undefined ? {} : { source };
}

/** A sink of shards by name or by descriptor. */
export function openShards(
  places: readonly (string | number)[],
  source: Partial<SinkSource>,
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
export function checkOutputFile(out: string, { directory, path }: Partial<SinkSource>, force: boolean): void {
  const found = onFile(out, () => statSync(out, { throwIfNoEntry: false }));
  const input = path === undefined ? undefined : statSync(path, { throwIfNoEntry: false });
  if (found && input && isSame(found, input)) {
    throw new DumpError('OUTPUT_INSIDE_DUMP', 'expected an output other than the dump', { file: out });
  }
  if (directory !== undefined) {
    const folder = onFile(out, () => realpathSync(dirname(resolve(out))));
    if (join(folder, basename(out)).startsWith(`${realpathSync(directory)}/`)) {
      throw new DumpError('OUTPUT_INSIDE_DUMP', 'expected an output outside the dump', { file: out });
    }
  }
  // Pipes and devices are written as they are.
  if (!found || found.isFIFO() || found.isCharacterDevice() || (found.isFile() && force)) return;
  const what = found.isFile() ? 'a file' : 'something else';
  throw new DumpError('OUTPUT_EXISTS', `expected a new file, found ${what}`, {
    file: out,
    ...(found.isFile() ? { hint: 'use --force to replace it' } : {}),
  });
}

const isSame = (a: Stats, b: Stats): boolean => a.dev === b.dev && a.ino === b.ino;
