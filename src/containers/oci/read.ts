/**
 * The checkpoint in an image: the members of its layer, with their digest checked. The layer may come before the manifest that
 * names it. So an archive in a file is read where its blobs are, and one that arrives is held first.
 */
import { createHash } from 'node:crypto';
import type { FileEvent } from '../../dump/events.js';
import { pieces, type ReadableFiles, readAll, requireImage } from '../../dump/files.js';
import { DumpError } from '../../errors.js';
import type { MemoryBudget } from '../../io/byte-queue.js';
import { BytesReader } from '../../io/bytes-reader.js';
import { compressionOf, decompress } from '../../io/compression.js';
import { HoldStore, type StoredFile } from '../../io/hold-store.js';
import { dataBytes, TarReader } from '../tar/headers.js';
import { readTar, stored } from '../tar/read.js';
import {
  blobName,
  blobsOf,
  type CheckpointImage,
  type ImageBlob,
  INDEX,
  MAX_JSON_BYTES,
  manifestBlob,
  parseObject,
} from './layout.js';

/** The files of a layout. */
export interface LayoutFiles extends ReadableFiles {
  close(): void;
}

/** Bytes per read. */
const PIECE_BYTES = 256 * 1024;

/** Reads the JSON of the image. Throws {@link DumpError} MISSING_IMAGE, MALFORMED, UNSUPPORTED, LIMIT. */
export function readImage(files: ReadableFiles): CheckpointImage {
  const index = parseObject(readAll(files, INDEX, MAX_JSON_BYTES), INDEX);
  const [manifest, manifestName] = jsonBlob(files, manifestBlob(index));
  const { config, layer } = blobsOf(manifest, manifestName);
  const start = new Uint8Array(4);
  checkSize(files, layer);
  files.readSome(blobName(layer), start, 0);
  return { index, manifest, config: jsonBlob(files, config)[0], layer, compression: compressionOf(start) };
}

function jsonBlob(files: ReadableFiles, blob: ImageBlob): [Record<string, unknown>, string] {
  const file = blobName(blob);
  checkSize(files, blob);
  const bytes = readAll(files, file, MAX_JSON_BYTES);
  checkDigest(blob, createHash(algorithmOf(blob)).update(bytes).digest('hex'));
  return [parseObject(bytes, file), file];
}

const algorithmOf = ({ digest }: ImageBlob): string => digest.slice(0, digest.indexOf(':'));

function checkSize(files: ReadableFiles, blob: ImageBlob): void {
  const file = blobName(blob);
  const { size } = requireImage(files, file);
  if (size === blob.size) return;
  throw new DumpError('MALFORMED', `expected a blob of ${blob.size} bytes, found ${size}`, { file });
}

function checkDigest(blob: ImageBlob, hex: string): void {
  const found = `${algorithmOf(blob)}:${hex}`;
  if (found === blob.digest) return;
  throw new DumpError('MALFORMED', `expected ${blob.digest}, found ${found}`, { file: blobName(blob) });
}

/**
 * The files of the checkpoint, including those outside of the dump.
 * @param options name of the source, for errors; maxBytes: limit on the plain bytes of the layer
 * @throws {DumpError} as for an archive, and MALFORMED if the layer is not that of the manifest
 */
export async function* readLayer(
  files: ReadableFiles,
  { layer, compression }: CheckpointImage,
  { name, budget, maxBytes }: { name: string; budget: MemoryBudget; maxBytes: number },
): AsyncGenerator<FileEvent> {
  const hash = createHash(algorithmOf(layer));
  const bytes = hashedPieces(files, blobName(layer), hash);
  async function* arriving(): AsyncGenerator<Uint8Array> {
    // It is gone on with when the archive is at its end.
    for (let next = bytes.next(); !next.done; next = bytes.next()) yield next.value;
  }
  const chunks = compression ? decompress({ chunks: arriving(), name }, compression, maxBytes) : arriving();
  yield* readTar({ chunks, name, budget });
  for (let next = bytes.next(); !next.done; next = bytes.next());
  checkDigest(layer, hash.digest('hex'));
}

function* hashedPieces(files: ReadableFiles, name: string, hash: ReturnType<typeof createHash>): Generator<Uint8Array> {
  for (const piece of pieces(files, name, PIECE_BYTES)) {
    hash.update(piece);
    yield piece;
  }
}

/**
 * Holds the files of an archive that arrives.
 * @param options progress: told of their bytes
 * @throws {DumpError} BAD_NAME, TRUNCATED, MALFORMED, LIMIT
 */
export async function holdLayout(
  chunks: AsyncIterable<Uint8Array>,
  {
    name: file,
    budget,
    progress,
  }: { name: string; budget: MemoryBudget; progress?: ((bytes: number) => void) | undefined },
): Promise<LayoutFiles> {
  const reader = new BytesReader(chunks);
  const tar = new TarReader(reader, file);
  const store = new HoldStore(budget);
  const held = new Map<string, StoredFile>();
  try {
    for (let member = await tar.next(); member; member = await tar.next()) {
      const bytes = store.file();
      held.set(member.name, bytes);
      for await (const piece of stored(reader, dataBytes(member), file)) {
        bytes.push(piece);
        progress?.(piece.length);
      }
      await tar.skipPadding(member.storedBytes);
    }
  } catch (error) {
    store.close();
    throw error;
  } finally {
    await reader.close();
  }
  return {
    stat: (name) => {
      const bytes = held.get(name);
      return bytes && { size: bytes.size, mode: 0 };
    },
    readSome: (name, buffer, position) => held.get(name)?.readSome(buffer, position) ?? 0,
    close: () => store.close(),
  };
}
