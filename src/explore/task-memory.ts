/**
 * The memory of a dump as its processes see it: for any range of addresses which area it is in, and where its pages are.
 * Everything that looks into memory goes through this, in any container and any generation of pagemap.
 *
 *     const memories = new TaskMemories(files);
 *     for (const pid of memories.pids) {
 *       const memory = memories.of(pid); // undefined for a zombie
 *       for (const span of memory?.read() ?? []) if (span.bytes) look(span.pageNumber, span.bytes);
 *     }
 *     for (const segment of memories.segments()) look(segment); // shared memory once, and not with each process
 *
 * A page comes from the pagemap of the process, and through it from the parent dumps. What is in none of them comes from
 * what the area maps: a segment of shared memory, which has a pagemap of its own, or a file, whose bytes are not in the
 * dump. Elsewhere it is zeros. Only metadata is held, in columns; pages are read when they are asked for.
 */
import type { DumpFiles } from '../dump/files.js';
import { Images } from '../dump/images.js';
import { leftoverPagemaps } from '../dump/leftovers.js';
import { mmName } from '../dump/names.js';
import { findPageSize } from '../dump/page-size.js';
import { openAddressSpace } from '../dump/pagemap.js';
import type { AddressSpace, PageSpan, StoredAt } from '../memory/space.js';
import { PIECE_BYTES, SpanReader } from '../memory/span-reader.js';
import { type Kind, VMA } from '../memory/vma.js';
import { FileTable } from './file-table.js';
import { type MemoryAreas, readMemoryAreas } from './memory-areas.js';
import { lacksAsZombie, mapFlagsOfTask, processesOf } from './processes.js';
import { SharedSegments } from './shared-segments.js';

/**
 * Where the bytes of pages are.
 *
 * - `stored`: in this dump; `at` says where.
 * - `parent`: in a parent dump; without `at`, the pagemap says so, but the parent or the page is not there.
 * - `lazy`: not in the dump, to be fetched by a restore (PE_LAZY alone).
 * - `zero`: in no pagemap; they read as zeros.
 * - `file`: those of the mapped file, which is not in the dump.
 * - `absent`: unknown, or there is no memory.
 */
export type MemoryState = 'stored' | 'parent' | 'lazy' | 'zero' | 'file' | 'absent';

/** Pages that follow each other in one area and in one state. */
export interface MemorySpan {
  /** Address / page size. */
  pageNumber: number;
  pages: number;
  state: MemoryState;
  /** Index of the area, or -1 for pages in no area. */
  area: number;
  /** Of pages whose bytes are in this dump or in a parent. */
  at?: StoredAt;
  /** Of pages of shared memory: the id of their segment. */
  segment?: number;
}

/** A span, or a part of one, with its bytes if there are any: until the next one is asked for. */
export type MemoryPiece = MemorySpan & { bytes?: Uint8Array };

/** Of a smaller range, only its own bytes are read from the pages file: those around it may not be held. */
const SMALL_READ_BYTES = 8 * 1024 * 1024;

/** An area as an object, for those that are looked at one by one. */
export interface MemoryArea {
  index: number;
  /** Page numbers; `end` is exclusive. */
  start: number;
  end: number;
  /** PROT_*. */
  prot: number;
  /** MAP_*, in the numbers of the dumped machine. */
  flags: number;
  /** VMA_AREA_*. */
  status: number;
  kind: Kind;
  /** The file that is mapped: null if the dump does not say its path. */
  file?: { id: number; path: string | null; pageOffset: number };
  /** The segment of shared memory that is mapped. */
  segment?: { id: number; pageOffset: number };
}

export interface TaskMemoriesOptions {
  /** Bytes; by default found in the dump. */
  pageSize?: number;
  /**
   * Opens a segment of shared memory by its pagemap. If it returns undefined in place of what that throws, the segment counts
   * as one that is not in the dump.
   */
  attempt?: <T>(pagemap: string, open: () => T) => T | undefined;
}

/** The memory of all processes of a dump. The files must stay open while it is used. */
export class TaskMemories {
  /** Bytes. */
  readonly pageSize: number;
  /** Of all processes, in the order of the dump. */
  readonly pids: readonly number[];
  private readonly images: Images;
  private readonly files: FileTable;
  private readonly shared: SharedSegments;
  private readonly listed = new Map<number, SegmentMemory | undefined>();
  private readonly attempt: NonNullable<TaskMemoriesOptions['attempt']>;

  /**
   * @throws {DumpError} MISSING_IMAGE, or for images that cannot be read; the methods too
   */
  constructor(
    private readonly dump: DumpFiles,
    { pageSize = findPageSize(dump), attempt = (_, open) => open() }: TaskMemoriesOptions = {},
  ) {
    this.pageSize = pageSize;
    this.attempt = attempt;
    this.images = new Images(dump);
    this.files = new FileTable(this.images);
    this.pids = processesOf(this.images).map(({ pid }) => pid);
    this.shared = new SharedSegments(this.images, dump);
  }

