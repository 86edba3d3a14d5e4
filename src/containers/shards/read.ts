/** Shards of criu-image-streamer, one or many, as files. The format is in marker.ts. */
import type { FileEvent } from '../../dump/events.js';
import { checkFileName } from '../../dump/names.js';
import { DumpError } from '../../errors.js';
import { BytesReader } from '../../io/bytes-reader.js';
import { word } from '../../protobuf/wire.js';
import { decodeMarker, MAX_MARKER_BYTES, type Marker } from './marker.js';

/** The size before each marker. */
const SIZE_BYTES = 4;

/** Shards have no permission bits. These are the ones of CRIU's images. */
const IMAGE_MODE = 0o600;

/** A shard to read. */
export interface ShardInput {
  /** Name for errors. */
  name: string;
  chunks: AsyncIterable<Uint8Array>;
}

/** One shard: its markers, each followed by its data. */
class Shard {
  readonly name: string;
  readonly reader: BytesReader;
  /** The next marker, once it has been read; null at the end. */
  next: Marker | null | undefined;
  private reading: Promise<void> | undefined;
  private lastSeq = -1;
  /** Size of the next marker, once it has been read. */
  private sizeBytes: number | undefined;

  constructor({ name, chunks }: ShardInput) {
    this.name = name;
    this.reader = new BytesReader(chunks);
  }

  /** Reads {@link next} if all of it has arrived. */
  peekReady(): void {
    if (this.next !== undefined || this.reading) return;
    const head = this.sizeBytes === undefined ? this.reader.ready(SIZE_BYTES) : undefined;
    if (head) this.sizeBytes = this.sizeOf(head);
    const bytes = this.sizeBytes === undefined ? undefined : this.reader.ready(this.sizeBytes);
    if (bytes) this.take(bytes);
  }

  /** Resolves when {@link next} has been read. */
  peek(): Promise<void> {
    this.reading ??= this.read().finally(() => {
      this.reading = undefined;
    });
    return this.reading;
  }

  private async read(): Promise<void> {
    if (this.next !== undefined) return;
    const head = this.sizeBytes === undefined ? await this.reader.exactly(SIZE_BYTES) : undefined;
    if (head?.length === 0) {
      this.next = null;
      return;
    }
    const size = this.sizeBytes ?? this.sizeOf(head as Uint8Array);
    const bytes = await this.reader.exactly(size);
    if (bytes.length < size) throw this.cutOff('a marker');
    this.take(bytes);
  }

  private sizeOf(head: Uint8Array): number {
    if (head.length < SIZE_BYTES) throw this.cutOff('a marker');
    const size = word(head, 0);
    if (size <= MAX_MARKER_BYTES) return size;
    throw new DumpError('LIMIT', `expected a marker of at most ${MAX_MARKER_BYTES} bytes, found a length of ${size}`, {
      file: this.name,
      offset: this.reader.offset - SIZE_BYTES,
    });
  }

  private take(bytes: Uint8Array): void {
    const offset = this.reader.offset - bytes.length;
    this.next = decodeMarker(bytes, this.name, offset);
    if (this.next.seq <= this.lastSeq) {
      throw new DumpError('ORDER', `expected a marker after number ${this.lastSeq}, found number ${this.next.seq}`, {
        file: this.name,
        offset: offset - SIZE_BYTES,
      });
    }
    this.lastSeq = this.next.seq;
    this.sizeBytes = undefined;
  }

  cutOff(what: string): DumpError {
    return new DumpError('TRUNCATED', `expected ${what}, found the end of the shard`, {
      file: this.name,
      offset: this.reader.offset,
    });
  }
}

/**
 * The files of a set of shards.
 * @throws {DumpError} TRUNCATED, MALFORMED, LIMIT, ORDER (also for shards of different dumps, and for one that is missing)
 */
export async function* readShards(inputs: readonly ShardInput[]): AsyncGenerator<FileEvent> {
  const shards = inputs.map((input) => new Shard(input));
  const known = new Map<string, 'open' | 'ended'>();
  let current: string | undefined;
  try {
    for (let seq = 0; ; seq++) {
      const shard = readyShard(shards, seq) ?? (await shardOf(shards, seq));
      const marker = shard.next as Marker;
      shard.next = undefined;
      if (marker.kind === 'imageEnd') break;
      if (marker.kind === 'filename') {
        current = marker.name;
        if (known.get(current) === 'ended') throw misplaced(shard, seq, `no more of ${current}`);
        if (!known.has(current)) {
          checkFileName(current, shard.name, shard.reader.offset);
          known.set(current, 'open');
          yield { type: 'file', name: current, kind: 'regular', mode: IMAGE_MODE };
        }
        continue;
      }
      if (current === undefined || known.get(current) === 'ended') throw misplaced(shard, seq, 'a file name');
      if (marker.kind === 'fileEnd') {
        known.set(current, 'ended');
        yield { type: 'fileEnd', name: current };
        continue;
      }
      for (let left = marker.bytes; left > 0; ) {
        let bytes = shard.reader.atHand(left);
        if (bytes.length === 0) bytes = await shard.reader.some(left);
        if (bytes.length === 0) throw shard.cutOff(`${left} more bytes of ${current}`);
        left -= bytes.length;
        yield { type: 'data', name: current, bytes };
      }
    }
    await checkEnd(shards, known);
  } finally {
    await Promise.allSettled(shards.map((shard) => shard.reader.close()));
  }
}

async function checkEnd(shards: readonly Shard[], known: ReadonlyMap<string, 'open' | 'ended'>): Promise<void> {
  for (const [name, state] of known) {
    if (state === 'open') throw new DumpError('TRUNCATED', `the dump ends before ${name} does`, { file: name });
  }
  for (const shard of shards) {
    await shard.peek();
    if (shard.next) throw misplaced(shard, shard.next.seq, 'nothing after the end of the dump');
  }
}

/** The shard whose next marker has this number, if it has arrived. Throws {@link DumpError} ORDER. */
function readyShard(shards: readonly Shard[], seq: number): Shard | undefined {
  for (const shard of shards) shard.peekReady();
  for (const shard of shards) {
    if (shard.next && shard.next.seq < seq) {
      throw misplaced(shard, shard.next.seq, `marker ${seq}: are these shards of one dump?`);
    }
  }
  return shards.find(({ next }) => next?.seq === seq);
}

/** The same, once it has arrived. Shards fill in any order, so it waits for all of them at once. */
async function shardOf(shards: readonly Shard[], seq: number): Promise<Shard> {
  for (;;) {
    const found = readyShard(shards, seq);
    if (found) return found;
    const unknown = shards.filter(({ next }) => next === undefined);
    if (unknown.length === 0) {
      const file = shards[0]?.name ?? 'shards';
      throw new DumpError('TRUNCATED', `marker ${seq} is in no shard: one is cut off or missing`, { file });
    }
    await Promise.race(unknown.map((shard) => shard.peek()));
  }
}

/** @param seq of the marker that is out of place */
const misplaced = (shard: Shard, seq: number, expected: string): DumpError =>
  new DumpError('ORDER', `marker ${seq} does not belong here: expected ${expected}`, {
    file: shard.name,
    offset: shard.reader.offset,
  });
