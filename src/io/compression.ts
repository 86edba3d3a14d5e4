/** gzip and zstd around an archive. */
import { type Duplex, Readable } from 'node:stream';
import * as zlib from 'node:zlib';
import { DumpError } from '../errors.js';
import { THREADS, throughZstd, unzstdFile } from './zstd-program.js';

export type Compression = 'gzip' | 'zstd';

/** The compression of a file, by its first bytes. */
export function compressionOf(start: Uint8Array): Compression | undefined {
  if (start[0] === 0x1f && start[1] === 0x8b) return 'gzip';
  return start[0] === 0x28 && start[1] === 0xb5 && start[2] === 0x2f && start[3] === 0xfd ? 'zstd' : undefined;
}

/** Bytes per decompressed chunk. Node's default of 16 KiB needs too many turns of the event loop. */
const CHUNK_BYTES = 128 * 1024;

/** A parameter of zstd that is in no constant of the oldest Node. */
const ZSTD_c_nbWorkers = 400;

type MakeStream = (options?: { chunkSize?: number; params?: Record<number, number> }) => Duplex;

/** Node has zstd since 22.15. With an older one the zstd program is used. */
const ZSTD = zlib as unknown as Partial<{
  createZstdCompress: MakeStream;
  createZstdDecompress: MakeStream;
  zstdCompressSync(bytes: Uint8Array): Buffer;
  zstdDecompressSync(bytes: Uint8Array): Buffer;
}>;

/** Undefined for a Node that accepts truncated input as complete (nodejs/node issue 64592): then the program is used. */
function zstdDecompressor(): MakeStream | undefined {
  const frame = ZSTD.zstdCompressSync?.(Buffer.from('zstd'));
  try {
    if (frame) ZSTD.zstdDecompressSync?.(frame.subarray(0, -1));
    return undefined;
  } catch {
    return ZSTD.createZstdDecompress;
  }
}

/** Compressed bytes. */
export interface CompressedInput {
  /** Each may be overwritten when the next is asked for. */
  chunks: AsyncIterable<Uint8Array>;
  /** If they are a file, a descriptor at its beginning, which a program reads itself. */
  fd?: number | undefined;
  /** For errors. */
  name: string;
}

/**
 * Decompresses. A small file may expand to a huge one, so `maxBytes` limits the plain bytes.
 * @throws {DumpError} MALFORMED, LIMIT, or UNSUPPORTED if there is no zstd
 */
export async function* decompress(
  { chunks, fd, name: file }: CompressedInput,
  compression: Compression,
  maxBytes: number,
): AsyncGenerator<Uint8Array> {
  const make = compression === 'gzip' ? zlib.createGunzip : zstdDecompressor();
  const stream = make ? make({ chunkSize: CHUNK_BYTES }) : fd === undefined ? throughZstd('-d') : undefined;
  // The source reuses its chunks.
  const source = stream && Readable.from(copies(chunks));
  let sourceError: Error | undefined;
  source?.on('error', (error) => {
    sourceError = error;
    stream?.destroy(error);
  });
  if (stream) source?.pipe(stream);
  let bytes = 0;
  try {
    for await (const chunk of stream ?? unzstdFile(file, fd as number)) {
      bytes += (chunk as Buffer).length;
      if (bytes > maxBytes) {
        throw new DumpError('LIMIT', `expected at most ${maxBytes} plain bytes, found more`, {
          file,
          hint: '--max-bytes allows more',
        });
      }
      yield chunk as Buffer;
    }
  } catch (error) {
    if (error instanceof DumpError || error === sourceError) throw error;
    const what = `the ${compression} data is cut off or damaged after ${bytes} plain bytes`;
    throw new DumpError('MALFORMED', `${what}: ${(error as Error).message}`, {
      file,
      cause: error,
    });
  } finally {
    source?.destroy();
    stream?.destroy();
  }
}

async function* copies(chunks: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
  for await (const chunk of chunks) yield chunk.slice();
}

/** A stream that compresses what is written to it. */
export const compressor = (compression: Compression): Duplex =>
  compression === 'gzip'
    ? zlib.createGzip()
    : (ZSTD.createZstdCompress?.({ params: { [ZSTD_c_nbWorkers]: THREADS } }) ?? throughZstd(`-T${THREADS}`));

/** Whether zstd is the program. */
export const isZstdProgram = ZSTD.createZstdCompress === undefined;
