/** Shards of criu-image-streamer, one or many, as files. The format is in marker.ts. */
import { DumpError } from '../errors.js';
import { word } from '../image/wire.js';
import { BytesReader } from './bytes-reader.js';
import { decodeMarker, MAX_MARKER_BYTES, type Marker } from './marker.js';
import { checkMemberName, type MemberEvent } from './members.js';

/** Files of a shard have no modes: those of CRIU's own images. */
const IMAGE_MODE = 0o600;

/** A shard and where it is read from. */
export interface ShardInput {
  /** For errors. */
  name: string;
  chunks: AsyncIterable<Uint8Array>;
}

/** One shard: its markers, and what stands behind them. */
class Shard {
  readonly name: string;
  readonly reader: BytesReader;
  /** The next marker, when it is known; null at the end. */
  next: Marker | null | undefined;
  private reading: Promise<void> | undefined;
  private lastSeq = -1;

  constructor({ name, chunks }: ShardInput) {
    this.name = name;
    this.reader = new BytesReader(chunks);
  }

  /** Resolves when {@link next} is known. */
  peek(): Promise<void> {
    this.reading ??= this.read().finally(() => {
      this.reading = undefined;
    });
    return this.reading;
  }

  private async read(): Promise<void> {
    if (this.next !== undefined) return;
    const { offset } = this.reader;
    const head = await this.reader.exactly(4);
    if (head.length === 0) {
      this.next = null;
      return;
    }
    const size = head.length === 4 ? word(head, 0) : 0;
    if (size > MAX_MARKER_BYTES) {
      throw new DumpError(
        'LIMIT',
        `expected a marker of at most ${MAX_MARKER_BYTES} bytes, found a length of ${size}`,
        {
          file: this.name,
          offset,
        },
      );
    }
    const bytes = head.length === 4 ? await this.reader.exactly(size) : head;
    if (head.length < 4 || bytes.length < size) throw this.cutOff('a marker');
    this.next = decodeMarker(bytes, this.name, offset + 4);
    if (this.next.seq <= this.lastSeq) {
      throw new DumpError('ORDER', `expected a marker behind number ${this.lastSeq}, found number ${this.next.seq}`, {
        file: this.name,
        offset,
      });
    }
    this.lastSeq = this.next.seq;
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
export async function* readShards(inputs: readonly ShardInput[]): AsyncGenerator<MemberEvent> {
  const shards = inputs.map((input) => new Shard(input));
  try {
    yield* mergeShards(shards);
  } finally {
    await Promise.allSettled(shards.map((shard) => shard.reader.close()));
  }
}

async function* mergeShards(shards: readonly Shard[]): AsyncGenerator<MemberEvent> {
  const known = new Map<string, 'open' | 'ended'>();
  let current: string | undefined;
  for (let seq = 0; ; seq++) {
    const shard = await shardOf(shards, seq);
    const marker = shard.next as Marker;
    shard.next = undefined;
    if (marker.kind === 'imageEnd') break;
    if (marker.kind === 'filename') {
      current = marker.name;
      if (known.get(current) === 'ended') throw unexpected(shard, `no more of ${current}`);
      if (!known.has(current)) {
        checkMemberName(current, shard.name, shard.reader.offset);
        known.set(current, 'open');
        yield { type: 'member', name: current, kind: 'regular', mode: IMAGE_MODE };
      }
      continue;
    }
    if (current === undefined || known.get(current) === 'ended') throw unexpected(shard, 'a file name');
    if (marker.kind === 'data') {
      yield* data(shard, current, marker.bytes);
    } else {
      known.set(current, 'ended');
      yield { type: 'memberEnd', name: current };
    }
  }
  for (const [name, state] of known) {
    if (state === 'open')
      throw new DumpError('TRUNCATED', `expected the end of ${name}, found that of all`, { file: name });
  }
  for (const shard of shards) {
    await shard.peek();
    if (shard.next) throw unexpected(shard, 'nothing behind the end of the dump');
  }
}

/** The shard whose next marker has a number. Shards fill in any order, so all are waited for at once. */
async function shardOf(shards: readonly Shard[], seq: number): Promise<Shard> {
  for (;;) {
    const found = shards.find(({ next }) => next?.seq === seq);
    if (found) return found;
    const behind = shards.find(({ next }) => next && next.seq < seq);
    if (behind) throw unexpected(behind, `marker number ${seq}: are these shards of one dump?`);
    const unknown = shards.filter(({ next }) => next === undefined);
    if (unknown.length === 0) {
      const [first] = shards;
      throw new DumpError(
        'TRUNCATED',
        `expected marker number ${seq}, found it in no shard: one is cut off or missing`,
        {
          file: first?.name ?? 'shards',
        },
      );
    }
    await Promise.race(unknown.map((shard) => shard.peek()));
  }
}

async function* data(shard: Shard, name: string, bytes: number): AsyncGenerator<MemberEvent> {
  for (let left = bytes; left > 0; ) {
    const piece = await shard.reader.some(left);
    if (piece.length === 0) throw shard.cutOff(`${left} more bytes of ${name}`);
    left -= piece.length;
    yield { type: 'data', name, bytes: piece };
  }
}

const unexpected = (shard: Shard, expected: string): DumpError =>
  new DumpError('ORDER', `expected ${expected}, found marker number ${shard.next?.seq ?? ''} otherwise`, {
    file: shard.name,
    offset: shard.reader.offset,
  });
