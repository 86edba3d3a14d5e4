/** The pages of a dump with random access, and of the dumps that it builds on. */
import { MAX_MM_BYTES } from '../dump/dump.js';
import { type DumpFiles, readAll } from '../dump/files.js';
import { Images } from '../dump/images.js';
import { mmName } from '../dump/names.js';
import { marchOf } from '../dump/tasks.js';
import { invariant } from '../errors.js';
import { decodeAreas } from '../image/mm.js';
import type { AddressSpace } from '../memory/space.js';
import { lazyByVma, mapFlagsOf } from '../memory/vma.js';
import type { DumpMemory } from '../serve/memory.js';
import { FarPages } from './far-pages.js';
import { LazyRuns } from './lazy-runs.js';
import type { LocalSource } from './page-source.js';

/** A look at a file takes as long as a page. */
const UNCHANGED_MS = 10;

/** Page numbers from and to, of one area. */
export type AreaRange = readonly [start: number, end: number];

/** An area that ends behind every page. */
const EVERYWHERE: readonly AreaRange[] = [[0, 2 ** 52]];

export class DumpSource implements LocalSource {
  readonly pageSize: number;
  fd = -1;
  readonly far: FarPages | undefined;
  private readonly known = new Map<number, LazyRuns>();
  /** The task that was read last, where its pages file is, and until when, in ms, it counts as unchanged. */
  private last: { pid: number; space: AddressSpace; offset: number; until: number } | undefined;

  /**
   * Reads the pagemaps of all tasks, so that what is wrong with one is found before a restore begins.
   * @param memory of `files`; closed with the source
   * @throws {DumpError}
   */
  constructor(
    private readonly files: DumpFiles,
    private readonly memory: DumpMemory,
  ) {
    this.pageSize = memory.pageSize;
    for (const pid of memory.pids) this.known.set(pid, this.readRuns(pid));
    this.far = files.arrival ? new FarPages(memory, (pid) => this.known.get(pid)) : undefined;
  }

  set onChange(listener: (() => void) | undefined) {
    if (this.far) this.far.onChange = listener;
  }

  runs(pid: number): LazyRuns | undefined {
    return this.known.get(pid);
  }

  ready(pid: number, page: number, pages: number, isNeeded = true): number {
    return !this.far || this.far.areHere(pid, page, pages, isNeeded) ? pages : 0;
  }

  read(pid: number, page: number, bytes: Uint8Array): void {
    const space = this.memory.space(pid) as AddressSpace;
    this.last = undefined;
    readPages(space, page, bytes, this.pageSize);
    // The read has found the file unchanged.
    const place = space.file.place?.();
    if (!place) return;
    this.fd = place.fd;
    this.last = { pid, space, offset: place.offset, until: performance.now() + UNCHANGED_MS };
  }

  positionOf(pid: number, page: number, pages: number): number {
    const { last } = this;
    if (last?.pid !== pid || performance.now() > last.until) return -1;
    const position = last.space.positionOf(page, pages);
    return position < 0 ? -1 : last.offset + position;
  }

  close(): void {
    this.onChange = undefined;
    this.memory.close();
  }

  private readRuns(pid: number): LazyRuns {
    return lazyRuns(this.memory.space(pid) as AddressSpace, lazyAreas(this.files, pid, this.pageSize), 'stored');
  }
}

/** Reads stored pages: as many as `bytes` holds. */
export function readPages(space: AddressSpace, page: number, bytes: Uint8Array, pageSize: number): void {
  for (const { at, pageNumber, pages } of space.locate(page, bytes.length / pageSize)) {
    invariant(at, 'only stored pages are read');
    const from = (pageNumber - page) * pageSize;
    space.fill(bytes.subarray(from, from + pages * pageSize), pageNumber, at);
  }
}

/**
 * The pages of an address space in lazy areas that are in this state.
 * @param knownTo page number from which on the address space may have more
 */
export function lazyRuns(
  space: AddressSpace,
  areas: readonly AreaRange[],
  wanted: 'stored' | 'lazy',
  knownTo?: number,
): LazyRuns {
  function* ranges(): Generator<[pageNumber: number, pages: number, continues: boolean]> {
    for (const [start, end] of areas) {
      let last = -1;
      for (const { pageNumber, pages, state } of space.locate(start, end - start)) {
        if (state !== wanted) continue;
        yield [pageNumber, pages, pageNumber === last];
        last = pageNumber + pages;
      }
    }
  }
  return LazyRuns.of(ranges(), knownTo);
}

/**
 * The areas of a task that a lazy restore leaves empty. The colder half of a dump does not have the list of areas, but only
 * pages of such areas.
 */
export function lazyAreas(files: DumpFiles, pid: number, pageSize: number): readonly AreaRange[] {
  const mm = mmName(pid);
  if (!files.stat(mm)) return EVERYWHERE;
  const core = `core-${pid}.img`;
  const map = mapFlagsOf(files.stat(core) ? marchOf(new Images(files), core) : undefined);
  const { starts, ends, flags, status } = decodeAreas(readAll(files, mm, MAX_MM_BYTES), pageSize, mm);
  const lazy: AreaRange[] = [];
  for (let i = 0; i < starts.length; i++) {
    if (lazyByVma(flags[i] as number, status[i] as number, map)) lazy.push([starts[i] as number, ends[i] as number]);
  }
  return lazy;
}
