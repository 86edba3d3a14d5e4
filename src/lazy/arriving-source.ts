/**
 * The pages of a dump that still arrives: a compressed archive, an OCI image, shards or a page stream. Restores begin as soon
 * as there are pages, and what has not come is waited for.
 *
 * What comes when is up to the container. So of each task it is known how far its pagemap has come, and nothing is said of the
 * pages behind that: they are neither delivered nor taken for zeros. A task is not known at all until its mm and core images
 * are there, which say where its lazy areas are. All checks that need the whole dump are made at its end.
 */
import type { HeldFiles, HoldObserver } from '../arrival/hold.js';
import type { HeldArrival } from '../arrival/open.js';
import { Images } from '../dump/images.js';
import { isPagemapName, isPagesName, mmName, spaceIdentity } from '../dump/names.js';
import { hasSeveralPageSizes, MIN_PAGE_BYTES } from '../dump/page-size.js';
import { marchOf } from '../dump/tasks.js';
import { invariant } from '../errors.js';
import { ArrivingSpace } from './arriving-space.js';
import { readPages } from './dump-source.js';
import { LazyRuns } from './lazy-runs.js';
import type { LocalSource } from './page-source.js';

export interface ArrivingOptions {
  /** Bytes; by default found in the dump. */
  pageSize?: number | undefined;
  /** Whether lazy pages may be missing. */
  incomplete: boolean;
  /** Called when all has come. Throws {@link DumpError} for what is wrong, and returns the page size in bytes. */
  check(files: HeldFiles): number;
  /** Called by {@link ArrivingSource.close}: ends the reading. */
  end(): void;
}

/** Of a task of which nothing is known yet. */
const NOTHING = LazyRuns.of([], 0);

export class ArrivingSource implements LocalSource, HoldObserver {
  /** Bytes; known when {@link open} resolves. */
  pageSize = 0;
  isArriving = true;
  failure: unknown;
  onChange: LocalSource['onChange'];
  private readonly files: HeldFiles;
  private readonly spaces = new Map<number, ArrivingSpace>();
  /** Pagemaps that have not been read to their end, by pid. */
  private readonly pagemaps = new Map<number, string>();
  /** Files that are complete, except for pages. */
  private readonly complete = new Set<string>();
  private hasPages = false;
  private willTell = false;
  private begin: () => void = () => {};
  private refuse: (error: unknown) => void = () => {};
  private readonly begun = new Promise<void>((resolve, reject) => {
    this.begin = resolve;
    this.refuse = reject;
  });

  private constructor(
    { files }: HeldArrival,
    private readonly options: ArrivingOptions,
  ) {
    this.files = files;
    this.pageSize = options.pageSize ?? 0;
    files.observer = this;
  }

  /**
   * Resolves when restores can begin: the first pages are there, and so is what tells the page size.
   * @param arrival its files are closed with the source
   * @throws {DumpError} of the dump
   */
  static async open(arrival: HeldArrival, options: ArrivingOptions): Promise<ArrivingSource> {
    const source = new ArrivingSource(arrival, options);
    arrival
      .fill()
      .then(() => source.end())
      .catch((error) => source.fail(error));
    try {
      await source.begun;
      return source;
    } catch (error) {
      source.close();
      throw error;
    }
  }

  took(name: string): void {
    if (isPagesName(name)) this.hasPages = true;
    const { pid } = isPagemapName(name) ? spaceIdentity(name) : {};
    if (pid !== undefined) this.pagemaps.set(pid, name);
    this.tellSoon();
  }

  ended(name: string): void {
    if (!isPagesName(name)) this.complete.add(name);
    this.tellSoon();
  }

  /** Once for all that comes in one turn of the event loop. */
  private tellSoon(): void {
    if (this.willTell) return;
    this.willTell = true;
    setImmediate(() => {
      this.willTell = false;
      if (!this.isArriving || this.failure !== undefined) return;
      try {
        this.update();
      } catch (error) {
        this.fail(error);
      }
    });
  }

  private update(): void {
    this.pageSize ||= this.findPageSize() ?? 0;
    if (this.pageSize === 0) return;
    for (const [pid, pagemap] of this.pagemaps) {
      if (this.isArriving && !(this.complete.has(mmName(pid)) && this.complete.has(coreName(pid)))) continue;
      const isComplete = this.complete.has(pagemap);
      this.spaceOf(pid, pagemap).update(isComplete);
      if (isComplete) this.pagemaps.delete(pid);
    }
    if (this.hasPages) this.begin();
    this.onChange?.();
  }

  /** The page size, if it is known before all pages are there. */
  private findPageSize(): number | undefined {
    const { files } = this;
    if (files.pageSize !== undefined) return files.pageSize;
    const core = [...this.complete].find((name) => /^core-\d+\.img$/.test(name));
    if (core === undefined || hasSeveralPageSizes(marchOf(new Images(files), core))) return undefined;
    return MIN_PAGE_BYTES;
  }

  private spaceOf(pid: number, pagemap: string): ArrivingSpace {
    let space = this.spaces.get(pid);
    if (!space) {
      const { files, pageSize } = this;
      space = new ArrivingSpace(files, { pid, pagemap, pageSize, incomplete: this.options.incomplete });
      this.spaces.set(pid, space);
    }
    return space;
  }

  /** All has come. */
  private end(): void {
    this.pageSize = this.options.check(this.files);
    this.isArriving = false;
    this.hasPages = true;
    this.update();
  }

  private fail(error: unknown): void {
    this.failure ??= error;
    this.refuse(error);
    this.onChange?.();
  }

  runs(pid: number): LazyRuns | undefined {
    return this.spaces.get(pid)?.runs ?? (this.isArriving ? NOTHING : undefined);
  }

  ready(pid: number, page: number, pages: number): number {
    if (this.failure !== undefined) throw this.failure;
    return this.spaces.get(pid)?.ready(page, pages) ?? 0;
  }

  read(pid: number, page: number, bytes: Uint8Array): void {
    const memory = this.spaces.get(pid)?.memory;
    invariant(memory, 'only what is ready is read');
    readPages(memory, page, bytes, this.pageSize);
  }

  close(): void {
    this.options.end();
    this.files.close();
  }
}

const coreName = (pid: number): string => `core-${pid}.img`;
