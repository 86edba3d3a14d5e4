/** The memory of one task of a dump that arrives, as far as its pagemap has come. */
import type { DumpFiles } from '../dump/files.js';
import { payloadFile } from '../dump/files.js';
import { pagesName } from '../dump/names.js';
import { decodeLz4Block } from '../image/lz4.js';
import { PagemapDecoder } from '../image/pagemap.js';
import type { RunBatch } from '../memory/runs.js';
import { AddressSpace, pagesWithin, RunTable } from '../memory/space.js';
import { lacksPages } from './check-dump.js';
import { type AreaRange, lazyAreas, lazyRuns } from './dump-source.js';
import { LazyRuns } from './lazy-runs.js';

/** Bytes of a pagemap that are decoded at a time. */
const PIECE_BYTES = 64 * 1024;
/** What has come is made use of when the pagemap has grown by this factor: each time costs as much as all of it. */
const GROWTH = 1.25;

export interface ArrivingSpaceOptions {
  pid: number;
  /** Name of the pagemap. */
  pagemap: string;
  /** Bytes. */
  pageSize: number;
  /** Whether lazy pages may be missing. */
  incomplete: boolean;
}

export class ArrivingSpace {
  /** The pages that a restore leaves out. */
  runs = LazyRuns.of([], 0);
  memory: AddressSpace | undefined;
  private readonly decoder: PagemapDecoder;
  private readonly batches: RunBatch[] = [];
  /** Entries of the pagemap, so far, and those in {@link memory}. */
  private entries = 0;
  private used = 0;
  /** Bytes of the pagemap that have been decoded. */
  private position = 0;
  private areas: readonly AreaRange[] | undefined;

  constructor(
    private readonly files: DumpFiles,
    private readonly options: ArrivingSpaceOptions,
  ) {
    this.decoder = new PagemapDecoder(options.pageSize, options.pagemap);
  }

  /**
   * Takes what has come of the pagemap. The images that tell the areas are there.
   * @param isComplete whether all of it has
   * @throws {DumpError} for a pagemap that cannot be read, and for pages that are not in this dump
   */
  update(isComplete: boolean): void {
    this.decode();
    if (isComplete) this.decoder.end();
    else if (this.entries < this.used * GROWTH || this.entries === 0) return;
    const { pid, pagemap, pageSize, incomplete } = this.options;
    this.used = this.entries;
    this.areas ??= lazyAreas(this.files, pid, pageSize);
    const table = new RunTable(pageSize);
    for (const runs of this.batches) table.add(runs);
    const name = pagesName(this.decoder);
    const file = payloadFile(this.files, name, this.files.stat(name)?.size ?? 0);
    this.memory = new AddressSpace(table.finish(), file, { name: pagemap, pageSize, decodeBlock: decodeLz4Block });
    if (!incomplete && lazyRuns(this.memory, this.areas, 'lazy').length > 0) throw lacksPages(pagemap);
    const knownTo = isComplete ? Number.POSITIVE_INFINITY : this.lastPage;
    this.runs = lazyRuns(this.memory, this.areas, 'stored', knownTo);
  }

  /** How many pages from a stored one on are there, at most `most`. */
  ready(page: number, most: number): number {
    const { decoder, files } = this;
    const bytes = files.stat(pagesName(decoder))?.size ?? 0;
    let ready = 0;
    for (const span of this.memory?.locate(page, most) ?? []) {
      const pages = pagesWithin(span, bytes, this.options.pageSize);
      ready += pages;
      if (pages < span.pages) break;
    }
    return ready;
  }

  private decode(): void {
    const { files, decoder } = this;
    const { pagemap } = this.options;
    const piece = new Uint8Array(PIECE_BYTES);
    for (;;) {
      const count = files.readSome(pagemap, piece, this.position);
      if (count === 0) return;
      this.position += count;
      const runs = decoder.push(piece.subarray(0, count));
      if (!runs) continue;
      this.batches.push(runs);
      this.entries += runs.bits.length;
    }
  }

  /** Page number behind the last entry so far. */
  private get lastPage(): number {
    const { pageNumbers, pages } = this.batches.at(-1) as RunBatch;
    return (pageNumbers.at(-1) as number) + (pages.at(-1) as number);
  }
}
