/**
 * The files of a dump that arrives, held for random access: in memory up to a budget, beyond that in a temporary file. Pages
 * are most of a dump, and few commands need them. So by default only their size is kept.
 */

import { FilesSink } from '../containers/files-sink.js';
import type { FileEvents } from '../dump/events.js';
import {
  type DumpEntry,
  type DumpFiles,
  type DumpOrigin,
  type FileStat,
  followLinks,
  missingImage,
  type SummedBlocks,
} from '../dump/files.js';
import { checkLink, isPagesName, OUTSIDE, pagesName } from '../dump/names.js';
import { pump } from '../dump/pump.js';
import type { DumpRecord, FileRecord, Space } from '../dump/records.js';
import { DumpError, invariant } from '../errors.js';
import { Breather } from '../io/breathe.js';
import type { MemoryBudget } from '../io/byte-queue.js';
import { HoldStore, type StoredFile } from '../io/hold-store.js';
import { DIRECTORY_MODE } from './sequential.js';
import { ArrivingSums } from './sums.js';

/** Told of what is held, as it arrives. */
export interface HoldObserver {
  /** There is more of a file. */
  took(name: string): void;
  /** There is all of it. */
  ended(name: string): void;
}

/** A dump that arrives: its files, or the records of a page stream. */
export interface Arriving {
  events?: FileEvents;
  stream?: AsyncIterable<Iterable<DumpRecord>>;
}

export interface HoldOptions {
  budget: MemoryBudget;
  /** `count`, the default: only the size of pages files is kept. `hold`: pages can be read, or those that are wanted. */
  pages?: 'count' | 'hold' | WantedPages;
  /** Whether files outside of the dump are held as well, up to {@link OUTSIDE_BYTES} of each. */
  outside?: boolean;
  origin?: DumpOrigin;
  /** Limit on the bytes of all files, including holes. */
  maxBytes?: number;
  signal?: AbortSignal;
  /** Told of the bytes of files as they arrive. */
  progress?: ((bytes: number) => void) | undefined;
  /** Longest time that the event loop may be blocked, in ms. */
  holdMs?: number;
  /** Told of files that were not compared with the sums of the dump. */
  warn?: ((message: string) => void) | undefined;
}

/** How much of a file outside of the dump is held, in bytes. What describes a container is far smaller. */
export const OUTSIDE_BYTES = 4 * 1024 * 1024;

/**
 * Which parts of a pages file are wanted, when it begins: ascending pairs of start and end in bytes. Undefined if that is not
 * known yet; then all of it is held.
 * @param files what has come so far
 * @param isComplete whether all of a file has come
 */
export type WantedPages = (
  files: DumpFiles,
  pages: string,
  isComplete: (name: string) => boolean,
) => Float64Array | undefined;

/** Bytes of a file that come in order. */
interface HeldBytes {
  push(bytes: Uint8Array): void;
  readSome(buffer: Uint8Array, position: number): number;
}

/** A file that is held, or only counted. */
interface HeldEntry extends DumpEntry {
  size: number;
  readonly bytes?: HeldBytes | undefined;
  hasEnded?: true;
}

export class HeldFiles implements DumpFiles {
  readonly kind = 'held';
  readonly mode = DIRECTORY_MODE;
  readonly origin?: DumpOrigin;
  pageSize?: number;
  summed?: SummedBlocks;
  observer?: HoldObserver;
  private readonly byName = new Map<string, HeldEntry>();
  private readonly store: HoldStore;
  private total = 0;

  /** @param path of the source, for errors */
  constructor(
    readonly path: string,
    private readonly options: HoldOptions,
  ) {
    this.store = new HoldStore(options.budget);
    if (options.origin) this.origin = options.origin;
  }

  /** Holds files that arrive. Throws {@link DumpError} of the source, and BAD_NAME, LIMIT, SYSTEM. */
  static async ofEvents(path: string, events: FileEvents, options: HoldOptions): Promise<HeldFiles> {
    const files = new HeldFiles(path, options);
    await files.fill({ events });
    return files;
  }

