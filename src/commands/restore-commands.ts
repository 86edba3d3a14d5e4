/** The commands that restore the result of `make-lazy`, with those that first make directories of other containers. */
import { resolve } from 'node:path';
import type { SourceKind } from '../arrival/open.js';
import { isS3Name } from '../containers/s3/address.js';
import type { Address } from '../serve/address.js';
import { quoteWord } from '../shell.js';
import type { SinkKind } from './sink.js';

/** Where the whole dump is. */
export interface DumpPlace {
  kind: SourceKind;
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
  /** One command in place of all others. */
  atOnce?: string;
  /** Turns the lazy dump into a directory, if it is in another container. */
  unpack?: string[];
  /** Returns when the restore can begin. */
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
  keepsLazyPages: boolean;
  /** Whether the whole dump has only the pages that the other half lacks. */
  isHalf?: boolean;
  names?: Placeholders;
}

/**
 * Daemon and restore meet on a socket in the work directory; here that is OUT. The daemon of CRIU reads only a directory.
 *
 * If lazy pages were kept, it would not end. Measured with CRIU 4.1.1 and 4.2.1: a daemon on DUMP tries to deliver the kept
 * pages as well, the kernel answers that they exist (EEXIST), and it retries forever.
 */
export function restoreCommands(
  dump: DumpPlace,
  out: LazyPlace,
  { keepsLazyPages, isHalf = false, names = NAMES }: RestoreOptions,
): RestoreCommands {
  const full = wordsOf(dump, names.dump);
  const directory = `${names.out}_DIR`;
  const isReady = out.kind === 'directory' && !isS3Name(out.path);
  const small = isReady ? quoteWord(resolve(out.path)) : directory;
  const isLocal = dump.kind === 'directory' && !dump.paths.some(isS3Name);
  const daemon = isLocal && !keepsLazyPages ? `criu lazy-pages -D ${full}` : `pagepipe lazy-pages ${full}`;
  return {
    ...(isHalf || keepsLazyPages ? {} : { atOnce: `pagepipe restore ${full}` }),
    ...(isReady
      ? {}
      : { unpack: [unpackCommand({ ...dump, kind: out.kind, paths: pathsOf(out) }, names.out, directory)] }),
    lazyPages: `${daemon} -W ${small} -d`,
    restore: restoreOf(small),
  };
}

/** A restore whose lazy pages come from a page server. `small` is the directory, quoted for the shell. */
export const fromPageServer = (
  small: string,
  { host, port }: Address,
): Pick<RestoreCommands, 'lazyPages' | 'restore'> => ({
  lazyPages: `criu lazy-pages --page-server --address ${host} --port ${port} -D ${small} -W ${small} -d`,
  restore: restoreOf(small),
});

const restoreOf = (small: string): string => `criu restore --lazy-pages -D ${small} -W ${small} -d`;

/** Notes on the commands, one line each. */
export function restoreNotes(
  dump: DumpPlace,
  out: LazyPlace,
  { keepsLazyPages, names = NAMES }: Pick<RestoreOptions, 'keepsLazyPages' | 'names'>,
): string[] {
  const others = {
    tar: 'tar -x and container engines',
    oci: 'podman load and container restore',
    shards: 'criu-image-streamer extract',
    directory: 'aws s3 sync',
  };
  const isDirectory = out.kind === 'directory' && !isS3Name(out.path);
  return [
    ...(isDirectory ? [] : ['criu restore reads only directories']),
    ...(isDirectory && dump.paths.length > 0 ? [] : ['replace the names in capitals by your own']),
    ...(isDirectory ? [] : [`${others[out.kind]} can unpack ${out.path === '-' ? names.out : out.path} as well`]),
    ...(keepsLazyPages ? ['not with criu lazy-pages on DUMP: it would try forever to deliver the kept pages'] : []),
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
    paths.length === 0 ? name : quoteWord(paths.map((path) => (isS3Name(path) ? path : resolve(path))).join(',')),
    ...(kind === 'shards' ? ['--from shards'] : []),
    ...(kind === 'directory' || pageSize === undefined ? [] : [`--page-size ${pageSize}`]),
  ].join(' ');
}
