/** gzip and zstd around an archive. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { Duplex, Readable } from 'node:stream';
import * as zlib from 'node:zlib';
import { DumpError } from '../errors.js';

export type Compression = 'gzip' | 'zstd';

/** What the first bytes of a file are compressed with, if with anything. */
export function compressionOf(start: Uint8Array): Compression | undefined {
  if (start[0] === 0x1f && start[1] === 0x8b) return 'gzip';
  return start[0] === 0x28 && start[1] === 0xb5 && start[2] === 0x2f && start[3] === 0xfd ? 'zstd' : undefined;
}

/** Node has zstd since 22.15; before that the program of that name does it. */
const ZSTD = zlib as unknown as Partial<{
  createZstdCompress(): Duplex;
  createZstdDecompress(): Duplex;
  zstdCompressSync(bytes: Uint8Array): Buffer;
  zstdDecompressSync(bytes: Uint8Array): Buffer;
}>;

/** Up to some 24 Node takes what was cut off for complete (nodejs/node issue 64592): then the program does this, too. */
function zstdDecompressor(): Duplex | undefined {
  const frame = ZSTD.zstdCompressSync?.(Buffer.from('zstd'));
  try {
    if (frame) ZSTD.zstdDecompressSync?.(frame.subarray(0, -1));
    return undefined;
  } catch {
    return ZSTD.createZstdDecompress?.();
  }
}

/**
 * The plain bytes. A small archive may hold a large one: `maxBytes` stops that.
 * @throws {DumpError} MALFORMED, LIMIT
 */
export async function* decompress(
  chunks: AsyncIterable<Uint8Array>,
  compression: Compression,
  file: string,
  maxBytes: number,
): AsyncGenerator<Uint8Array> {
  const stream = compression === 'gzip' ? zlib.createGunzip() : (zstdDecompressor() ?? program('-d'));
  // The source reuses its chunks.
  const source = Readable.from(copies(chunks));
  let sourceError: Error | undefined;
  source.on('error', (error) => {
    sourceError = error;
    stream.destroy(error);
  });
  source.pipe(stream);
  let bytes = 0;
  try {
    for await (const chunk of stream) {
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
    throw new DumpError('MALFORMED', `expected ${compression}, found something else: ${(error as Error).message}`, {
      file,
      cause: error,
    });
  } finally {
    source.destroy();
    stream.destroy();
  }
}

async function* copies(chunks: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
  for await (const chunk of chunks) yield chunk.slice();
}

/** A stream that compresses what is written to it. */
export const compressor = (compression: Compression): Duplex =>
  compression === 'gzip' ? zlib.createGzip() : (ZSTD.createZstdCompress?.() ?? program());

/** The zstd program as a stream. */
function program(...words: string[]): Duplex {
  const child = spawn('zstd', ['-q', '-c', ...words], { stdio: ['pipe', 'pipe', 'ignore'] });
  const failed = new Promise<never>((_, reject) => {
    child.on('error', () => reject(new Error('there is no zstd program, and this Node cannot do without')));
    child.on('exit', (code) => {
      if (code !== 0) reject(new Error(`zstd ended with ${code}`));
    });
  });
  failed.catch(() => {});
  child.stdin.on('error', () => {});
  async function* output(): AsyncGenerator<Buffer> {
    for await (const chunk of child.stdout) yield chunk as Buffer;
    if (child.exitCode === null) await Promise.race([once(child, 'exit'), failed]);
    if (child.exitCode !== 0) await failed;
  }
  const stream = Duplex.from({ writable: child.stdin, readable: Readable.from(output()) });
  // Also when nobody has begun to read.
  stream.on('close', () => child.kill());
  return stream;
}
