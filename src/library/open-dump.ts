/** Opens a dump in any container, as records or as files. Every command that reads a dump begins here. */

import type { WantedPages } from '../arrival/hold.js';
import {
  type Arrival,
  type ArrivingDump,
  arrivingDump,
  type ByteSource,
  GUARD_MS,
  type HeldArrival,
  holdArrival,
  type Located,
  located,
  type OpenOptions,
  openArrival,
  openFiles,
  openRandom,
  type SourceKind,
} from '../arrival/open.js';
import type { KnownDump } from '../arrival/summary.js';
import type { CheckpointImage } from '../containers/oci/layout.js';
import type { S3Settings } from '../containers/s3/protocol.js';
import { Dump } from '../dump/dump.js';
import type { FileEvents } from '../dump/events.js';
import type { DumpFiles } from '../dump/files.js';
import type { RecordSource } from '../dump/pump.js';
import type { MemoryBudget } from '../io/byte-queue.js';
import type { Compression } from '../io/compression.js';
import { defaultBudget } from './sinks.js';

/**
 * Where a dump is: a path (`-` is stdin), an s3:// name, a descriptor that stays open, a stream of Node or of the Web; or a list of paths
 * and descriptors, which are the shards of criu-image-streamer.
 */
export type DumpSource = ByteSource | readonly (string | number)[];

export interface SourceOptions {
  /** The container that it must be in; by default recognized by its first bytes. */
  from?: SourceKind | undefined;
  /** For what must wait or be held: 32 MiB in memory, then a file in the system's temporary folder. */
  budget?: MemoryBudget;
  /** Most plain bytes of a compressed archive. */
  maxBytes?: number;
  /** Whether images that only a restore needs may be missing. */
  incomplete?: boolean;
  /** For s3:// names; what is not said comes from the environment and the profile, as for aws-cli. */
  s3?: S3Settings | undefined;
  /** Ends a wait for more bytes. */
  signal?: AbortSignal;
  /** Called for files in a directory that cannot be copied. */
  warn?: (message: string) => void;
  /** Descriptor that `-` means. */
  stdinFd?: number;
  /** Told of the bytes that are held before the dump can begin, as those of an OCI image on stdin. */
  progress?: ((bytes: number) => void) | undefined;
}

export interface OpenDumpOptions extends SourceOptions {
  /** Bytes; by default found in the dump. */
  pageSize?: number;
  /** Whether stages need the areas of runs, as `classify` does by default. Pages that arrive before their areas then wait. */
  areas?: boolean;
}

/** An open dump; close it. */
export interface OpenDump extends AsyncDisposable {
  readonly kind: SourceKind;
  readonly compression: Compression | undefined;
  /** Of the source, for errors. */
  readonly name: string;
  /** For `pump`. With random access they can be read again, otherwise only once. */
  readonly records: RecordSource;
  /** Page size, tasks and bytes: at once with random access, otherwise after the last record. */
  readonly known: KnownDump;
  /** The files of a dump with random access: a directory or a plain archive. */
  readonly files: DumpFiles | undefined;
  /** The files of a dump that arrives as files, to be taken instead of the records. */
  readonly events: FileEvents | undefined;
  /** The OCI image that contains it. */
  readonly image: CheckpointImage | undefined;
  close(): void;
}

/**
 * Opens a dump in any container: a directory, a tar archive (plain, gzip or zstd), an OCI image, shards or a page stream.
 * @throws {DumpError} NOT_A_DUMP for anything else, SYSTEM, and what the container throws
 */
export async function openDump(source: DumpSource, options: OpenDumpOptions = {}): Promise<OpenDump> {
  const { pageSize, areas = true } = options;
  const page = pageSize === undefined ? {} : { pageSize };
  const [bytes, all] = complete(source, options);
  const { incomplete = false, warn } = options;
  const more = { incomplete, warn };
  const files = await openRandom(bytes, all);
  if (files) return randomDump(await Dump.open(files, { ...page, ...more }));
  const arrival = await openArrival(bytes, all);
  return arrivedDump(arrival, arrivingDump(arrival, { ...page, ...more, areas, budget: all.budget }));
}

/**
 * Opens the files of a dump to random access. What can only be read from front to back is held: in memory within the budget,
 * past that in a temporary file.
 * @param options pages: `count`, the default, knows only the size of pages files; `hold` makes them readable, a function those
 *   parts that it names; outside: whether files outside of the dump are held, too; progress: told of all bytes that arrive
 * @throws {DumpError} as {@link openDump} does, also for what is cut off or damaged
 */
export async function openDumpFiles(
  source: DumpSource,
  { pages = 'count', ...options }: SourceOptions & { pages?: 'count' | 'hold' | WantedPages; outside?: boolean } = {},
): Promise<DumpFiles> {
  const [bytes, all] = complete(source, options);
  return openFiles(bytes, { ...all, pages });
}

/** The files of a dump with random access, which must not change from now on; undefined for one that arrives. */
export function openUnchanging(source: DumpSource, options: SourceOptions): Promise<DumpFiles | undefined> {
  const [bytes, all] = complete(source, options);
  return openRandom(bytes, { ...all, guard: true, guardEveryMs: GUARD_MS });
}

/**
 * The files of a dump that can only be read from front to back, as they arrive, with their pages.
 * @param options holdMs: the longest time that the event loop may be blocked
 * @throws {DumpError} as {@link openDump} does
 */
export async function holdArriving(
  source: DumpSource,
  { holdMs, ...options }: SourceOptions & { holdMs: number },
): Promise<HeldArrival> {
  const [bytes, all] = complete(source, options);
  return holdArrival(bytes, { ...all, pages: 'hold', holdMs });
}

function complete(source: DumpSource, options: SourceOptions): [Located, OpenOptions] {
  const all = {
    maxBytes: Number.MAX_SAFE_INTEGER,
    stdinFd: 0,
    signal: new AbortController().signal,
    budget: defaultBudget(),
    ...options,
  };
  return isList(source) ? [source.join(','), { ...all, shards: source }] : [located(source, all), all];
}

const isList = (source: DumpSource): source is readonly (string | number)[] => Array.isArray(source);

const randomDump = (dump: Dump): OpenDump => ({
  kind: dump.files.kind === 'tar' ? 'tar' : 'directory',
  compression: undefined,
  name: dump.path,
  records: { [Symbol.iterator]: () => dump.records() },
  known: dump,
  files: dump.files,
  events: undefined,
  image: undefined,
  ...closing(() => dump.close()),
});

const arrivedDump = (
  { kind, compression, name, events, image, close }: Arrival,
  { records, dump: known }: ArrivingDump,
): OpenDump => ({ kind, compression, name, records, known, files: undefined, events, image, ...closing(close) });

/** Closes once, however often it is called. */
function closing(action: () => void) {
  let isOpen = true;
  const close = () => {
    if (isOpen) action();
    isOpen = false;
  };
  return { close, [Symbol.asyncDispose]: async () => close() };
}
