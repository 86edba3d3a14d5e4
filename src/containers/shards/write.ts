/**
 * Writes records into shards, as criu-image-streamer does; marker.ts describes the format. Nothing has to be held: pieces of
 * the pagemap and the pages of a space may alternate. Each piece goes to the shard with the fewest bytes.
 */
import { pagesName, SUMS_MARK } from '../../dump/names.js';
import type { FileRecord, Space } from '../../dump/records.js';
import { DumpError } from '../../errors.js';
import type { ShardOutput } from '../../io/byte-output.js';
import { FilesSink, type FilesSinkOptions } from '../files-sink.js';
import { encodeMarker, type Marker } from './marker.js';

/** Most data after one marker: what a pipe holds, and what criu-image-streamer writes at a time. */
const MAX_PIECE_BYTES = 64 * 1024;

type Body = { kind: 'filename'; name: string } | { kind: 'data'; bytes: number } | { kind: 'fileEnd' | 'imageEnd' };

/** One shard, and its bytes so far. */
class Shard {
  bytes = 0;

  constructor(readonly output: ShardOutput) {}

  write(bytes: Uint8Array): void {
    this.output.write(bytes);
    this.bytes += bytes.length;
  }
}

export class ShardSink extends FilesSink {
  /** Bytes of all files of the dump. */
  bytes = 0;
  private readonly shards: Shard[];
  private last: Shard | undefined;
  private seq = 0;
  /** The file that the last name made current. */
  private named: string | undefined;

  constructor(outputs: readonly ShardOutput[], options: FilesSinkOptions = {}) {
    super(options);
    this.shards = outputs.map((output) => new Shard(output));
  }

  /** Puts the shards in their places, the one with the end of all last: without it a set is refused. */
  finish(): void {
    for (const shard of this.shards) if (shard !== this.last) shard.output.commit();
    this.last?.output.commit();
  }

  discard(): void {
    for (const { output } of this.shards) output.discard();
  }

  /** Shards hold only files, without folders. */
  protected startFile({ kind, name }: FileRecord): void {
    if (kind !== 'regular' || name.includes('/')) {
      const what = kind === 'regular' ? 'files in folders' : kind === 'directory' ? 'folders' : 'links';
      throw new DumpError('UNSUPPORTED', `shards cannot hold ${what}`, { file: name });
    }
  }

  /** The reader, too, must know of the sums before the first file. */
  protected override startSums(): void {
    this.endImage(SUMS_MARK);
  }

  protected fileBytes(bytes: Uint8Array, { name }: FileRecord): void {
    this.data(name, bytes);
  }

  protected endFile({ name }: FileRecord): void {
    this.endImage(name);
  }

  protected startSpace(): void {}

  protected pagemapBytes(bytes: Uint8Array, { pagemap }: Space): void {
    this.data(pagemap, bytes);
  }

  protected pagesBytes(bytes: Uint8Array, space: Space): void {
    this.data(pagesName(space), bytes);
  }

  protected endSpace(space: Space): void {
    this.endImage(space.pagemap);
    this.endImage(pagesName(space));
  }

  protected end(): void {
    this.put({ kind: 'imageEnd' });
  }

  private data(name: string, bytes: Uint8Array): void {
    this.sum(name, bytes);
    this.bytes += bytes.length;
    for (let at = 0; at < bytes.length; at += MAX_PIECE_BYTES) {
      this.makeCurrent(name);
      const piece = bytes.subarray(at, at + MAX_PIECE_BYTES);
      this.put({ kind: 'data', bytes: piece.length }, piece);
    }
  }

  private endImage(name: string): void {
    this.makeCurrent(name);
    this.put({ kind: 'fileEnd' });
    this.named = undefined;
  }

  private makeCurrent(name: string): void {
    if (this.named !== name) this.put({ kind: 'filename', name });
    this.named = name;
  }

  /** Writes a marker, and the bytes after it. */
  private put(body: Body, data?: Uint8Array): void {
    const shard = this.shards.reduce((least, other) => (other.bytes < least.bytes ? other : least));
    if (this.last !== shard) this.last?.output.flush();
    this.last = shard;
    shard.write(encodeMarker({ ...body, seq: this.seq++ } as Marker));
    if (data) shard.write(data);
  }
}
