/**
 * The memory that ranges of objects come into. There are a few slots of each of three sizes, 64 MiB in all, which are made when
 * they are first needed and then used again. So whatever is read, and from however many objects, takes no more memory.
 */
import type { Pending, S3Bridge } from './bridge.js';
import type { FetchRequest } from './protocol.js';

const KIB = 1024;
const MIB = 1024 * KIB;

/**
 * Large ranges: one that is read and four that come. Small ones: whole images, and pages that are read here and there. Those
 * in the middle are for pages that somebody waits for.
 */
const CLASSES = [
  { bytes: 256 * KIB, slots: 32 },
  { bytes: MIB, slots: 16 },
  { bytes: 8 * MIB, slots: 5 },
] as const;

/** Most bytes of a request. */
export const LARGEST_BYTES = CLASSES[2].bytes;
/** The same of one that somebody waits for. */
export const AWAITED_BYTES = CLASSES[1].bytes;
/** Most ranges that are fetched ahead at the same time. */
const MOST_AHEAD = 32;
/** What was fetched ahead, and not read while so many others were fetched, is not read any more. */
const FORGOTTEN_AFTER = 96;

/** Why a range is fetched: it will be read; it is waited for, but not by this thread, which goes on; or it is read now. */
type Need = 'ahead' | 'awaited' | 'now';

/** What a range is of. Objects that are opened twice have one identity. */
export type ObjectId = Pick<FetchRequest, 'bucket' | 'key' | 'etag' | 'size'>;

/** A range of an object, in a slot. */
export class Fetched {
  /** Whether something of it was read, and up to where. */
  isRead = false;
  readTo = 0;
  lastUse = 0;
  /** How many ranges were fetched before. */
  fetch = 0;
  private ended: Promise<void> | undefined;

  constructor(
    private readonly bridge: S3Bridge,
    readonly slot: Slot,
    readonly object: string,
    readonly start: number,
    readonly end: number,
    readonly arrival: Pending<void>,
  ) {}

  /** End of what is there. */
  get filledTo(): number {
    return this.start + this.bridge.filled(this.slot.index);
  }

  /** Whether all up to a position is there, or nothing more comes. */
  hasCome(end: number): boolean {
    return this.filledTo >= end || this.arrival.isDone();
  }

  /** Fulfilled when nothing more comes. */
  get whenEnded(): Promise<void> {
    this.ended ??= this.arrival.settled().catch(() => {});
    return this.ended;
  }

  /** Copies what is there from a position on, after it has waited for `bytes` of it. Throws {@link DumpError}. */
  read(buffer: Uint8Array, position: number): number {
    const count = Math.min(buffer.length, this.end - position);
    this.bridge.sleepUntil(() => this.filledTo >= position + count || this.arrival.isDone());
    if (this.filledTo < position + count) this.arrival.wait();
    const from = position - this.start;
    buffer.set(this.slot.memory.subarray(from, from + count));
    this.readTo = Math.max(this.readTo, position + count);
    return count;
  }
}

interface Slot {
  index: number;
  memory: Uint8Array;
  range?: Fetched | undefined;
}

/** The slots of a bridge, and what is in them. */
export class Slots {
  private readonly classes: Slot[][] = CLASSES.map(() => []);
  private count = 0;
  private clock = 0;
  private fetches = 0;
  /** The range that was found last. */
  private latest: Fetched | undefined;

  constructor(private readonly bridge: S3Bridge) {}

  /** The range that has a position, wholly or up to there on its way. */
  find(object: string, position: number): Fetched | undefined {
    const found = this.peek(object, position);
    if (found) this.touch(found);
    return found;
  }

  /** The same, without counting as a use. */
  peek(object: string, position: number): Fetched | undefined {
    const has = (range: Fetched | undefined) =>
      range?.object === object && position >= range.start && position < range.end;
    return has(this.latest) ? this.latest : this.all().find(({ range }) => has(range))?.range;
  }

  /** Fetches a range that is read now. */
  fetch(id: ObjectId, object: string, start: number, end: number): Fetched {
    const range = this.begin(this.free(end - start, 'now') as Slot, id, object, start, end);
    this.touch(range);
    return range;
  }

  /** Fetches a range that is waited for; undefined if there is no room before another one has come. */
  await(id: ObjectId, object: string, start: number, end: number): Fetched | undefined {
    const slot = this.free(end - start, 'awaited');
    return slot && this.begin(slot, id, object, start, end);
  }

