/**
 * Looks for a pattern in the memory of a dump: in that of each process, and then in shared memory, each segment once. Only
 * bytes that are in the dump or its parents are searched. Pages that a restore fetches later, those that are zeros without
 * being stored, and those of mapped files are borders, and so is shared memory within a process: no match goes across.
 */
import type { MemoryArea, MemorySpan, SegmentMemory, TaskMemories, TaskMemory } from '../explore/task-memory.js';
import type { Kind } from '../memory/vma.js';
import type { Matcher } from './matcher.js';
import { matcherOf, type Pattern } from './pattern.js';
import { type ScannedPiece, scan } from './scan.js';
import { Secrets } from './secrets.js';
import { SegmentMappings } from './segment-mappings.js';

export interface SearchOptions {
  /** Only in the memory of these processes; by default in all, and in shared memory that none of them maps. */
  pids?: readonly number[];
  /** Only in memory of these kinds. That of shared memory is that of its areas; `shmem` is all of it. */
  kinds?: readonly Kind[];
  /** Bytes before and after a match, as far as they are there. */
  context?: number;
  /** Told of pages that are not searched since their bytes are neither in the dump nor in a parent that is there. */
  missing?: (span: MemorySpan) => void;
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
  { pids, kinds, context = 0, missing = () => {} }: SearchOptions = {},
): Generator<SearchHit> {
  const { pageSize } = memories;
  const options = { pageSize, context };
  const addressOf = (page: number, offset: number) => BigInt(page) * BigInt(pageSize) + BigInt(offset);
  const isWanted = (kind: Kind) => kinds === undefined || kinds.includes(kind);
  const mappings = new SegmentMappings();
  for (const pid of pids ?? memories.pids) {
    const memory = memories.of(pid);
    if (!memory) continue;
    mappings.add(memory);
    for (const { pageNumber, pageOffset, bytes, start, end } of scan(
      ownPieces(memory, isWanted, missing),
      matcher,
      options,
    )) {
      const index = memory.areas.at(pageNumber);
      const area = index < 0 ? undefined : memory.area(index);
      yield { pid, address: addressOf(pageNumber, pageOffset), area, bytes, start, end };
    }
  }
  for (const segment of memories.segments()) {
    if (pids && !mappings.has(segment.id)) continue;
    if (!isWanted('shmem') && !mappings.kindsOf(segment.id).some(isWanted)) continue;
    for (const { pageNumber, pageOffset, bytes, start, end } of scan(
      segmentPieces(segment, missing),
      matcher,
      options,
    )) {
      yield {
        segment,
        offset: addressOf(pageNumber, pageOffset),
        mappings: mappings
          .at(segment.id, pageNumber)
          .map(({ pid, kind, page }) => ({ pid, kind, address: addressOf(page, pageOffset) })),
        bytes,
        start,
        end,
      };
    }
  }
}

/** The pages of a process in areas of some kinds, without those of shared memory. */
function* ownPieces(...of: Parameters<typeof ownRanges>): Generator<ScannedPiece> {
  for (const { pageNumber, pages } of ownRanges(...of)) yield* of[0].read(pageNumber, pages);
}

/** Ranges of pages that are there, each as long as it can be. */
function* ownRanges(memory: TaskMemory, isWanted: (kind: Kind) => boolean, missing: (span: MemorySpan) => void) {
  const { areas } = memory;
  let range = { pageNumber: 0, pages: 0 };
  for (const span of memory.spans()) {
    const { pageNumber, pages, area, at, segment } = span;
    if (segment !== undefined || !isWanted(area < 0 ? 'unknown' : areas.kind(area))) continue;
    if (!at) {
      reportMissing(span, missing);
    } else if (range.pageNumber + range.pages === pageNumber) {
      range.pages += pages;
    } else {
      if (range.pages > 0) yield range;
      range = { pageNumber, pages };
    }
  }
  if (range.pages > 0) yield range;
}

/** The pages of a segment. */
function* segmentPieces(segment: SegmentMemory, missing: (span: MemorySpan) => void): Generator<ScannedPiece> {
  for (const piece of segment.read()) {
    if (!piece.bytes) reportMissing(piece, missing);
    yield piece;
  }
}

function reportMissing(span: MemorySpan, missing: (span: MemorySpan) => void): void {
  if (span.state === 'lazy' || span.state === 'parent') missing(span);
}
