/** The first bytes of a stream, and what they say of it. */
import { startsLayout } from '../containers/oci/files.js';
import { STREAM_MAGIC } from '../containers/page-stream/format.js';
import { MAX_MARKER_BYTES } from '../containers/shards/marker.js';
import { BLOCK, isTarHeader } from '../containers/tar/block.js';
import type { DumpOrigin } from '../dump/files.js';
import { word } from '../protobuf/wire.js';

/** The first bytes, and a stream of all bytes. */
export interface Peeked {
  start: Uint8Array;
  chunks: AsyncIterable<Uint8Array>;
  close(): Promise<void>;
}

/** @param least how many bytes are read at least, if there are so many */
export async function peek(chunks: AsyncIterable<Uint8Array>, least = BLOCK): Promise<Peeked> {
  const iterator = chunks[Symbol.asyncIterator]();
  const held: Uint8Array[] = [];
  let bytes = 0;
  while (bytes < least) {
    const { value, done } = await iterator.next();
    if (done) break;
    held.push((value as Uint8Array).slice());
    bytes += (value as Uint8Array).length;
  }
  async function* all(): AsyncGenerator<Uint8Array> {
    try {
      yield* held;
      held.length = 0;
      for (;;) {
        const { value, done } = await iterator.next();
        if (done) return;
        yield value as Uint8Array;
      }
    } finally {
      await iterator.return?.();
    }
  }
  return {
    start: Buffer.concat(held),
    chunks: all(),
    close: async () => {
      await iterator.return?.();
    },
  };
}

/** A page stream has a magic, tar a checksum; a shard begins with a small size and a marker. */
export function kindOfStart(start: Uint8Array): DumpOrigin['kind'] | undefined {
  if (Buffer.compare(start.subarray(0, STREAM_MAGIC.length), STREAM_MAGIC) === 0) return 'stream';
  if (startsLayout(start.subarray(0, BLOCK))) return 'oci';
  if (isTarHeader(start.subarray(0, BLOCK))) return 'tar';
  const size = start.length > 5 ? word(start, 0) : 0;
  // The first marker has number 0, which is left out; that of another shard has its number.
  return size > 1 && size < MAX_MARKER_BYTES && [0x08, 0x12].includes(start[4] as number) ? 'shards' : undefined;
}
