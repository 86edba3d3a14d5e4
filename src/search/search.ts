/**
 * Looks for a pattern in the memory of a dump: in that of each process, and then in shared memory, each segment once. Only
 * bytes that are in the dump or its parents are searched. Pages that a restore fetches later, those that are zeros without
 * being stored, and those of mapped files are borders, and so is shared memory within a process: no match goes across.
 */
import { type Slice, shareOf } from '../dump/slice.js';
import type { MemoryArea, MemorySpan, SegmentMemory, TaskMemories, TaskMemory } from '../explore/task-memory.js';
import type { Kind } from '../memory/vma.js';
import type { Matcher } from './matcher.js';
import { matcherOf, type Pattern } from './pattern.js';
import { type FoundBytes, type ScannedPiece, scan } from './scan.js';
import { Secrets } from './secrets.js';
import { SegmentMappings } from './segment-mappings.js';
import { type Extent, scanPart } from './slices.js';

export interface SearchOptions {
  /** Only in the memory of these processes; by default in all, and in shared memory that none of them maps. */
  pids?: readonly number[];
  /** Only in memory of these kinds. That of shared memory is that of its areas; `shmem` is all of it. */
  kinds?: readonly Kind[];
  /** Bytes before and after a match, as far as they are there. */
  context?: number;
  /** Told of pages that are not searched since their bytes are neither in the dump nor in a parent that is there. */
  missing?: (span: MemorySpan) => void;
  /** Only matches that begin in this part of the pages. */
  slice?: Slice;
}

/** A match in the memory of a process. */
export interface TaskHit {
  pid: number;
  /** Of its first byte. */
  address: bigint;
  /** The area of its first byte; undefined for pages in no area. */
  area: MemoryArea | undefined;
}

/** A match in shared memory. */
export interface SegmentHit {
  segment: SegmentMemory;
  /** Of its first byte, from the beginning of the segment. */
  offset: bigint;
  /** Where processes have mapped it. */
  mappings: { pid: number; address: bigint; kind: Kind }[];
}

/** A match with the bytes around it: it is those from `start` to `end`. They are good until the next match is asked for. */
export type SearchHit = (TaskHit | SegmentHit) & { bytes: Buffer; start: number; end: number };

/** A secret: what kind it is of, as {@link SECRET_KINDS} has it. */
export type SecretHit = SearchHit & { secret: string };

/**
 * All matches of a pattern, process by process.
 * @throws {RangeError} for a pattern that is wrong
 * @throws {DumpError} for images or pages that cannot be read
 */
export const searchMemory = (
  memories: TaskMemories,
  pattern: Pattern,
  options: SearchOptions = {},
): Generator<SearchHit> => searchWith(memories, matcherOf(pattern), options);

/** All private keys, tokens and passwords that show what they are. Throws {@link DumpError}. */
export function* searchSecrets(memories: TaskMemories, options: SearchOptions = {}): Generator<SecretHit> {
  const secrets = new Secrets();
  for (const hit of searchWith(memories, secrets, options)) yield { ...hit, secret: secrets.kind };
}

/** The same as {@link searchMemory} with a matcher. */
export function* searchWith(
  memories: TaskMemories,
  matcher: Matcher,
  { context = 0, missing = () => {}, slice, ...selection }: SearchOptions = {},
): Generator<SearchHit> {
  const { pageSize } = memories;
  const options = { pageSize, context };
  const addressOf = (page: number, offset: number) => BigInt(page) * BigInt(pageSize) + BigInt(offset);
  const mappings = new SegmentMappings();
  const share = slice && PageShare.of(memories, selection, slice, missing);
  for (const space of spacesOf(memories, selection, mappings)) {
    const found = share
      ? share.scan(
          extentsOf(space, () => {}),
          matcher,
          options,
        )
      : scan(piecesOf(space, missing), matcher, options);
    for (const { pageNumber, pageOffset, bytes, start, end } of found) {
      const place = addressOf(pageNumber, pageOffset);
      if ('memory' in space) {
        const { memory } = space;
        const index = memory.areas.at(pageNumber);
        const area = index < 0 ? undefined : memory.area(index);
        yield { pid: memory.pid, address: place, area, bytes, start, end };
      } else {
        const { segment } = space;
        const mapped = mappings
          .at(segment.id, pageNumber)
          .map(({ pid, kind, page }) => ({ pid, kind, address: addressOf(page, pageOffset) }));
        yield { segment, offset: place, mappings: mapped, bytes, start, end };
      }
    }
  }
}

