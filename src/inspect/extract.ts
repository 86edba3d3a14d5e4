/**
 * Bytes of a process by address, kind or name of the area. Ranges come one after the other in ascending order; what of them is
 * not in the dump is a gap.
 */
import { DumpError } from '../errors.js';
import type { MemoryState, TaskMemory } from '../explore/task-memory.js';
import type { Kind } from '../memory/vma.js';

/** Addresses in bytes; `end` is exclusive. */
export interface AddressRange {
  start: bigint;
  end: bigint;
}

/** Which memory of a process. Exactly one of these. */
export interface MemorySelection {
  ranges?: readonly AddressRange[];
  kinds?: readonly Kind[];
  /**
   * Paths of mapped files, or their last names; names of shared memory; `[heap]`, `[stack]`, `[vdso]` and the like; an address
   * in an area, as 0x….
   */
  areas?: readonly string[];
  /** All areas. */
  all?: boolean;
}

/** Where bytes are, or why there are none: `missing` are those that a parent dump should have. */
export type ExtractState = MemoryState | 'missing';

export interface ExtractPiece {
  address: bigint;
  bytes: number;
  state: ExtractState;
  /** Index of the area, or -1. */
  area: number;
  /** Until the next piece. Zeros that no pagemap has, and gaps, have none. */
  data?: Uint8Array;
}

/** Whether the content is known: what has no page in private memory is zeros. */
export const isKnown = (state: ExtractState): boolean => state === 'stored' || state === 'parent' || state === 'zero';

/** Names of areas that are kinds, as in /proc/PID/maps. */
const BRACKETS = /^\[([a-z-]+)\]$/;

/**
 * The ranges of a selection, ascending; those that touch are one.
 * @throws {DumpError} NO_AREA if it selects nothing
 */
export function* selectedRanges(memory: TaskMemory, selection: MemorySelection): Generator<AddressRange> {
  if (selection.ranges && !selection.ranges.some((range) => hasMemory(memory, range))) {
    throw new DumpError('NO_AREA', `process ${memory.pid} has no memory there`);
  }
  const ranges = selection.ranges ? selection.ranges.toSorted(byStart) : areaRanges(memory, selection);
  let last: AddressRange | undefined;
  let hasAny = false;
  for (const range of ranges) {
    hasAny = true;
    if (last && range.start <= last.end) {
      if (range.end > last.end) last.end = range.end;
      continue;
    }
    if (last) yield last;
    last = { ...range };
  }
  if (last) yield last;
  if (!hasAny) throw new DumpError('NO_AREA', `process ${memory.pid} has no such area`);
}

function hasMemory(memory: TaskMemory, range: AddressRange): boolean {
  const { pageNumber, pages } = pagesOf(range, memory.pageSize);
  for (const { area, state } of memory.spans(pageNumber, pages)) if (area >= 0 || state !== 'absent') return true;
  return false;
}

function pagesOf({ start, end }: AddressRange, pageSize: number): { pageNumber: number; pages: number } {
  const size = BigInt(pageSize);
  return { pageNumber: Number(start / size), pages: Number((end + size - 1n) / size - start / size) };
}

const byStart = (a: AddressRange, b: AddressRange): number => (a.start < b.start ? -1 : a.start > b.start ? 1 : 0);

function* areaRanges(memory: TaskMemory, selection: MemorySelection): Generator<AddressRange> {
  const { areas, pageSize } = memory;
  const matches = matcher(memory, selection);
  for (let i = 0; i < areas.length; i++) {
    if (!matches(i)) continue;
    yield {
      start: BigInt(areas.starts[i] as number) * BigInt(pageSize),
      end: BigInt(areas.ends[i] as number) * BigInt(pageSize),
    };
  }
}

function matcher(
  memory: TaskMemory,
  { kinds = [], areas: names = [], all }: MemorySelection,
): (area: number) => boolean {
  const { areas, pageSize } = memory;
  if (all) return () => true;
  const wanted = new Set<string>([...kinds, ...names.flatMap((name) => BRACKETS.exec(name)?.[1] ?? [])]);
  const paths = new Set(names.filter((name) => !BRACKETS.test(name)));
  const addressed = new Set(
    names.flatMap((name) =>
      /^0x[0-9a-f]{1,16}$/i.test(name) ? [areas.at(Number(BigInt(name) / BigInt(pageSize)))] : [],
    ),
  );
  /** The same file is mapped by several areas. */
  const known = new Map<string, boolean>();
  return (i) => {
    if (wanted.has(areas.kind(i)) || addressed.has(i)) return true;
    if (paths.size === 0) return false;
    const key = `${areas.isOfFile(i)} ${areas.ids[i]} ${areas.status[i]}`;
    const found = known.get(key) ?? namesOf(memory, i).some((name) => paths.has(name));
    known.set(key, found);
    return found;
  };
}

/** What an area may be called: its path and the last part of that; the name of its shared memory. */
export function namesOf(memory: TaskMemory, index: number): string[] {
  const { file, segment } = memory.area(index);
  const path = file?.path;
  if (path) return [path, path.slice(path.lastIndexOf('/') + 1)];
  const name = segment && memory.segmentName(segment.id);
  return name ? [name, `memfd:${name}`] : [];
}

/** The pieces of a range, without anything left out between them. */
export function* extractPieces(memory: TaskMemory, { start, end }: AddressRange): Generator<ExtractPiece> {
  const size = BigInt(memory.pageSize);
  const range = pagesOf({ start, end }, memory.pageSize);
  for (const { pageNumber, pages: count, state, area, at, bytes } of memory.read(range.pageNumber, range.pages)) {
    const from = BigInt(pageNumber) * size;
    const to = from + BigInt(count) * size;
    const address = from < start ? start : from;
    const stop = to > end ? end : to;
    yield {
      address,
      bytes: Number(stop - address),
      state: state === 'parent' && !at ? 'missing' : state,
      area,
      ...(bytes ? { data: bytes.subarray(Number(address - from), Number(stop - from)) } : {}),
    };
  }
}
