/** gzip and zstd around an archive. */
import { type Duplex, Readable } from 'node:stream';
import * as zlib from 'node:zlib';
import { DumpError } from '../errors.js';
import { throughZstd, unzstdFile } from './zstd-program.js';

export type Compression = 'gzip' | 'zstd';

/** What the first bytes of a file are compressed with, if with anything. */
export function compressionOf(start: Uint8Array): Compression | undefined {
  if (start[0] === 0x1f && start[1] === 0x8b) return 'gzip';
  return start[0] === 0x28 && start[1] === 0xb5 && start[2] === 0x2f && start[3] === 0xfd ? 'zstd' : undefined;
}

/** Plain bytes that come at a time: 16 KiB, which is what Node gives otherwise, cost more turns than they are worth. */
const CHUNK_BYTES = 128 * 1024;

type MakeStream = (options?: { chunkSize: number }) => Duplex;

/** Node has zstd since 22.15; before that the program of that name does it. */
const ZSTD = zlib as unknown as Partial<{
  createZstdCompress: MakeStream;
  createZstdDecompress: MakeStream;
  zstdCompressSync(bytes: Uint8Array): Buffer;
  zstdDecompressSync(bytes: Uint8Array): Buffer;
}>;

/** Up to some 24 Node takes what was cut off for complete (nodejs/node issue 64592): then the program does this, too. */
function zstdDecompressor(): MakeStream | undefined {
  const frame = ZSTD.zstdCompressSync?.(Buffer.from('zstd'));
  try {
    if (frame) ZSTD.zstdDecompressSync?.(frame.subarray(0, -1));
    return undefined;
  } catch {
    return ZSTD.createZstdDecompress;
  }
}

/** Bytes that are compressed. */
export interface CompressedInput {
  /** Each may be overwritten when the next is asked for. */
  chunks: AsyncIterable<Uint8Array>;
  /** A descriptor of them all, at their beginning, if they are a file: a program reads it itself. */
  fd?: number | undefined;
  /** For errors. */
  name: string;
}

/**
 * The plain bytes. A small archive may hold a large one: `maxBytes` stops that.
 * @throws {DumpError} MALFORMED, LIMIT, UNSUPPORTED without a zstd that could do it
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
    for await (const chunk of stream ?? unzstdFile(fd as number)) {
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
    const found = `found it cut off or damaged behind ${bytes} plain bytes`;
    throw new DumpError('MALFORMED', `expected ${compression} data to its end, ${found}: ${(error as Error).message}`, {
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
  compression === 'gzip' ? zlib.createGzip() : (ZSTD.createZstdCompress?.() ?? throughZstd());
