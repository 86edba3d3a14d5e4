/** Raw LZ4 blocks, as compressed pagemaps have them; the library is loaded when the first one comes. */
import { createRequire } from 'node:module';

let library: typeof import('lz4-napi') | undefined;

/**
 * Decodes one block. Throws an Error if it is damaged or does not fit `plainBytes`; it may give fewer.
 * @param plainBytes at most 4 MiB: checked where the block's entry is read
 */
export function decodeLz4Block(block: Uint8Array, plainBytes: number): Uint8Array {
  library ??= createRequire(import.meta.url)('lz4-napi') as typeof import('lz4-napi');
  // The library wants the plain size before the block.
  const sized = new Uint8Array(4 + block.length);
  new DataView(sized.buffer).setUint32(0, plainBytes, true);
  sized.set(block, 4);
  return library.uncompressSync(sized);
}
