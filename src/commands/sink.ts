/** Where commands put a dump. */
import { existsSync, statSync } from 'node:fs';
import type { Compression } from '../archive/compression.js';
import type { SpoolBudget } from '../archive/spool.js';
import { openOutput } from '../sink/byte-output.js';
import { DirectorySink, type DirectorySinkOptions } from '../sink/directory.js';
import { TarSink } from '../sink/tar.js';
import { type Io, refuseTerminals } from './command.js';

export const SINK_KINDS = ['directory', 'tar'] as const;
export type SinkKind = (typeof SINK_KINDS)[number];

/** What a sink must know of where the dump comes from. */
export interface SinkSource {
  kind: string;
  compression: Compression | undefined;
  directory: string | undefined;
  budget: SpoolBudget;
}

/** Of an archive becomes an archive, of all else a directory. */
export function sinkKindOf(source: SinkSource, out: string, to: SinkKind | undefined): SinkKind {
  if (to) return to;
  if (out === '-') return 'tar';
  const isDirectory = existsSync(out) && statSync(out).isDirectory();
  return source.kind === 'tar' && !isDirectory ? 'tar' : 'directory';
}

/** Opens a sink; an archive is compressed as the one that it comes from. */
export function openSink(
  kind: SinkKind,
  out: string,
  source: SinkSource,
  { force = false, progress }: Pick<DirectorySinkOptions, 'force' | 'progress'>,
  io: Io,
): DirectorySink | TarSink {
  const options = progress ? { progress } : {};
  if (kind === 'directory') {
    return new DirectorySink(out, {
      force,
      ...options,
      ...(source.directory === undefined ? {} : { source: source.directory }),
    });
  }
  if (out === '-') refuseTerminals(io, { stdout: true });
  return new TarSink(openOutput(out, io.stdoutFd, source.compression), {
    budget: source.budget,
    mtimeSeconds: Math.floor(Date.now() / 1000),
    ...options,
  });
}
