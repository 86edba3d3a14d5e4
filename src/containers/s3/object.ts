/**
 * An object that is read at any position, as a file is. What is fetched:
 *
 * - Ranges that a reader has announced, by requests of up to 8 MiB of which several are under way. See plan.ts.
 * - A small object as a whole.
 * - Otherwise what is read, and more of what follows it the longer a reader goes on without a jump: at most as many bytes
 *   ahead as it has read.
 * - Of a reader that jumps about in one place, forwards or backwards, the blocks around what it reads, which grow.
 *
 * A read sleeps until its bytes are here. Who has something else to do asks {@link S3Object.arrival} first.
 */
import type { RandomAccess } from '../../io/random-access.js';
import { type ObjectAddress, s3Name } from './address.js';
import type { S3Bridge } from './bridge.js';
import { planRequests, type Range } from './plan.js';
import type { ObjectInfo } from './protocol.js';
import { AWAITED_BYTES, type Fetched, LARGEST_BYTES, type ObjectId, type Slots, slotsOf } from './slots.js';

/** Objects of at most so many bytes are fetched as a whole. */
export const WHOLE_BYTES = 256 * 1024;
/** Fewer bytes than this are not worth a plan. */
const PLANNED_BYTES = 512 * 1024;
/** The first range after a jump has so many bytes at least. */
const JUMP_BYTES = 64 * 1024;
/** A reader that skips so little goes on. */
const SKIP_BYTES = 64 * 1024;
/** Bytes that are fetched ahead of a reader at most. */
const AHEAD_BYTES = 4 * LARGEST_BYTES;
/** Bytes of a chunk in sequence. */
const CHUNK_BYTES = 128 * 1024;

/** Blocks of a reader that jumps about in one place grow so much with each jump, up to a slot of the middle size. */
const BLOCK_GROWTH = 4;

/** A reader: where it goes on, how much it has read without a jump, and the size of its blocks. */
interface Stream {
  position: number;
  bytes: number;
  blockBytes: number;
}
/** Readers of one object at a time. */
const STREAMS = 4;

export class S3Object implements RandomAccess {
  readonly name: string;
  readonly size: number;
  private readonly slots: Slots;
  private readonly id: ObjectId;
  private readonly key: string;
  /** Requests for what will be read, those from `planned` on are not under way. */
  private plan: Range[] = [];
  private planned = 0;
  /** Requests for what somebody waits for, in the order in which it is needed; those that are under way are not here any more. */
  private readonly awaited: Range[] = [];
  /** Readers that go on from somewhere: pagemaps and pages may be read in turns. The one that was used last is the first. */
  private readonly streams: Stream[] = [];

  constructor(bridge: S3Bridge, address: ObjectAddress, { size, etag }: Pick<ObjectInfo, 'size' | 'etag'>) {
    this.name = s3Name(address);
    this.size = size;
    this.slots = slotsOf(bridge);
    this.id = { bucket: address.bucket, key: address.key, etag, size };
    this.key = JSON.stringify([address.bucket, address.key, etag]);
  }

  /** Throws {@link DumpError} CHANGED, DAMAGED, SYSTEM. */
  readSome(buffer: Uint8Array, position: number): number {
    const count = Math.min(buffer.length, this.size - position);
    if (count <= 0) return 0;
    const stream = this.streamOf(position);
    if (stream) stream.bytes += count;
    const range = this.find(position, count, stream);
    this.followPlan();
    if (stream) this.fetchAhead(range, stream);
    const done = this.from(range, buffer.subarray(0, count), position);
    if (stream) stream.position = position + done;
    return done;
  }

  /** As that of RandomAccess. */
  arrival(position: number, bytes: number, isNeeded = true): Promise<void> | undefined {
    const { slots, id, key } = this;
    const end = Math.min(position + bytes, this.size);
    let waits: Promise<void> | undefined;
    for (let at = position; at < end; ) {
      let range = slots.peek(key, at);
      if (!range && !isNeeded) return Promise.resolve();
      if (!range) {
        const wanted = this.takeAwaited(at) ?? this.wanted(at, end - at, this.streamOf(at, position));
        range = slots.await(id, key, wanted.start, wanted.end);
      }
      if (!range) return waits ?? slots.whenOneHasCome();
      if (!range.hasCome(Math.min(end, range.end))) waits ??= range.whenEnded;
      at = range.end;
    }
    return waits;
  }

  /** As that of RandomAccess. */
  willRead(extents: Float64Array, isAwaited = false): void {
    if (isAwaited) {
      this.awaited.push(...planRequests(extents, this.size, AWAITED_BYTES));
    } else {
      // Small files of an archive follow each other: they are fetched as a stream.
      if (bytesOf(extents) < PLANNED_BYTES || this.isPlanned(extents)) return;
      this.slots.abandon(this.key);
      this.plan = planRequests(extents, this.size, LARGEST_BYTES);
      this.planned = 0;
    }
    this.followPlan();
  }

  /** As that of RandomAccess. */
  forget(position: number, bytes: number): void {
    this.slots.forget(this.key, position, position + bytes);
  }

  /** Says that a small object will be read. */
  willReadAll(): void {
    if (!this.slots.peek(this.key, 0)) this.slots.fetchAhead(this.id, this.key, 0, this.size);
  }

  /** All bytes, in sequence. A chunk is overwritten by the next one. The signal ends a wait. */
  async *chunks(signal: AbortSignal): AsyncGenerator<Uint8Array, void, void> {
    const buffer = new Uint8Array(Math.min(CHUNK_BYTES, this.size));
    this.willRead(Float64Array.of(0, this.size));
    for (let position = 0; position < this.size; ) {
      signal.throwIfAborted();
      const range = this.find(position, 1, this.streamOf(position));
      this.followPlan();
      const end = Math.min(position + buffer.length, range.end);
      if (range.filledTo < end)
        await withSignal(
          range.arrival.settled().catch(() => {}),
          signal,
        );
      const count = this.from(range, buffer, position);
      yield buffer.subarray(0, count);
      position += count;
    }
  }

