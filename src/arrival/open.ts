/**
 * Opens a dump in any container. The first bytes say which one it is; names do not matter. A dump in a directory or a plain
 * archive allows random access. A dump in a compressed archive, an OCI image, shards or a page stream, and any on stdin,
 * arrives: it is read once, from front to back.
 *
 * A container turns what arrives into events for files. They pass one chain: `checks.ts` refuses what is no valid dump.
 * `sequential.ts` then makes records of the files, `extract.ts` puts them into a directory, and `hold.ts` keeps them for
 * random access. A page stream consists of records already.
 */
import { closeSync, fstatSync, openSync, statSync } from 'node:fs';
import { addAbortSignal, Readable } from 'node:stream';
import { DirectoryFiles, type DirectoryOptions, folderOfImages } from '../containers/directory/files.js';
import { hasLayout, isLayout, isLayoutArchive, openLayout, openLayoutArchive } from '../containers/oci/files.js';
import type { CheckpointImage } from '../containers/oci/layout.js';
import { holdLayout, type LayoutFiles, readImage, readLayer } from '../containers/oci/read.js';
import { decodeChunks } from '../containers/page-stream/stream.js';
import { isS3Name } from '../containers/s3/address.js';
import { S3Files } from '../containers/s3/files.js';
import { S3Object } from '../containers/s3/object.js';
import { openS3 } from '../containers/s3/place.js';
import type { S3Settings } from '../containers/s3/protocol.js';
import { readShards } from '../containers/shards/read.js';
import { TarFiles } from '../containers/tar/files.js';
import { readTar } from '../containers/tar/read.js';
import type { FileEvents } from '../dump/events.js';
import type { DumpFiles } from '../dump/files.js';
import type { RecordSource } from '../dump/pump.js';
import type { DumpRecord } from '../dump/records.js';
import { withSumsCompared } from '../dump/summed-files.js';
import { DumpError, onFile, systemError } from '../errors.js';
import type { MemoryBudget } from '../io/byte-queue.js';
import { type Compression, compressionOf, decompress } from '../io/compression.js';
import { FdReader } from '../io/fd.js';
import { openRandomAccess } from '../io/random-access.js';
import { kindOfStart, type Peeked, peek } from './first-bytes.js';
import { checkExists, notADump } from './foreign.js';
import { HeldFiles, type HoldOptions } from './hold.js';
import { SequentialDump, type SequentialOptions } from './sequential.js';
import { type KnownDump, PassingSummary } from './summary.js';

export const SOURCE_KINDS = ['directory', 'tar', 'oci', 'stream', 'shards'] as const;
export type SourceKind = (typeof SOURCE_KINDS)[number];

/** What arrives. */
export type ArrivingKind = Exclude<SourceKind, 'directory'>;

/**
 * Where the bytes of a dump are: a path, where `-` is stdin, or an s3:// name; a descriptor, which its owner closes; a stream of
 * Node or of the Web, or anything else that gives chunks.
 */
export type ByteSource = string | number | AsyncIterable<Uint8Array>;

/** The same, when it is known what an s3:// name leads to. */
export type Located = ByteSource | S3Object | S3Files;

export interface OpenOptions extends Pick<DirectoryOptions, 'warn'> {
  /** What the dump must be in. */
  from?: SourceKind | undefined;
  /** Descriptors or files of shards, instead of a path. */
  shards?: readonly (number | string)[];
  budget: MemoryBudget;
  /** Limit on the decompressed bytes of an archive. */
  maxBytes: number;
  stdinFd: number;
  signal: AbortSignal;
  /** Where the object store is, for s3:// names. */
  s3?: S3Settings | undefined;
  /** Told of the bytes that are held before the dump can begin. */
  progress?: ((bytes: number) => void) | undefined;
}

/** A dump that arrives, of which nothing has been read. */
export interface Arrival {
  kind: ArrivingKind;
  compression: Compression | undefined;
  /** Name of the source, for errors. */
  name: string;
  /** Its files; a page stream has records instead. */
  events?: FileEvents;
  stream?: AsyncGenerator<Iterable<DumpRecord>>;
  /** The OCI image that it is in. */
  image?: CheckpointImage;
  close(): void;
}

/** The records of a dump that arrives, and what is known about it at their end. */
export interface ArrivingDump {
  records: RecordSource;
  dump: KnownDump;
}

/** Finds what an s3:// name leads to; anything else stays as it is. Throws {@link DumpError} SYSTEM if there is nothing. */
export const located = (source: Located, { s3, from, shards }: Pick<OpenOptions, 's3' | 'from' | 'shards'>): Located =>
  isS3Name(source) && !shards ? openS3(source, s3, from === 'directory') : source;

/** A look at a file takes as long as a page: so often, in ms, it is enough to see whether it is still unchanged. */
export const GUARD_MS = 10;

