/**
 * What a file is, by its first bytes: an archive of a dump, an image of one, a page stream, a shard, or nothing of these. An
 * archive of something else is told by the names at its beginning: engines write their descriptions first, and pagepipe and
 * tar begin with an image or its folder.
 */
import { posix } from 'node:path';
import { kindOfStart } from '../arrival/first-bytes.js';
import { decodeMarker } from '../containers/shards/marker.js';
import { BLOCK, FIELD, isTarHeader, number, paddedBytes, string, typeOf } from '../containers/tar/block.js';
import { isImageName } from '../dump/names.js';
import { DumpError } from '../errors.js';
import { type Compression, compressionOf, decompress } from '../io/compression.js';
import { word } from '../protobuf/wire.js';

/** So many bytes of a file are read. The first block of zstd has at most 128 KiB. */
export const START_BYTES = 256 * 1024;
/** So many plain bytes are looked at. */
const PLAIN_BYTES = 64 * 1024;

export interface FileKind {
  kind: 'tar' | 'oci' | 'stream' | 'shards';
  compression: Compression | null;
}

/** Files and folders next to the images, by any engine. */
const OF_ENGINES = /^(checkpoint|config\.dump|spec\.dump|stats-dump|pagepipe-sums)$/;

/**
 * @param start the first bytes, as many as {@link START_BYTES} or all
 * @returns undefined for a file that is no dump
 */
export async function kindOfFile(start: Uint8Array): Promise<FileKind | undefined> {
  const compression = compressionOf(start) ?? null;
  const plain = compression ? await plainStart(start, compression) : start;
  const kind = kindOfStart(plain);
  if (!kind || (kind === 'tar' && !namesDump(plain)) || (kind === 'shards' && !isShard(plain))) return undefined;
  return { kind, compression };
}

/** What the beginning of compressed data expands to, as far as it can be told. */
async function plainStart(start: Uint8Array, compression: Compression): Promise<Uint8Array> {
  const chunks: Uint8Array[] = [];
  let bytes = 0;
  async function* source() {
    yield start;
  }
  try {
    const input = { chunks: source(), name: 'start' };
    for await (const chunk of decompress(input, compression, Number.MAX_SAFE_INTEGER)) {
      chunks.push(chunk.slice());
      bytes += chunk.length;
      if (bytes >= PLAIN_BYTES) break;
    }
  } catch (error) {
    // It ends in the middle, of course, or is damaged.
    if (!(error instanceof DumpError) || error.code === 'UNSUPPORTED') throw error;
  }
  return Buffer.concat(chunks);
}

/** Whether the first names of an archive are those of a dump. */
function namesDump(bytes: Uint8Array): boolean {
  for (let at = 0; at + BLOCK <= bytes.length; ) {
    const block = bytes.subarray(at, at + BLOCK);
    if (!isTarHeader(block)) return false;
    const name = string(block, FIELD.NAME).replace(/\/+$/, '');
    const isExtension = 'xXgLK'.includes(typeOf(block));
    if (!isExtension && (isImageName(posix.basename(name)) || OF_ENGINES.test(posix.basename(name)))) return true;
    const size = number(block, FIELD.SIZE);
    if (!(size >= 0)) return false;
    at += BLOCK + paddedBytes(size);
  }
  return false;
}

/** Many files begin with a small number, so the first marker must be one. */
function isShard(bytes: Uint8Array): boolean {
  try {
    const { kind } = decodeMarker(bytes.subarray(4, 4 + word(bytes, 0)), 'start', 4);
    return kind === 'filename' || kind === 'data';
  } catch {
    return false;
  }
}
