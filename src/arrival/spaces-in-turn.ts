/**
 * Pagemaps and pages that arrive in any order, as records of one space after the other. Pages wait for their pagemap and, if
 * areas are wanted, for the mm image of their task. While one space is passed on, the others wait.
 */
import type { WaitingBytes } from '../bytes.js';
import type { FileBegin } from '../dump/events.js';
import { mmName } from '../dump/names.js';
import type { DumpRecord, Space } from '../dump/records.js';
import { Fifo } from '../fifo.js';
import { decodeAreas } from '../image/mm.js';
import { ByteQueue, type MemoryBudget } from '../io/byte-queue.js';
import { type RunBatch, RunBuilder } from '../memory/runs.js';
import type { MetadataCache } from './metadata-cache.js';
import type { ArrivingPagemap } from './pagemap.js';
import { type PagesStep, PagesWalk } from './pages-walk.js';

export interface SpacesOptions {
  /** Bytes. */
  pageSize: number;
  /** Whether the areas of tasks must come before their pages, to classify by them. */
  wantsAreas: boolean;
  /** Has the mm images that have arrived. */
  metadata: MetadataCache;
  budget: MemoryBudget;
  /** Whether it is not known yet to which of several pagemaps a pages file belongs. */
  isContested(pages: string): boolean;
}

/**
 * Runs of a complete pagemap are one batch up to about this number: an archive can only be written at once if all runs of a space
 * are known before its first page. They take 20 bytes each.
 */
const MAX_JOINED_RUNS = 128 * 1024;

/** Stands for the end of the dump, where it is known to which pagemap contested pages belong. */
const END = '';

interface ArrivingPages {
  file: FileBegin;
  bytes: ByteQueue;
  ended: boolean;
}

interface ArrivingSpace {
  file: FileBegin;
  pagemap: ArrivingPagemap;
  /** Runs that wait for their turn. */
  runs: Fifo<RunBatch>;
  /** Whether its head has come. */
  isKnown: boolean;
}

/** All events have passed `ArrivalChecks`, and are not checked again. */
export class SpacesInTurn {
  private readonly spaces = new Map<string, ArrivingSpace>();
  private readonly pages = new Map<string, ArrivingPages>();
  /** Spaces that cannot begin yet, by the name of the file that they wait for. */
  private readonly waiting = new Map<string, ArrivingSpace[]>();
  /** Spaces that can begin. There may be many, so they are never looked for among the others. */
  private readonly ready = new Fifo<ArrivingSpace>();
  /** The space that is being passed on. */
  private current: (ArrivingSpace & { space: Space; pages: ArrivingPages; walk: PagesWalk }) | undefined;
  private count = 0;
  /** Pages files whose spaces have begun. */
  private readonly begun = new Set<string>();

  constructor(private readonly options: SpacesOptions) {}

  /** Whether the next record must be payload. */
  get owesPayload(): boolean {
    return (this.current?.walk.payloadLeft ?? 0) > 0;
  }

  /** Whether everything was passed on. */
  get isEmpty(): boolean {
    return this.spaces.size === 0 && this.pages.size === 0;
  }

  addPagemap(file: FileBegin, pagemap: ArrivingPagemap): void {
    this.spaces.set(file.name, { file, pagemap, runs: new Fifo(), isKnown: false });
  }

  /** Whether pages are being passed on, or were. */
  areTaken(pages: string): boolean {
    return this.begun.has(pages);
  }

  /**
   * Called at the end: leaves out pagemaps and pages, and begins what waited for the end.
   * @returns the pagemaps that were passed on before
   */
  leave(pagemaps: readonly string[], pages: readonly string[]): string[] {
    const gone = pagemaps.filter((name) => !this.spaces.delete(name));
    for (const name of pages) {
      this.pages.get(name)?.bytes.close();
      this.pages.delete(name);
    }
    this.noteFile(END);
    return gone;
  }

  /** Called when more of a pagemap has come. */
  notePagemap(name: string): void {
    const arriving = this.spaces.get(name);
    if (!arriving?.pagemap.space || arriving.isKnown) return;
    arriving.isKnown = true;
    this.place(arriving);
  }

  addPages(file: FileBegin): void {
    this.pages.set(file.name, { file, bytes: new ByteQueue(this.options.budget), ended: false });
    this.noteFile(file.name);
  }

  /** Called when a file is there that spaces may wait for. */
  noteFile(name: string): void {
    const spaces = this.waiting.get(name);
    this.waiting.delete(name);
    for (const arriving of spaces ?? []) if (this.spaces.has(arriving.file.name)) this.place(arriving);
  }

  addRuns(pagemap: string, runs: RunBatch): void {
    this.spaces.get(pagemap)?.runs.push(runs);
  }

  /** Whether the next pages of a file can be passed on at once. */
  isNext(name: string): boolean {
    const { current } = this;
    return current !== undefined && current.pages.file.name === name && current.pages.bytes.size === 0;
  }

