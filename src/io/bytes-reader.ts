/** Reads any number of bytes from chunks of any size, with their offset for errors. */
import { ByteWriter } from '../protobuf/wire.js';

export class BytesReader {
  /** Bytes read so far. */
  offset = 0;
  private readonly chunks: AsyncIterator<Uint8Array>;
  private chunk: Uint8Array = new Uint8Array(0);
  private at = 0;
  private ended = false;
  private readonly gathered = new ByteWriter();

  /** @param chunks each may be overwritten when the next is asked for */
  constructor(chunks: AsyncIterable<Uint8Array>) {
    this.chunks = chunks[Symbol.asyncIterator]();
  }

  /** `count` bytes if they have arrived; an await for each of them would cost more than the work on them. */
  ready(count: number): Uint8Array | undefined {
    return this.chunk.length - this.at >= count ? this.take(count) : undefined;
  }

  /** What has arrived of the next `most` bytes, which may be nothing. */
  atHand(most: number): Uint8Array {
    return this.take(Math.min(most, this.chunk.length - this.at));
  }

  /** Exactly `count` bytes, or fewer at the end; overwritten by the next call. */
  async exactly(count: number): Promise<Uint8Array> {
    const ready = this.ready(count);
    if (ready) return ready;
    this.gathered.at = 0;
    while (this.gathered.at < count && (await this.more())) {
      const part = this.chunk.subarray(this.at, this.at + count - this.gathered.at);
      this.gathered.raw(part);
      this.at += part.length;
    }
    this.offset += this.gathered.at;
    return this.gathered.view();
  }

  /** At least one byte and at most `most`, or none at the end: a view, overwritten by the next call. */
  async some(most: number): Promise<Uint8Array> {
    return (await this.more()) ? this.take(Math.min(most, this.chunk.length - this.at)) : new Uint8Array(0);
  }

  /** Closes the source of the chunks. */
  async close(): Promise<void> {
    await this.chunks.return?.();
  }

  private take(count: number): Uint8Array {
    const bytes = this.chunk.subarray(this.at, this.at + count);
    this.at += bytes.length;
    this.offset += bytes.length;
    return bytes;
  }

  /** Whether there is a byte in the chunk. */
  private async more(): Promise<boolean> {
    while (!this.ended && this.at === this.chunk.length) {
      const { value, done } = await this.chunks.next();
      this.ended = done === true;
      this.chunk = value ?? new Uint8Array(0);
      this.at = 0;
    }
    return this.at < this.chunk.length;
  }
}