  /** Fulfilled when a range has come. */
  whenOneHasCome(): Promise<void> {
    const coming = this.all().flatMap(({ range }) => (range && !range.arrival.isDone() ? range.whenEnded : []));
    return coming.length > 0 ? Promise.race(coming) : Promise.resolve();
  }

  /** Fetches a range that will be read soon; false if there is no room for it yet. */
  fetchAhead(id: ObjectId, object: string, start: number, end: number): boolean {
    const ahead = this.all().filter(({ range }) => range && !range.isRead && this.isWanted(range)).length;
    const slot = ahead < MOST_AHEAD ? this.free(end - start, 'ahead') : undefined;
    if (slot) this.begin(slot, id, object, start, end);
    return slot !== undefined;
  }

  /** What was fetched ahead of the reader of an object will not be read. */
  abandon(object: string): void {
    for (const { range } of this.all()) if (range?.object === object && !range.isRead) range.readTo = range.end;
  }

  /** Forgets a range, so that the next reader fetches it again. */
  drop(range: Fetched): void {
    if (this.latest === range) this.latest = undefined;
    if (range.slot.range === range) range.slot.range = undefined;
  }

  /** Forgets all ranges that have bytes from `start` to `end`. */
  forget(object: string, start: number, end: number): void {
    for (const { range } of this.all()) {
      if (range?.object === object && range.start < end && range.end > start) this.stop(range);
    }
  }

  /** Stops what is on its way for an object that nobody reads any more, and forgets what is there. */
  release(object: string): void {
    for (const { range } of this.all()) if (range?.object === object) this.stop(range);
  }

  /** Whether a range is likely to be read on: it is not if many others were fetched since. */
  private isWanted(range: Fetched): boolean {
    return range.readTo < range.end && this.fetches - range.fetch < FORGOTTEN_AFTER;
  }

  private touch(range: Fetched): void {
    range.isRead = true;
    range.lastUse = ++this.clock;
    this.latest = range;
  }

  private all(): Slot[] {
    return this.classes.flat();
  }

  private begin(
    slot: Slot,
    { bucket, key, etag, size }: ObjectId,
    object: string,
    start: number,
    end: number,
  ): Fetched {
    this.bridge.empty(slot.index);
    const request = { slot: slot.index, bucket, key, etag, size, start, bytes: end - start };
    const range = new Fetched(this.bridge, slot, object, start, end, this.bridge.start('fetch', request));
    range.lastUse = ++this.clock;
    range.fetch = ++this.fetches;
    slot.range = range;
    return range;
  }

  /** A slot that nothing comes into. */
  private free(bytes: number, need: Need): Slot | undefined {
    const rank = CLASSES.findIndex((each) => each.bytes >= bytes);
    const slots = this.classes[rank] as Slot[];
    const empty = slots.find(({ range }) => range === undefined);
    if (empty) return empty;
    const { bytes: capacity, slots: most } = CLASSES[rank] as (typeof CLASSES)[number];
    if (slots.length < most) {
      const memory = new SharedArrayBuffer(capacity);
      const slot: Slot = { index: this.count++, memory: new Uint8Array(memory) };
      this.bridge.start('attach', { slot: slot.index, memory });
      slots.push(slot);
      return slot;
    }
    const ranges = slots.flatMap(({ range }) => range ?? []).sort((a, b) => a.lastUse - b.lastUse);
    const victim = this.victim(ranges, need);
    if (!victim) return undefined;
    this.stop(victim);
    return victim.slot;
  }

  /** The range that is given up for another one. @param ranges the one that was used last is the last */
  private victim(ranges: readonly Fetched[], need: Need): Fetched | undefined {
    const come = ranges.filter(({ arrival }) => arrival.isDone());
    const unwanted = come.find((range) => !this.isWanted(range));
    if (unwanted || need === 'ahead') return unwanted;
    if (need === 'awaited') return come.find(({ isRead }) => isRead) ?? come[0];
    return ranges.find((range) => range.isRead || !this.isWanted(range)) ?? ranges.at(-1);
  }

  /** Waits until nothing comes into the slot of a range any more. */
  private stop(range: Fetched): void {
    this.drop(range);
    if (range.arrival.isDone()) return;
    this.bridge.start('cancel', { slot: range.slot.index });
    this.bridge.sleepUntil(() => range.arrival.isDone());
  }
}

const pools = new WeakMap<S3Bridge, Slots>();

/** The slots of a bridge. */
export function slotsOf(bridge: S3Bridge): Slots {
  const known = pools.get(bridge) ?? new Slots(bridge);
  pools.set(bridge, known);
  return known;
}