  /** What the next of these bytes are that the current runs need; for pages that are {@link isNext}. */
  pass(bytes: Uint8Array): PagesStep {
    return this.current?.walk.step(bytes.length) ?? { padding: 0, payload: 0 };
  }

  /** Keeps a copy of pages until their turn, and what waits behind them; returns how many bytes that was. */
  hold(name: string, bytes: Uint8Array, waiting?: WaitingBytes): number {
    const queue = this.pages.get(name)?.bytes;
    queue?.push(bytes);
    return (waiting && queue?.pushWaiting(waiting)) ?? 0;
  }

  /** Called after the last bytes of a pages file. */
  end(name: string): void {
    const pages = this.pages.get(name);
    if (pages) pages.ended = true;
  }

  /** Continues the current space, or begins one; returns whether it is complete. */
  *flow(): Generator<DumpRecord, boolean> {
    if (!this.current) yield* this.start();
    if (!this.current) return false;
    const { file, pagemap, pages, runs, space, walk } = this.current;
    for (;;) {
      while (walk.payloadLeft > 0 && pages.bytes.size > 0) {
        const { padding, payload } = walk.step(pages.bytes.size);
        for (const _ of pages.bytes.take(padding));
        yield* pages.bytes.take(payload);
      }
      if (walk.payloadLeft > 0) return false;
      const next = pagemap.ended ? this.joined(runs) : runs.take();
      if (!next) break;
      walk.start(next);
      yield { type: 'runs', space, runs: next, checked: false, isLast: pagemap.ended && runs.isEmpty };
    }
    if (!pagemap.ended || !pages.ended) return false;
    pages.bytes.close();
    this.spaces.delete(file.name);
    this.pages.delete(pages.file.name);
    this.current = undefined;
    return true;
  }

  /** The next runs of a complete pagemap: all that are left, if they are not too many. */
  private joined(runs: Fifo<RunBatch>): RunBatch | undefined {
    const first = runs.take();
    if (!first || runs.isEmpty) return first;
    const all = new RunBuilder(this.options.pageSize, first.bits.length);
    for (let next: RunBatch | undefined = first; next; next = all.length < MAX_JOINED_RUNS ? runs.take() : undefined) {
      all.append(next);
    }
    return all.finish();
  }

  /** Gives back the memory of waiting pages. */
  close(): void {
    for (const { bytes } of this.pages.values()) bytes.close();
  }

  /** Puts a space among those that can begin, or those that wait. */
  private place(arriving: ArrivingSpace): void {
    const missing = this.missingFile(arriving.pagemap);
    if (missing === undefined) {
      this.ready.push(arriving);
      return;
    }
    const others = this.waiting.get(missing);
    if (others) others.push(arriving);
    else this.waiting.set(missing, [arriving]);
  }

  /** A file without which a space cannot begin. */
  private missingFile({ space, pages }: ArrivingPagemap): string | undefined {
    if (pages !== undefined && !this.pages.has(pages)) return pages;
    if (pages !== undefined && this.options.isContested(pages)) return END;
    if (!this.options.wantsAreas || space?.kind !== 'task') return undefined;
    const mm = mmName(space.pid);
    return this.options.metadata.has(mm) ? undefined : mm;
  }

  /** The first space that can still begin: another pagemap may have come for its pages, and at the end it may be left out. */
  private nextReady(): ArrivingSpace | undefined {
    for (let arriving = this.ready.take(); arriving; arriving = this.ready.take()) {
      if (!this.spaces.has(arriving.file.name)) continue;
      if (this.missingFile(arriving.pagemap) === undefined) return arriving;
      this.place(arriving);
    }
    return undefined;
  }

  /** Begins the first space that can begin, if there is one. */
  private *start(): Generator<DumpRecord> {
    const arriving = this.nextReady();
    const known = arriving?.pagemap.space;
    const pages = this.pages.get(arriving?.pagemap.pages ?? '');
    if (!arriving || !known || !pages) return;
    this.begun.add(pages.file.name);
    const modes = { pagemapMode: arriving.file.mode, pagesMode: pages.file.mode };
    const [ofPagemap, ofPages] = [arriving.file.header, pages.file.header];
    const headers = ofPagemap && ofPages ? { headers: { pagemap: ofPagemap, pages: ofPages } } : {};
    const space = { index: this.count++, ...known, ...modes, ...headers };
    this.current = { ...arriving, space, pages, walk: new PagesWalk(this.options.pageSize) };
    yield { type: 'space', space };
    yield* this.areas(space);
  }

  /** The areas of a task, if they have arrived, even if they are not required. */
  private *areas(space: Space): Generator<DumpRecord> {
    const { metadata, pageSize } = this.options;
    const mm = mmName(space.pid);
    if (space.kind !== 'task' || !metadata.has(mm)) return;
    yield { type: 'areas', space, areas: decodeAreas(metadata.read(mm), pageSize, mm) };
  }
}
