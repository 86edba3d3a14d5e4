/**
 * Sinks for every container: a directory, an archive, shards or a page stream. Output appears complete or not at all: each
 * place is checked and opened before anything is read, and {@link RecordSink.discard} leaves nothing behind.
 */
import { statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import type { Writable } from 'node:stream';
import { DirectorySink } from '../containers/directory/write.js';
import type { CheckpointImage } from '../containers/oci/layout.js';
import { OciSink, type OciSinkOptions } from '../containers/oci/write.js';
import { StreamSink } from '../containers/page-stream/stream.js';
import { isS3Name, parseS3Name, s3Name } from '../containers/s3/address.js';
import type { S3Settings } from '../containers/s3/protocol.js';
import { openS3Output, S3Sink } from '../containers/s3/write.js';
import { ShardSink } from '../containers/shards/write.js';
import { TarSink, type TarSinkOptions } from '../containers/tar/write.js';
import type { Written } from '../containers/written.js';
import { behindStages, type RecordSink } from '../dump/pump.js';
import { DumpError, onFile } from '../errors.js';
import { checkApart, type Place } from '../io/apart.js';
import {
  type ByteOutput,
  type BytePlace,
  compressedOutput,
  openOutput,
  openShard,
  type ShardOutput,
} from '../io/byte-output.js';
import type { MemoryBudget } from '../io/byte-queue.js';
import type { Compression } from '../io/compression.js';
import { PageStreamSink } from '../send/page-stream-sink.js';
import { withoutOutside } from '../stages/drop-files.js';

/** Default memory for what must wait or be held, in bytes. */
const DEFAULT_BUDGET_BYTES = 32 * 2 ** 20;

export const defaultBudget = (): MemoryBudget => ({ bytes: DEFAULT_BUDGET_BYTES, directory: tmpdir() });

export interface PlaceOptions {
  /** Replaces what is there: a file, or a directory that is a dump. */
  force?: boolean;
  /** Files, directories and descriptors that the dump is read from. The output must be apart from all of them. */
  sources?: readonly Place[];
  /** Ends the writing of what waited, and waits for an object store. */
  signal?: AbortSignal | undefined;
  /** Called with the size of each piece of payload, in bytes. */
  progress?: (bytes: number) => void;
  /** Where the object store of s3:// names is. */
  s3?: S3Settings | undefined;
  /** Whether the dump gets sums of its blocks (docs/sums.md). One that comes from a dump with sums does anyway. */
  sums?: boolean;
}

export interface ArchiveOptions extends PlaceOptions {
  compression?: Compression | undefined;
  /** For pages that wait until their size is known: 32 MiB in memory, then a file in the system's temporary folder. */
  budget?: MemoryBudget;
  /** Folder of the images in the archive, unless they come from an archive. */
  prefix?: string;
  /** Seconds since 1970, for files that do not come from an archive; by default 0, so that the same dump gives the same bytes. */
  mtimeSeconds?: number;
}

/** A directory that is being written. */
export interface DirectoryOutput extends RecordSink {
  /** Complete after `finish`. */
  readonly written: Written;
}

/** An archive or shards that are being written. */
export interface FilesOutput extends RecordSink {
  /** Of all files of the dump. */
  readonly bytes: number;
  /** Pages that are lazy in a pagemap, and in no pages file. */
  readonly holePages: number;
  /** Whether pages were taken out of the dump that no lazy restore can fetch. */
  readonly isPartial: boolean;
}

/**
 * A directory, or objects below a prefix by an s3:// name. Other programs see it only when it is complete.
 * @throws {DumpError} OUTPUT_EXISTS, OUTPUT_INSIDE_DUMP, SYSTEM
 */
export async function directorySink(path: string, options: PlaceOptions = {}): Promise<DirectoryOutput> {
  return openDirectory(path, options);
}

/** The same at once. */
export function openDirectory(path: string, options: PlaceOptions): DirectorySink | S3Sink {
  if (!isS3Name(path)) return new DirectorySink(path, options);
  checkApartInS3(path, options.sources);
  return new S3Sink(path, options);
}

/**
 * A tar archive. If the dump comes from an archive, order, headers and the files next to the dump are kept.
 * @param place a path, a descriptor that stays open, or a stream of Node, which ends with the archive
 * @throws {DumpError} OUTPUT_EXISTS, OUTPUT_INSIDE_DUMP, SYSTEM; UNSUPPORTED without a zstd
 */
export async function tarSink(place: BytePlace, options: ArchiveOptions = {}): Promise<FilesOutput> {
  return openTar(place, options);
}

/** The same at once. @param name of a descriptor, for errors */
export const openTar = (place: BytePlace, options: ArchiveOptions, name?: string): TarSink =>
  new TarSink(fileOutput(place, options, options.compression, name), tarOptions(options));

export interface ImageOptions extends ArchiveOptions {
  /** The image that the dump comes from: {@link OpenDump.image}. All of it but its layer is kept. */
  image?: CheckpointImage | undefined;
}

/**
 * An archive of an OCI image whose layer is the archive that {@link tarSink} makes. `compression` is that of the layer.
 * @throws {DumpError} OUTPUT_EXISTS, OUTPUT_INSIDE_DUMP, SYSTEM; UNSUPPORTED without a zstd
 */
export async function ociSink(place: BytePlace, options: ImageOptions = {}): Promise<FilesOutput> {
  return openOci(place, options);
}

/** The same at once. @param name of a descriptor, for errors */
export function openOci(place: BytePlace, { image, ...options }: ImageOptions, name?: string): OciSink {
  const { compression } = options;
  const layer: OciSinkOptions = { ...tarOptions(options), image, compression };
  return new OciSink(fileOutput(place, options, undefined, name), layer);
}

/**
 * One file. @param name of a descriptor, for errors
 * @throws {DumpError} OUTPUT_EXISTS, OUTPUT_INSIDE_DUMP, SYSTEM; UNSUPPORTED without a zstd
 */
export function fileOutput(
  place: BytePlace,
  { sources = [], force = false, s3, signal }: PlaceOptions,
  compression: Compression | undefined,
  name?: string,
): ByteOutput {
  if (isS3Name(place)) {
    checkApartInS3(place, sources);
    return compressedOutput(openS3Output(place, { force, s3, signal }), compression);
  }
  if (typeof place === 'string') checkOutputFile(place, sources, force);
  return openOutput(place, compression, name);
}

function tarOptions({
  prefix = '',
  budget = defaultBudget(),
  mtimeSeconds,
  progress,
  sums,
  signal,
}: ArchiveOptions): TarSinkOptions {
  return {
    budget,
    prefix: prefix === '' ? '' : `${prefix.replace(/\/$/, '')}/`,
    ...(mtimeSeconds === undefined ? {} : { mtimeSeconds }),
    ...(progress ? { progress } : {}),
    ...(sums ? { sums } : {}),
    ...(signal ? { signal } : {}),
  };
}

/**
 * Shards, as criu-image-streamer reads them.
 * @param places paths, or descriptors that stay open
 * @throws {DumpError} OUTPUT_EXISTS, OUTPUT_INSIDE_DUMP, SYSTEM
 */
export async function shardSink(
  places: readonly (string | number)[],
  options: PlaceOptions = {},
): Promise<FilesOutput> {
  return openShards(places, options);
}

/** The same at once. */
export function openShards(
  places: readonly (string | number)[],
  { force = false, sources = [], ...options }: PlaceOptions,
): ShardSink {
  for (const place of places) if (typeof place === 'string') checkOutputFile(place, sources, force);
  const outputs: ShardOutput[] = [];
  try {
    for (const place of places) outputs.push(openShard(place));
    return new ShardSink(outputs, options);
  } catch (error) {
    for (const output of outputs) output.discard();
    throw error;
  }
}

/**
 * A page stream. A discarded one has no end, so its reader knows that it is incomplete.
 * @param place a descriptor that stays open, or a stream of Node, which ends with the dump
 */
export function pageStreamSink(
  place: number | Writable,
  { progress }: Pick<PlaceOptions, 'progress'> = {},
): RecordSink {
  const sink =
    typeof place === 'number' ? new StreamSink(place, progress) : new PageStreamSink(place, undefined, progress);
  return behindStages([withoutOutside()], sink);
}

/** Throws {@link DumpError} OUTPUT_INSIDE_DUMP for a place that is one of the sources, or around or inside of one. */
function checkApartInS3(out: string, sources: readonly Place[] = []): void {
  const nameOf = (place: string) => `${s3Name({ ...parseS3Name(place), isPrefix: false })}/`;
  for (const source of sources.filter(isS3Name)) {
    const [own, other] = [nameOf(out), nameOf(source)];
    if (!own.startsWith(other) && !other.startsWith(own)) continue;
    throw new DumpError('OUTPUT_INSIDE_DUMP', `the output must be outside of what is read: ${source}`, { file: out });
  }
}

/** Throws {@link DumpError} OUTPUT_EXISTS, OUTPUT_INSIDE_DUMP if no file may appear in the place. */
export function checkOutputFile(out: string, sources: readonly Place[], force: boolean): void {
  const found = onFile(out, () => statSync(out, { throwIfNoEntry: false }));
  checkApart(out, sources);
  // Pipes and devices are written as they are.
  if (!found || found.isFIFO() || found.isCharacterDevice() || (found.isFile() && force)) return;
  const what = found.isFile() ? 'a file' : 'something else';
  throw new DumpError('OUTPUT_EXISTS', `expected a new file, found ${what}`, {
    file: out,
    ...(found.isFile() ? { hint: 'use --force to replace it' } : {}),
  });
}