type Selection = Pick<SearchOptions, 'pids' | 'kinds'>;
type Missing = (span: MemorySpan) => void;
type Wanted = (kind: Kind) => boolean;

/** What is searched: a process without its shared memory, or a segment of that. */
type SearchedSpace = { memory: TaskMemory; isWanted: Wanted } | { segment: SegmentMemory };

/** @param mappings gets where the processes have mapped segments, before the segments come */
function* spacesOf(
  memories: TaskMemories,
  { pids, kinds }: Selection,
  mappings: SegmentMappings,
): Generator<SearchedSpace> {
  const isWanted = (kind: Kind) => kinds === undefined || kinds.includes(kind);
  for (const pid of pids ?? memories.pids) {
    const memory = memories.of(pid);
    if (!memory) continue;
    mappings.add(memory);
    yield { memory, isWanted };
  }
  for (const segment of memories.segments()) {
    if (pids && !mappings.has(segment.id)) continue;
    if (isWanted('shmem') || mappings.kindsOf(segment.id).some(isWanted)) yield { segment };
  }
}

/** Part of the pages of all extents, in their order. */
class PageShare {
  private passed = 0;

  private constructor(
    private readonly from: number,
    private readonly to: number,
  ) {}

  static of(memories: TaskMemories, selection: Selection, slice: Slice, missing: Missing): PageShare {
    let total = 0;
    for (const space of spacesOf(memories, selection, new SegmentMappings())) {
      for (const { start, end } of extentsOf(space, missing)) total += end - start;
    }
    const { from, to } = shareOf(total, slice);
    return new PageShare(from, to);
  }

  /** The matches that begin in the share. */
  *scan(
    extents: Iterable<Extent>,
    matcher: Matcher,
    options: { pageSize: number; context: number },
  ): Generator<FoundBytes> {
    for (const extent of extents) {
      const shift = extent.start - this.passed;
      this.passed += extent.end - extent.start;
      const from = Math.max(extent.start, this.from + shift);
      const to = Math.min(extent.end, this.to + shift);
      if (from < to) yield* scanPart(extent, matcher, { ...options, from, to });
    }
  }
}

/** The pages that are searched, with borders between extents. */
function* piecesOf(space: SearchedSpace, missing: Missing): Generator<ScannedPiece> {
  for (const { start, end, read } of extentsOf(space, missing)) yield* read(start, end - start);
}

/** Ranges of pages that are there, each as long as it can be. */
function* extentsOf(space: SearchedSpace, missing: Missing): Generator<Extent> {
  const memory = 'memory' in space ? space.memory : space.segment;
  const read = (pageNumber: number, pages: number) => memory.read(pageNumber, pages);
  let [start, end] = [0, 0];
  for (const span of memory.spans()) {
    if ('memory' in space && !isOwn(span, space)) continue;
    if (!span.at) {
      if (span.state === 'lazy' || span.state === 'parent') missing(span);
    } else if (end === span.pageNumber) {
      end += span.pages;
    } else {
      if (end > start) yield { start, end, read };
      [start, end] = [span.pageNumber, span.pageNumber + span.pages];
    }
  }
  if (end > start) yield { start, end, read };
}

/** Whether a span is of the process alone, and of a kind that is wanted. */
const isOwn = (
  { segment, area }: MemorySpan,
  { memory, isWanted }: { memory: TaskMemory; isWanted: Wanted },
): boolean => segment === undefined && isWanted(area < 0 ? 'unknown' : memory.areas.kind(area));