  /** The memory of a process: its areas are read at once, its pagemap when it is needed. Undefined for a zombie. */
  of(pid: number): TaskMemory | undefined {
    if (lacksAsZombie(this.images, pid, mmName(pid))) return undefined;
    const areas = readMemoryAreas(this.images, pid, this.pageSize, mapFlagsOfTask(this.images, pid));
    return new TaskMemory(pid, this.pageSize, areas, this, () => this.space(`pagemap-${pid}.img`));
  }

  /** All segments of shared memory that have pages in the dump, also those that no process maps, by ascending id. */
  segments(): SegmentMemory[] {
    const names = this.dump.entries().map(({ name }) => name);
    const left = leftoverPagemaps({ images: this.images, names, pids: new Set(this.pids) });
    const ids = names.flatMap((name) => (left.has(name) ? [] : (/^pagemap-shmem-(\d+)\.img$/.exec(name)?.[1] ?? [])));
    return ids
      .map(Number)
      .sort((a, b) => a - b)
      .flatMap((id) => this.segment(id) ?? []);
  }

  /** A segment of shared memory; undefined if the dump has no pages of it. */
  segment(id: number): SegmentMemory | undefined {
    if (!this.listed.has(id)) {
      const pagemap = `pagemap-shmem-${id}.img`;
      const space = this.images.has(pagemap) ? this.attempt(pagemap, () => this.space(pagemap)) : undefined;
      const { name, bytes = 0 } = this.shared.of(id) ?? {};
      const pages = Math.max(space?.endPage ?? 0, Math.ceil(bytes / this.pageSize));
      this.listed.set(id, space && new SegmentMemory(id, name, pages, this.pageSize, space));
    }
    return this.listed.get(id);
  }

  /** The segment that an area with these bits maps; undefined if it maps none, or the dump does not say which. */
  segmentId(status: number, id: number): number | undefined {
    if (status & VMA.MEMFD) {
      const inode = this.files.memfdInode(id);
      return inode === undefined ? undefined : this.shared.idOfMemfd(inode);
    }
    return status & (VMA.ANON_SHARED | VMA.SYSVIPC) ? id : undefined;
  }

  /** What a segment is called; undefined if it has no name. */
  segmentName(id: number): string | undefined {
    return this.shared.of(id)?.name;
  }

  /** The path of a file by its id in an area; null if the dump does not say. */
  pathOf(id: number): string | null {
    return this.files.pathIfKnown(id);
  }

  private space(pagemap: string): AddressSpace {
    return openAddressSpace(this.dump, pagemap, this.pageSize, true);
  }
}

/** The memory of one process. */
export class TaskMemory {
  private space: AddressSpace | undefined;
  private readonly reader: SpanReader;

  /** Made by {@link TaskMemories.of}. */
  constructor(
    readonly pid: number,
    /** Bytes. */
    readonly pageSize: number,
    readonly areas: MemoryAreas,
    private readonly all: TaskMemories,
    private readonly open: () => AddressSpace,
  ) {
    this.reader = new SpanReader(pageSize);
  }

  /** An area by its index. */
  area(index: number): MemoryArea {
    const { areas } = this;
    const [id, pageOffset] = [areas.ids[index] as number, areas.pageOffsets[index] as number];
    const segment = this.segmentOf(index);
    return {
      index,
      start: areas.starts[index] as number,
      end: areas.ends[index] as number,
      prot: areas.prots[index] as number,
      flags: areas.flags[index] as number,
      status: areas.status[index] as number,
      kind: areas.kind(index),
      ...(areas.isOfFile(index) ? { file: { id, path: this.all.pathOf(id), pageOffset } } : {}),
      ...(segment === undefined ? {} : { segment: { id: segment, pageOffset } }),
    };
  }

  /** What a segment of shared memory is called; undefined if it has no name. */
  segmentName(id: number): string | undefined {
    return this.all.segmentName(id);
  }

  /**
   * A range of memory, cut where areas or states change: without gaps and in order. By default all of it: between areas
   * it is `absent`, in very large spans.
   * @param pageNumber address / page size
   * @throws {DumpError} MISSING_IMAGE without a pagemap, or for one that cannot be read
   */
  *spans(pageNumber = 0, pages = this.allPages): Generator<MemorySpan> {
    this.space ??= this.open();
    const { areas } = this;
    let next = areas.firstEndingAfter(pageNumber);
    for (const own of this.space.locate(pageNumber, pages)) {
      const end = own.pageNumber + own.pages;
      for (let page = own.pageNumber; page < end; ) {
        while (next < areas.length && (areas.ends[next] as number) <= page) next++;
        const start = next < areas.length ? (areas.starts[next] as number) : Number.POSITIVE_INFINITY;
        const isInside = start <= page;
        const stop = Math.min(end, isInside ? (areas.ends[next] as number) : start);
        yield* this.resolve(own, page, stop - page, isInside ? next : -1);
        page = stop;
      }
    }
  }

