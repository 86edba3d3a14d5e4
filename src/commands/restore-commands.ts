/** The commands that restore the result of `make-lazy`, with those that first make directories of other containers. */
import { resolve } from 'node:path';
import type { SourceKind } from '../arrival/open.js';
import { type Address, DEFAULT_PORT, LOOPBACK } from '../serve/address.js';
import { quoteWord } from '../shell.js';
import type { Holes } from '../stages/rebuild.js';
import type { SinkKind } from './sink.js';

/** Where the whole dump is. */
export interface DumpPlace {
  kind: SourceKind;
  /** Whether `pagepipe serve` can read it where it is. */
  isServable: boolean;
  /** As on the command line: several for shards, none for stdin and descriptors. */
  paths: readonly string[];
  /** Bytes. Only for machines with several page sizes: only a directory shows which it was. */
  pageSize?: number;
}

/** Where the lazy dump is. */
export interface LazyPlace {
  kind: SinkKind;
  /** As on the command line: `-` for stdout, shards separated by commas. */
  path: string;
}

/** Shell commands, in the order in which to run them. */
export interface RestoreCommands {
  /** Turn other containers into directories. */
  unpack?: string[];
  /** Serves the lazy pages, where `criu lazy-pages` cannot take them from the dump itself. */
  serve?: string;
  lazyPages: string;
  restore: string;
}

/** Placeholders for stdin and stdout; new directories are `DUMP_DIR` and `OUT_DIR`. */
export interface Placeholders {
  dump: string;
  out: string;
}

const NAMES: Placeholders = { dump: 'DUMP', out: 'OUT' };

export interface RestoreOptions {
  holes: Holes;
  keepsLazyPages: boolean;
  names?: Placeholders;
}

/**
 * Daemon and restore meet on a socket in the work directory; here that is OUT. `criu lazy-pages` reads a directory, or asks a
 * page server. For the latter it uses the pagemaps of OUT, and needs the flagged holes.
 *
 * If lazy pages were kept, a page server is needed. Measured with CRIU 4.1.1 and 4.2.1: a daemon on DUMP tries to deliver the
 * kept pages as well, the kernel answers that they exist (EEXIST), and it retries forever.
 */
export function restoreCommands(
  dump: DumpPlace,
  out: LazyPlace,
  { holes, keepsLazyPages, names = NAMES }: RestoreOptions,
): RestoreCommands {
  const isDirectory = dump.kind === 'directory';
  const serves = keepsLazyPages || (!isDirectory && dump.isServable && holes === 'flag');
  const staysWhereItIs = isDirectory || (serves && dump.isServable);
  const [dumpDirectory, outDirectory] = [`${names.dump}_DIR`, `${names.out}_DIR`];
  const full = staysWhereItIs ? wordsOf(dump, names.dump) : dumpDirectory;
  const small = out.kind === 'directory' ? quoteWord(resolve(out.path)) : outDirectory;
  const unpack = [
    ...(staysWhereItIs ? [] : [unpackCommand(dump, names.dump, dumpDirectory)]),
    ...(out.kind === 'directory'
      ? []
      : [unpackCommand({ ...dump, kind: out.kind, paths: pathsOf(out) }, names.out, outDirectory)]),
  ];
  return {
    ...(unpack.length > 0 ? { unpack } : {}),
    ...(serves ? { serve: `pagepipe serve ${full} &` } : {}),
    ...fromPageServer(small, { host: LOOPBACK, port: DEFAULT_PORT }),
    ...(serves ? {} : { lazyPages: `criu lazy-pages -D ${full} -W ${small} &` }),
  };
}

/** A restore whose lazy pages come from a page server. `small` is the directory, quoted for the shell. */
export const fromPageServer = (
  small: string,
  { host, port }: Address,
): Pick<RestoreCommands, 'lazyPages' | 'restore'> => ({
  lazyPages: `criu lazy-pages --page-server --address ${host} --port ${port} -D ${small} -W ${small} &`,
  restore: `criu restore --lazy-pages -D ${small} -W ${small} -d`,
});

/** Notes on the commands, one line each. */
export function restoreNotes(
  { unpack = [], serve }: RestoreCommands,
  out: LazyPlace,
  { keepsLazyPages, names = NAMES }: Pick<RestoreOptions, 'keepsLazyPages' | 'names'>,
): string[] {
  const others = {
    tar: 'tar -x and container engines',
    oci: 'podman load and container restore',
    shards: 'criu-image-streamer extract',
  };
  return [
    ...(unpack.length > 0 ? ['CRIU reads only directories; replace the names in capitals by your own'] : []),
    ...(out.kind === 'directory'
      ? []
      : [`${others[out.kind]} can unpack ${out.path === '-' ? names.out : out.path} as well`]),
    ...(serve && keepsLazyPages
      ? ['the pages must come from a page server: criu lazy-pages -D DUMP would try forever to deliver the kept ones']
      : []),
  ];
}

function pathsOf({ kind, path }: LazyPlace): string[] {
  if (path === '-') return [];
  return kind === 'shards' ? path.split(',') : [path];
}

const unpackCommand = (place: DumpPlace, name: string, directory: string): string =>
  `pagepipe copy ${wordsOf(place, name)} ${directory}`;

/** A dump as an argument of pagepipe; `name` if it has no path. */
function wordsOf({ kind, paths, pageSize }: DumpPlace, name: string): string {
  return [
    paths.length === 0 ? name : quoteWord(paths.map((path) => resolve(path)).join(',')),
    ...(kind === 'shards' ? ['--from shards'] : []),
    ...(kind === 'directory' || pageSize === undefined ? [] : [`--page-size ${pageSize}`]),
  ].join(' ');
}