/**
 * The files of a directory or a plain archive; undefined for a dump that arrives, which is not touched.
 * @throws {DumpError} for an archive that is damaged
 */
export async function openRandom(
  source: Located,
  { from, shards, s3, ...options }: Pick<OpenOptions, 'from' | 'shards' | 's3'> & DirectoryOptions = {},
): Promise<DumpFiles | undefined> {
  if (shards) return undefined;
  const path = located(source, { s3, from });
  if (path instanceof S3Object || path instanceof S3Files) return openRandomS3(path, from);
  if (typeof path !== 'string' || (path === '-' && from !== 'directory')) return undefined;
  checkExists(path);
  if (!from && (await isLayout(path))) return undefined;
  if (from === 'directory' || (!from && onFile(path, () => statSync(path)).isDirectory())) {
    return withSumsCompared(new DirectoryFiles(folderOfImages(path), options));
  }
  if (from !== undefined && from !== 'tar') return undefined;
  const archive = openRandomAccess(path);
  const files = archive && (await TarFiles.open(archive));
  return files && withSumsCompared(files);
}

async function openRandomS3(place: S3Object | S3Files, from: SourceKind | undefined): Promise<DumpFiles | undefined> {
  if (place instanceof S3Files) {
    if (from === 'directory' || (!from && !hasLayout(place))) return withSumsCompared(place);
    if (from === 'oci' || !from) return undefined;
    throw new DumpError('SYSTEM', 'expected an object, found only objects below it', { file: place.path });
  }
  if (from !== 'tar' && (from || (await isLayoutArchive(place)))) return undefined;
  const files = await TarFiles.open(place);
  return files && withSumsCompared(files);
}

/**
 * The files of any dump. One that arrives is held.
 * @throws {DumpError} also if it is cut off or damaged
 */
export async function openFiles(source: Located, options: OpenOptions & HoldOptions): Promise<DumpFiles> {
  const place = located(source, options);
  const files = await openRandom(place, options);
  if (files) return files;
  const arrival = await holdArrival(place, options);
  await arrival.fill();
  return arrival.files;
}

/** The files of a dump that arrives, which are held as they come. */
export interface HeldArrival {
  files: HeldFiles;
  /**
   * Reads the dump to its end. To be called once; without it nothing comes.
   * @throws {DumpError} if it is cut off or damaged
   */
  fill(): Promise<void>;
}

/** Opens a dump that arrives, to hold its files. Throws {@link DumpError} NOT_A_DUMP if it is in none of the containers. */
export async function holdArrival(source: Located, options: OpenOptions & HoldOptions): Promise<HeldArrival> {
  const arrival = await openArrival(source, options);
  const { kind, compression, image } = arrival;
  const origin = { kind, compression, image };
  const files = new HeldFiles(typeof source === 'string' ? source : arrival.name, { ...options, origin });
  return { files, fill: () => files.fill(arrival).finally(arrival.close) };
}

/**
 * The records of a dump that arrives.
 * @param options pageSize in bytes, where the dump does not say; areas: whether pages are classified by their areas
 */
export function arrivingDump(
  { name, events, stream }: Arrival,
  options: Omit<SequentialOptions, 'name'>,
): ArrivingDump {
  if (stream) {
    const dump = new PassingSummary(name);
    return { dump, records: dump.records(stream) };
  }
  const dump = new SequentialDump({ name, ...options });
  return { dump, records: dump.records(events as FileEvents) };
}

/** Opens a dump that arrives. Throws {@link DumpError} NOT_A_DUMP if it is in none of the containers. */
export async function openArrival(from: Located, options: OpenOptions): Promise<Arrival> {
  if (options.shards) return openShards(options.shards, options);
  const source = located(from, options);
  const name = sourceName(source);
  const layout = (options.from ?? 'oci') === 'oci' ? await layoutAt(source) : undefined;
  if (layout) return imageArrival(layout, name, options);
  if (source instanceof S3Files) throw notADump(new Uint8Array(0), name);
  const path = typeof source === 'string' && source !== '-' ? source : undefined;
  const fds = path === undefined ? [] : [onFile(path, () => openSync(path, 'r'))];
  let peeked: Peeked | undefined;
  const close = () => {
    // Otherwise a decompressing program whose output is not read to its end would keep running.
    peeked?.close().catch(() => {});
    if (source instanceof S3Object) source.close();
    for (const own of fds.splice(0)) closeSync(own);
  };
  try {
    const outer = await peek(chunksOf(fds[0] ?? source, name, options));
    const compression = options.from === 'stream' ? undefined : compressionOf(outer.start);
    // A decompressing program reads the file itself, from its beginning.
    if (path !== undefined && compression && onFile(path, () => fstatSync(fds[0] as number)).isFile()) {
      fds.push(onFile(path, () => openSync(path, 'r')));
    }
    const input = { chunks: outer.chunks, fd: fds[1], name };
    peeked = compression ? await peek(decompress(input, compression, options.maxBytes)) : outer;
    const { start, chunks } = peeked;
    const kind = options.from === undefined || options.from === 'directory' ? kindOfStart(start) : options.from;
    if (!kind) {
      throw notADump(start, name);
    }
    if (kind === 'oci') {
      const files = await holdLayout(chunks, { name, ...options });
      close();
      return imageArrival(files, name, options);
    }
    const content = {
      tar: () => ({ events: readTar({ chunks, name, budget: options.budget }) }),
      shards: () => ({ events: readShards([{ name, chunks }]) }),
      stream: () => ({ stream: decodeChunks(chunks, name) }),
    };
    return { kind, compression, name, ...content[kind](), close };
  } catch (error) {
    close();
    throw error;
  }
}