  /**
   * The same with bytes, in pieces of at most `pieceBytes`. They are in one buffer: a piece is overwritten by the next one,
   * also by that of another call.
   */
  *read(pageNumber = 0, pages = this.allPages, pieceBytes = PIECE_BYTES): Generator<MemoryPiece> {
    const options = { pieceBytes, readsAhead: pages * this.pageSize > SMALL_READ_BYTES };
    for (const span of this.spans(pageNumber, pages)) {
      if (span.at) yield* this.reader.read(span, this.space as AddressSpace, options);
      else yield span;
    }
  }

  /** Pages of the whole address space. */
  private get allPages(): number {
    return 2 ** 64 / this.pageSize;
  }

  /** Id of the segment that an area maps. */
  private segmentOf(index: number): number | undefined {
    const { areas } = this;
    return this.all.segmentId(areas.status[index] as number, areas.ids[index] as number);
  }

  /** Pages of the process in one area, or in none. */
  private *resolve(own: PageSpan, pageNumber: number, pages: number, area: number): Generator<MemorySpan> {
    if (own.state !== 'absent' || own.depth || area < 0) {
      yield memorySpan(own, pageNumber, pages, area, 'absent');
      return;
    }
    const { areas } = this;
    const segmentId = this.segmentOf(area);
    if (segmentId === undefined) {
      yield { pageNumber, pages, area, state: areas.isOfFile(area) ? 'file' : stateWithoutPages(areas.kind(area)) };
      return;
    }
    const segment = this.all.segment(segmentId);
    if (!segment) {
      yield { pageNumber, pages, area, state: 'absent' };
      return;
    }
    /** From pages of the segment to those of the process. */
    const shift = (areas.starts[area] as number) - (areas.pageOffsets[area] as number);
    for (const span of segment.spans(pageNumber - shift, pages)) {
      span.pageNumber += shift;
      span.area = area;
      span.segment = segmentId;
      if (span.at) span.at = { ...span.at, firstPage: span.at.firstPage + shift };
      yield span;
    }
  }
}

/** A segment of shared memory. Its pages count from its beginning. */
export class SegmentMemory {
  private readonly reader: SpanReader;

  /** Made by {@link TaskMemories.segment}. */
  constructor(
    /** Names its pagemap. */
    readonly id: number,
    /** Of a memfd: what memfd_create(2) was given; that of a shared anonymous mapping is `/dev/zero`. */
    readonly name: string | undefined,
    readonly pages: number,
    /** Bytes. */
    readonly pageSize: number,
    private readonly space: AddressSpace,
  ) {
    this.reader = new SpanReader(pageSize);
  }

  /** A range of the segment, as {@link TaskMemory.spans} gives it; by default all of it. */
  *spans(pageNumber = 0, pages = this.pages): Generator<MemorySpan> {
    for (const span of this.space.locate(pageNumber, pages)) {
      yield memorySpan(span, span.pageNumber, span.pages, -1, 'zero');
    }
  }

  /** The same with bytes, as {@link TaskMemory.read} gives them. */
  *read(pageNumber = 0, pages = this.pages, pieceBytes = PIECE_BYTES): Generator<MemoryPiece> {
    const options = { pieceBytes, readsAhead: pages * this.pageSize > SMALL_READ_BYTES };
    for (const span of this.spans(pageNumber, pages)) {
      if (span.at) yield* this.reader.read(span, this.space, options);
      else yield span;
    }
  }
}

/** @param unknown the state of pages that are in no pagemap */
function memorySpan(
  { state, depth, at }: PageSpan,
  pageNumber: number,
  pages: number,
  area: number,
  unknown: MemoryState,
): MemorySpan {
  if (state === 'lazy') return { pageNumber, pages, area, state };
  if (depth) return { pageNumber, pages, area, state: 'parent', ...(at ? { at } : {}) };
  return at ? { pageNumber, pages, area, state: 'stored', at } : { pageNumber, pages, area, state: unknown };
}

/** Kinds of memory that a restore does not make of zeros: the kernel has it, or a device. */
const OF_THE_KERNEL: readonly Kind[] = [
  'vdso',
  'vvar',
  'vsyscall',
  'aio-ring',
  'socket',
  'uprobes',
  'external',
  'other',
  'unknown',
];

/** Shared memory: without its segment nothing is known of it. */
const SHARED: readonly Kind[] = ['memfd', 'anon-shared', 'sysvipc'];

const stateWithoutPages = (kind: Kind): MemoryState =>
  OF_THE_KERNEL.includes(kind) || SHARED.includes(kind) ? 'absent' : 'zero';
