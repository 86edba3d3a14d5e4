/**
 * The files of a dump as one shard of criu-image-streamer, on their way to the far end: their pieces alternate as they came, so
 * nothing has to wait for what describes it. Both ends sum what they have seen.
 */
import { once } from 'node:events';
import type { Writable } from 'node:stream';
import { finished } from 'node:stream/promises';
import { encodeMarker, type Marker } from '../containers/shards/marker.js';
import { crc32 } from '../crc.js';
import type { FileEvent, FileEvents } from '../dump/events.js';

/** Bytes that the stream may hold: with fewer it would run dry before the next ones come. */
const MAX_IN_FLIGHT_BYTES = 1024 * 1024;

/** Sums bytes that pass. */
export class Sum {
  bytes = 0;
  crc = 0;

  add(bytes: Uint8Array): void {
    this.bytes += bytes.length;
    this.crc = crc32(bytes, this.crc);
  }

  async *of(chunks: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array, void, void> {
    for await (const chunk of chunks) {
      this.add(chunk);
      yield chunk;
    }
  }
}

/**
 * Writes files as a shard, and ends the stream.
 * @throws what the events or the stream throw; the stream is destroyed then
 */
export async function writeShard(events: FileEvents, out: Writable, sum: Sum): Promise<void> {
  const encoder = new ShardEncoder();
  const closed = finished(out, { readable: false });
  closed.catch(() => {});
  const write = (bytes: Uint8Array): Promise<unknown> | undefined => {
    sum.add(bytes);
    out.write(bytes);
    // `drain` never comes from a stream that is destroyed.
    return out.writableLength > MAX_IN_FLIGHT_BYTES ? Promise.race([once(out, 'drain'), closed]) : undefined;
  };
  try {
    for await (const event of events) {
      const full = write(encoder.encode(event));
      if (full) await full;
      if (out.destroyed) await closed;
    }
    write(encoder.end());
    out.end();
    await closed;
  } catch (error) {
    out.destroy(error as Error);
    throw error;
  }
}

class ShardEncoder {
  private seq = 0;
  /** The file that the last name made current. */
  private named: string | undefined;

  /** The bytes of an event, in memory of their own. */
  encode(event: FileEvent): Uint8Array {
    const name = event.name === this.named ? [] : [this.marker({ kind: 'filename', name: event.name })];
    this.named = event.name;
    if (event.type === 'file') return Buffer.concat(name);
    if (event.type === 'fileEnd') return Buffer.concat([...name, this.marker({ kind: 'fileEnd' })]);
    return Buffer.concat([...name, this.marker({ kind: 'data', bytes: event.bytes.length }), event.bytes]);
  }

  end(): Uint8Array {
    return this.marker({ kind: 'imageEnd' });
  }

  private marker(
    body: { kind: 'filename'; name: string } | { kind: 'data'; bytes: number } | { kind: 'fileEnd' | 'imageEnd' },
  ): Uint8Array {
    return encodeMarker({ ...body, seq: this.seq++ } as Marker);
  }
}
