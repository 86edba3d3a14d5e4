/** Raw LZ4 blocks, as compressed pagemaps have them; the library is loaded when the first one comes. */
import { createRequire } from 'node:module';

/** The library has the plain size before the block. */
const SIZE_BYTES = 4;

let library: typeof import('lz4-napi') | undefined;

/**
 * Decodes one block. Throws an Error if it is damaged or does not fit `plainBytes`; it may give fewer.
 * @param plainBytes at most 4 MiB: checked where the block's entry is read
 */
export function decodeLz4Block(block: Uint8Array, plainBytes: number): Uint8Array {
  const sized = new Uint8Array(SIZE_BYTES + block.length);
  new DataView(sized.buffer).setUint32(0, plainBytes, true);
  sized.set(block, SIZE_BYTES);
  return lz4().uncompressSync(sized);
}

/** How many bytes a block of these would have. */
export const encodedLz4Bytes = (plain: Buffer): number => lz4().compressSync(plain).length - SIZE_BYTES;

function lz4(): typeof import('lz4-napi') {
  library ??= createRequire(import.meta.url)('lz4-napi') as typeof import('lz4-napi');
  return library;
}