  /**
   * Holds the files of a page stream. Its pagemaps are made from its runs.
   * @throws {DumpError} of the stream, and STREAM_DAMAGED, BAD_NAME, LIMIT, SYSTEM
   */
  static async ofRecords(
    path: string,
    stream: AsyncIterable<Iterable<DumpRecord>>,
    options: HoldOptions,
  ): Promise<HeldFiles> {
    const files = new HeldFiles(path, options);
    await files.fill({ stream });
    return files;
  }

  /**
   * Holds all that arrives.
   * @throws {DumpError} of the source, and BAD_NAME, LIMIT, SYSTEM; all is dropped then
   */
  async fill({ events, stream }: Arriving): Promise<void> {
    if (stream) await pump(this.breathing(stream), [], new HoldSink(this), this.options.signal);
    if (events) await this.takeEvents(events);
  }

  private async takeEvents(events: FileEvents): Promise<void> {
    try {
      const sums = new ArrivingSums();
      for await (const event of this.breathing(events)) {
        if (!sums.take(event)) continue;
        if (event.type === 'file') this.addArriving(event);
        else if (event.type === 'data') this.push(event.name, event.bytes);
        else if (event.type === 'fileEnd') this.end(event.name);
      }
      sums.finish(this.options.warn);
      if (sums.blocks !== undefined) this.summed = { blocks: sums.blocks, toCompare: new Map() };
    } catch (error) {
      this.close();
      throw error;
    }
  }

  private async *breathing<T>(items: AsyncIterable<T>): AsyncGenerator<T> {
    const breather = new Breather(this.options.holdMs);
    for await (const item of items) {
      yield item;
      const breath = breather.due();
      if (breath) await breath;
      this.options.signal?.throwIfAborted();
    }
  }

  /** Begins a file of the dump, or one outside of it. */
  addArriving(file: Omit<DumpEntry, 'size'>): void {
    const { name } = file;
    if (!name.startsWith(OUTSIDE)) this.add(file);
    else if (this.options.outside && file.kind === 'regular' && !this.byName.has(name)) {
      this.byName.set(name, {
        ...file,
        size: 0,
        bytes: new PartsOfFile(this.store, Float64Array.of(0, OUTSIDE_BYTES)),
      });
    }
  }

  /**
   * Begins a file.
   * @param holds whether its bytes can be read later
   * @throws {DumpError} BAD_NAME for a name that exists already, and for a link that leads outside the dump
   */
  add(
    { name, kind, mode, target }: Omit<DumpEntry, 'size'>,
    holds = !isPagesName(name) || (this.options.pages ?? 'count') !== 'count',
  ): void {
    if (this.byName.has(name)) {
      throw new DumpError('BAD_NAME', 'the name occurs twice', { file: name });
    }
    if (kind === 'link') checkLink(name, Buffer.from(target ?? []).toString());
    const bytes = kind === 'regular' && holds ? this.newFile(name) : undefined;
    this.byName.set(name, { name, kind, mode, size: 0, bytes, ...(target ? { target } : {}) });
  }

  private newFile(name: string): HeldBytes {
    const { pages } = this.options;
    const isComplete = (other: string) => this.byName.get(other)?.hasEnded === true;
    const parts = typeof pages === 'function' && isPagesName(name) ? pages(this, name, isComplete) : undefined;
    return parts ? new PartsOfFile(this.store, parts) : this.store.file();
  }

  /** Copies the next bytes of a file. A file that was not begun is outside the dump. */
  push(name: string, bytes: Uint8Array): void {
    const entry = this.byName.get(name);
    if (!entry) return;
    const { maxBytes = Number.MAX_SAFE_INTEGER, progress } = this.options;
    progress?.(bytes.length);
    this.total += bytes.length;
    if (this.total > maxBytes) {
      throw new DumpError('LIMIT', `expected a dump of at most ${maxBytes} bytes, found more`, {
        file: name,
        hint: '--max-bytes allows more',
      });
    }
    entry.bytes?.push(bytes);
    entry.size += bytes.length;
    this.observer?.took(name);
  }