  close(): void {
    this.slots.release(this.key);
  }

  private from(range: Fetched, buffer: Uint8Array, position: number): number {
    try {
      return range.read(buffer, position);
    } catch (error) {
      this.slots.drop(range);
      throw error;
    }
  }

  /** Index of the planned request that has a position; negative if there is none. */
  private plannedAt(position: number): number {
    let low = 0;
    let high = this.plan.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if ((this.plan[middle] as Range).end > position) high = middle;
      else low = middle + 1;
    }
    const request = this.plan[low];
    return request && request.start <= position ? low : -1;
  }

  /** Whether all of it is in the plan already, as are parts of what was announced as a whole. */
  private isPlanned(extents: Float64Array): boolean {
    for (let i = 0; i < extents.length; i += 2) {
      const start = extents[i] as number;
      const last = start + (extents[i + 1] as number) - 1;
      if (this.plannedAt(start) < 0 || this.plannedAt(last) < 0) return false;
    }
    return true;
  }

  /** The range that a reader finds at a position, or fetches. */
  private find(position: number, count: number, stream: Stream | undefined): Fetched {
    const { slots, id, key } = this;
    const known = slots.find(key, position);
    if (known) return known;
    const { start, end } = this.wanted(position, count, stream);
    return slots.fetch(id, key, start, end);
  }

  /** The reader of what is not planned. @param from where it has begun to read */
  private streamOf(position: number, from = position): Stream | undefined {
    return this.plannedAt(position) < 0 ? this.streamAt(from) : undefined;
  }

  private streamAt(position: number): Stream {
    const { streams } = this;
    const goesOn = (each: Stream) => position >= each.position && position - each.position <= SKIP_BYTES;
    const isNear = (each: Stream) => Math.abs(position - each.position) <= each.blockBytes;
    const known = streams.find(goesOn) ?? streams.find(isNear);
    const blockBytes = Math.min(BLOCK_GROWTH * (known?.blockBytes ?? 0), AWAITED_BYTES) || JUMP_BYTES;
    const stream = known && goesOn(known) ? known : { position, bytes: 0, blockBytes };
    const others = streams.filter((each) => each !== known).slice(0, STREAMS - 1);
    streams.splice(0, STREAMS, stream, ...others);
    return stream;
  }

  /** The request for what is awaited at a position, if it is not under way yet. */
  private takeAwaited(position: number): Range | undefined {
    const at = this.awaited.findIndex(({ start, end }) => position >= start && position < end);
    return at < 0 ? undefined : this.awaited.splice(at, 1)[0];
  }

  /** What is fetched for who reads on, or has jumped here; without a stream it is planned. */
  private wanted(position: number, count: number, stream: Stream | undefined): Range {
    if (!stream) {
      const planned = this.plannedAt(position);
      this.planned = Math.max(this.planned, planned + 1);
      return { start: position, end: (this.plan[planned] as Range).end };
    }
    if (this.size <= WHOLE_BYTES) return { start: 0, end: this.size };
    const { bytes, blockBytes } = stream;
    const last = Math.min(position + LARGEST_BYTES, this.size);
    if (bytes > count || blockBytes === JUMP_BYTES) {
      return { start: position, end: Math.min(position + Math.max(count, JUMP_BYTES, bytes), last) };
    }
    const { slots, key } = this;
    const block = position - (position % blockBytes);
    const end = Math.min(Math.max(block + blockBytes, position + count), last);
    // What is there of it is not fetched again.
    const [before, after] = [slots.peek(key, block), slots.peek(key, end - 1)];
    return {
      start: before && before.end <= position ? before.end : block,
      end: after && after.start > position ? after.start : end,
    };
  }

  /** Fetches what follows a range, at most as much as its reader has read. */
  private fetchAhead(range: Fetched, { bytes }: Stream): void {
    if (bytes < 2 * JUMP_BYTES) return;
    const last = Math.min(range.end + Math.min(bytes, AHEAD_BYTES), this.size);
    for (let start = range.end; start < last; ) {
      const end = Math.min(start + Math.min(bytes, LARGEST_BYTES), this.size);
      const known = this.slots.peek(this.key, start);
      if (!known && !this.slots.fetchAhead(this.id, this.key, start, end)) return;
      start = known?.end ?? end;
    }
  }

  /** Has as many of the planned requests under way as there is room for. */
  private followPlan(): void {
    for (; this.planned < this.plan.length; this.planned++) {
      const { start, end } = this.plan[this.planned] as Range;
      if (!this.comes(start, end)) return;
    }
    for (let next = this.awaited[0]; next && this.comes(next.start, next.end); next = this.awaited[0]) {
      this.awaited.shift();
    }
  }

  /** Whether a range is there or under way, from now on if there is room for it. */
  private comes(start: number, end: number): boolean {
    const { slots, id, key } = this;
    return slots.peek(key, start) !== undefined || slots.fetchAhead(id, key, start, end);
  }
}

function bytesOf(extents: Float64Array): number {
  let bytes = 0;
  for (let i = 1; i < extents.length; i += 2) bytes += extents[i] as number;
  return bytes;
}

/** Waits for a promise, or for the signal. */
function withSignal(promise: Promise<unknown>, signal: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    const abort = () => reject(signal.reason);
    signal.addEventListener('abort', abort, { once: true });
    void promise.then(() => {
      signal.removeEventListener('abort', abort);
      resolve();
    });
  });
}