/** The files of a layout that is open to random access; undefined if there is none. */
async function layoutAt(source: Located): Promise<LayoutFiles | undefined> {
  if (source instanceof S3Files) return hasLayout(source) ? source : undefined;
  if (source instanceof S3Object) return (await isLayoutArchive(source)) ? openLayoutArchive(source) : undefined;
  const isPath = typeof source === 'string' && source !== '-';
  return isPath && (await isLayout(source)) ? openLayout(source) : undefined;
}

/** An image whose layer arrives. Closes the files after an error. */
function imageArrival(files: LayoutFiles, name: string, options: OpenOptions): Arrival {
  const close = () => files.close();
  try {
    const image = readImage(files);
    const { compression } = image;
    return { kind: 'oci', compression, name, image, events: readLayer(files, image, { name, ...options }), close };
  } catch (error) {
    close();
    throw error;
  }
}

function sourceName(source: Located): string {
  if (source instanceof S3Object) return source.name;
  if (source instanceof S3Files) return source.path;
  if (typeof source === 'string') return source === '-' ? 'stdin' : source;
  return typeof source === 'number' ? `descriptor ${source}` : 'stream';
}

function chunksOf(
  source: ByteSource | S3Object,
  name: string,
  { stdinFd, signal }: OpenOptions,
): AsyncGenerator<Uint8Array, void, void> {
  if (source instanceof S3Object) return source.chunks(signal);
  if (typeof source === 'object') return streamChunks(source, name, signal);
  return new FdReader(typeof source === 'number' ? source : stdinFd, signal, name).chunks();
}

/** The signal ends a wait for a stream of Node; elsewhere it is seen between two chunks. */
async function* streamChunks(
  stream: AsyncIterable<Uint8Array>,
  name: string,
  signal: AbortSignal,
): AsyncGenerator<Uint8Array, void, void> {
  if (stream instanceof Readable) addAbortSignal(signal, stream);
  try {
    for await (const chunk of stream) {
      signal.throwIfAborted();
      if (!(chunk instanceof Uint8Array)) throw new TypeError(`expected chunks of bytes, found a ${typeof chunk}`);
      yield chunk;
    }
  } catch (error) {
    signal.throwIfAborted();
    throw systemError(error, name);
  }
}

function openShards(shards: readonly (number | string)[], options: OpenOptions): Arrival {
  const { signal, maxBytes, s3 } = options;
  const opened: { close(): void }[] = [];
  const close = () => {
    for (const each of opened.splice(0)) each.close();
  };
  const chunksAt = (shard: number | string, name: string): AsyncIterable<Uint8Array> => {
    if (isS3Name(shard)) {
      const object = openS3(shard, s3);
      opened.push(object);
      if (object instanceof S3Object) return object.chunks(signal);
      throw new DumpError('SYSTEM', 'expected an object, found only objects below it', { file: name });
    }
    const fd = typeof shard === 'number' ? shard : onFile(shard, () => openSync(shard, 'r'));
    if (typeof shard === 'string') opened.push({ close: () => closeSync(fd) });
    return new FdReader(fd, signal, name).chunks();
  };
  try {
    const inputs = shards.map((shard) => {
      const name = typeof shard === 'number' ? `shard ${shard}` : shard;
      return { name, chunks: plainShard(chunksAt(shard, name), name, maxBytes) };
    });
    const name = inputs[0]?.name ?? 'shards';
    return { kind: 'shards', compression: undefined, name, events: readShards(inputs), close };
  } catch (error) {
    close();
    throw error;
  }
}

/** Both gzip and zstd are told by so many. */
const COMPRESSION_MAGIC_BYTES = 4;

/** A shard without its compression. It is looked at when it is read: the others may have to come first. */
async function* plainShard(
  chunks: AsyncIterable<Uint8Array>,
  name: string,
  maxBytes: number,
): AsyncGenerator<Uint8Array, void, void> {
  const peeked = await peek(chunks, COMPRESSION_MAGIC_BYTES);
  const compression = compressionOf(peeked.start);
  yield* compression
    ? decompress({ chunks: peeked.chunks, fd: undefined, name }, compression, maxBytes)
    : peeked.chunks;
}