  /** The last bytes of a file have come. */
  end(name: string): void {
    const entry = this.byName.get(name);
    if (entry) entry.hasEnded = true;
    this.observer?.ended(name);
  }

  entries(): readonly DumpEntry[] {
    return [...this.byName.values()];
  }

  stat(name: string): FileStat | undefined {
    return followLinks(this.byName, name);
  }

  /** Must not be called for pages that were only counted. */
  readSome(name: string, buffer: Uint8Array, position: number): number {
    const entry = followLinks(this.byName, name);
    if (!entry) throw missingImage(name);
    if (entry.bytes) return entry.bytes.readSome(buffer, position);
    invariant(!isPagesName(name), 'pages that were only counted are not read');
    throw new DumpError('UNSUPPORTED', 'the link leads to a file that is not held', { file: name });
  }

  parent(): undefined {}

  close(): void {
    this.store.close();
  }
}

/** Parts of a file: the others are dropped. */
class PartsOfFile implements HeldBytes {
  private readonly files: StoredFile[] = [];
  private size = 0;
  /** The first part whose end has not come. */
  private next = 0;

  /** @param parts ascending pairs of start and end in bytes */
  constructor(
    store: HoldStore,
    private readonly parts: Float64Array,
  ) {
    for (let i = 0; i < parts.length; i += 2) this.files.push(store.file());
  }

  push(bytes: Uint8Array): void {
    const end = this.size + bytes.length;
    for (let i = this.next; i < this.files.length && this.start(i) < end; i++) {
      const from = Math.max(this.start(i), this.size);
      const to = Math.min(this.end(i), end);
      if (to > from) this.files[i]?.push(bytes.subarray(from - this.size, to - this.size));
      if (this.end(i) <= end) this.next = i + 1;
    }
    this.size = end;
  }

  /** Throws {@link DumpError} UNSUPPORTED for what was dropped. */
  readSome(buffer: Uint8Array, position: number): number {
    if (position >= this.size) return 0;
    const i = this.files.findIndex((_, part) => this.end(part) > position);
    if (i < 0 || this.start(i) > position) {
      throw new DumpError('UNSUPPORTED', 'this part of the file was not held', { offset: position });
    }
    return this.files[i]?.readSome(buffer, position - this.start(i)) ?? 0;
  }

  private start(part: number): number {
    return this.parts[2 * part] as number;
  }

  private end(part: number): number {
    return this.parts[2 * part + 1] as number;
  }
}

class HoldSink extends FilesSink {
  constructor(private readonly files: HeldFiles) {
    super();
  }

  finish(): void {
    this.files.pageSize = this.header.pageSize;
  }

  discard(): void {
    this.files.close();
  }

  protected startFile(record: FileRecord): void {
    this.files.pageSize = this.header.pageSize;
    this.files.addArriving(record);
  }

  protected fileBytes(bytes: Uint8Array, { name }: FileRecord): void {
    this.files.push(name, bytes);
  }

  protected endFile({ name }: FileRecord): void {
    this.files.end(name);
  }

  /** A page stream has checksums of its own; what is made of the dump gets sums again. */
  protected override startSums(): void {
    this.files.summed = { blocks: 0, toCompare: new Map() };
  }

  protected startSpace(space: Space): void {
    this.files.pageSize = this.header.pageSize;
    this.files.add({ name: space.pagemap, kind: 'regular', mode: space.pagemapMode });
    this.files.add({ name: pagesName(space), kind: 'regular', mode: space.pagesMode });
  }

  protected pagemapBytes(bytes: Uint8Array, { pagemap }: Space): void {
    this.files.push(pagemap, bytes);
  }

  protected pagesBytes(bytes: Uint8Array, space: Space): void {
    this.files.push(pagesName(space), bytes);
  }

  protected endSpace(space: Space): void {
    this.files.end(space.pagemap);
    this.files.end(pagesName(space));
  }

  protected end(): void {}
}
