/**
 * What differs between the memory of two dumps: areas that came, went, or changed, and pages, by area and by kind. Both are
 * walked side by side, so each page is read once, and only metadata and two pieces are in memory. Shared memory is compared
 * once, segment by segment, and not with each process.
 */
import type { MemoryPiece, MemorySpan, TaskMemories, TaskMemory } from '../explore/task-memory.js';
import type { Kind } from '../memory/vma.js';
import type { ChangeMap, Draw } from './maps.js';

/** Pages of an area, of a kind, or of a segment. */
export interface PageCounts {
  /** Pages that both dumps have: in one of them they may be zeros that are not stored. */
  compared: number;
  /** Of these, pages that differ, and how many of their bytes do. */
  changed: number;
  changedBytes: number;
  /** Pages that only one dump has. The other has no memory there, or leaves it to a file or to a lazy restore. */
  onlyA: number;
  onlyB: number;
}

/** An area of a process. */
export interface AreaPlace {
  pid: number;
  kind: Kind;
  /** Addresses; `end` is exclusive. */
  start: bigint;
  end: bigint;
  file: string | null;
}

/** What of an area has changed. */
export interface AreaState {
  start: bigint;
  end: bigint;
  /** PROT_*. */
  prot: number;
  kind: Kind;
  file: string | null;
}

export type MemoryChange =
  | ({ change: 'area'; only: 'a' | 'b' } & AreaPlace)
  | { change: 'area'; pid: number; a: AreaState; b: AreaState }
  | ({ change: 'pages' } & AreaPlace & PageCounts)
  | ({ change: 'kind'; pid: number; kind: Kind } & PageCounts)
  | ({ change: 'segment'; segment: number } & PageCounts)
  | { change: 'segment'; segment: number; only: 'a' | 'b' };

/** The differences of the areas of a process. */
export function* changedAreas(a: TaskMemory, b: TaskMemory): Generator<MemoryChange> {
  let [i, j] = [0, 0];
  while (i < a.areas.length || j < b.areas.length) {
    const [inA, inB] = [boundsOf(a, i), boundsOf(b, j)];
    // An area that grows keeps one of its ends.
    const isSame = inA.start === inB.start || (inA.end === inB.end && inA.start < inB.end && inB.start < inA.end);
    if (isSame && i < a.areas.length && j < b.areas.length) {
      const [old, now] = [stateOf(a, i++), stateOf(b, j++)];
      if (!areEqual(old, now)) yield { change: 'area', pid: a.pid, a: old, b: now };
    } else if (inA.start < inB.start) {
      yield { change: 'area', only: 'a', ...placeOf(a, i++) };
    } else {
      yield { change: 'area', only: 'b', ...placeOf(b, j++) };
    }
  }
}

const boundsOf = ({ areas }: TaskMemory, index: number): { start: number; end: number } => ({
  start: areas.starts[index] ?? Number.POSITIVE_INFINITY,
  end: areas.ends[index] ?? Number.POSITIVE_INFINITY,
});

const areEqual = (a: AreaState, b: AreaState): boolean =>
  a.start === b.start && a.end === b.end && a.prot === b.prot && a.kind === b.kind && a.file === b.file;

function stateOf(memory: TaskMemory, index: number): AreaState {
  const { pageSize } = memory;
  const { start, end, prot, kind, file } = memory.area(index);
  const address = (page: number) => BigInt(page) * BigInt(pageSize);
  return { start: address(start), end: address(end), prot, kind, file: file?.path ?? null };
}

function placeOf(memory: TaskMemory, index: number): AreaPlace {
  const { prot: _, ...place } = stateOf(memory, index);
  return { pid: memory.pid, ...place };
}

/** The same thing of both dumps. */
interface Both<T> {
  a: T;
  b: T;
}

/**
 * The pages of a process that differ: of each area in which there are any, then of each kind. Undefined is a pause.
 * @param draw is told of all of its memory
 */
export function* changedPages(a: TaskMemory, b: TaskMemory, draw?: Both<Draw>): Generator<MemoryChange | undefined> {
  const kinds = new Map<Kind, PageCounts>();
  let place: AreaPlace | undefined;
  let counts = noPages();
  let last: unknown;
  for (const pair of sideBySide(a.read(), b.read(), a.pageSize)) {
    yield undefined;
    const isB = pair.b.area >= 0;
    const area = isB ? pair.b.area : pair.a.area;
    if (area < 0) {
      if (draw) drawPair(draw, pair, []);
      continue;
    }
    const memory = isB ? b : a;
    const key = area * 2 + Number(isB);
    if (key !== last) {
      if (place && isChanged(counts)) yield { change: 'pages', ...place, ...counts };
      last = key;
      place = placeOf(memory, area);
      counts = noPages();
    }
    const kind = memory.areas.kind(area);
    const ofKind = kinds.get(kind) ?? noPages();
    kinds.set(kind, ofKind);
    const changed = count(pair, a.pageSize, counts, ofKind);
    if (draw) drawPair(draw, pair, changed);
  }
  if (place && isChanged(counts)) yield { change: 'pages', ...place, ...counts };
  for (const [kind, ofKind] of kinds) if (isChanged(ofKind)) yield { change: 'kind', pid: a.pid, kind, ...ofKind };
}

/** The segments of shared memory that differ. Undefined is a pause. */
export function* changedSegments(
  a: TaskMemories,
  b: TaskMemories,
  maps?: Both<ChangeMap>,
): Generator<MemoryChange | undefined> {
  const [inA, inB] = [a, b].map((memories) => new Map(memories.segments().map((one) => [one.id, one])));
  for (const id of new Set([...(inA?.keys() ?? []), ...(inB?.keys() ?? [])])) {
    const [old, now] = [inA?.get(id), inB?.get(id)];
    if (!old || !now) {
      yield { change: 'segment', segment: id, only: old ? 'a' : 'b' };
      if (old) maps?.a.wholeSegment(old);
      if (now) maps?.b.wholeSegment(now);
      continue;
    }
    const counts = noPages();
    const draw = maps && { a: maps.a.segment(old), b: maps.b.segment(now) };
    for (const pair of sideBySide(old.read(), now.read(), a.pageSize)) {
      yield undefined;
      const changed = count(pair, a.pageSize, counts);
      if (draw) drawPair(draw, pair, changed);
    }
    if (isChanged(counts)) yield { change: 'segment', segment: id, ...counts };
  }
}

const noPages = (): PageCounts => ({ compared: 0, changed: 0, changedBytes: 0, onlyA: 0, onlyB: 0 });

const isChanged = ({ changed, onlyA, onlyB }: PageCounts): boolean => changed + onlyA + onlyB > 0;

/** The same pages of both dumps. */
interface Pair {
  pages: number;
  a: Side;
  b: Side;
}

interface Side {
  area: number;
  /** The piece of which they are a part, and how many of its pages come before; undefined after the last one. */
  span: MemorySpan | undefined;
  before: number;
  /** `zero`: they are zeros; undefined: they are not known, or are those of shared memory. */
  bytes: Uint8Array | 'zero' | undefined;
}

/** Two walks over memory, cut where either is cut. What one has after the end of the other is paired with nothing. */
function* sideBySide(a: Iterable<MemoryPiece>, b: Iterable<MemoryPiece>, pageSize: number): Generator<Pair> {
  const [inA, inB] = [new Walk(a, pageSize), new Walk(b, pageSize)];
  for (;;) {
    const pages = Math.min(inA.left(), inB.left());
    if (pages === Number.POSITIVE_INFINITY) return;
    yield { pages, a: inA.take(pages), b: inB.take(pages) };
  }
}

/** Pieces, of which any number of pages is taken. */
class Walk {
  private readonly pieces: Iterator<MemoryPiece>;
  private piece: MemoryPiece | undefined;
  private taken = 0;

  constructor(
    pieces: Iterable<MemoryPiece>,
    private readonly pageSize: number,
  ) {
    this.pieces = pieces[Symbol.iterator]();
    this.advance();
  }

  /** Pages of the piece that have not been taken; infinity at the end. */
  left(): number {
    if (this.piece && this.taken === this.piece.pages) this.advance();
    return this.piece ? this.piece.pages - this.taken : Number.POSITIVE_INFINITY;
  }

  take(pages: number): Side {
    const { piece, taken, pageSize } = this;
    if (!piece) return { area: -1, span: undefined, before: 0, bytes: undefined };
    this.taken += pages;
    const { area, bytes, segment, state } = piece;
    const unstored = state === 'zero' ? 'zero' : undefined;
    const part = bytes ? bytes.subarray(taken * pageSize, (taken + pages) * pageSize) : unstored;
    return { area, span: piece, before: taken, bytes: segment === undefined ? part : undefined };
  }

  private advance(): void {
    const next = this.pieces.next();
    this.piece = next.done ? undefined : next.value;
    this.taken = 0;
  }
}

let zeros = new Uint8Array(0);

/** Adds what differs in some pages. Returns which of them do. */
function count({ pages, a, b }: Pair, pageSize: number, ...totals: PageCounts[]): readonly number[] {
  const add = (field: keyof PageCounts, amount: number) => {
    for (const counts of totals) counts[field] += amount;
  };
  const isStoredA = a.bytes instanceof Uint8Array;
  const isStoredB = b.bytes instanceof Uint8Array;
  if (!isStoredA && !isStoredB) return [];
  if (a.bytes === undefined || b.bytes === undefined) {
    add(isStoredA ? 'onlyA' : 'onlyB', pages);
    return [];
  }
  add('compared', pages);
  const [inA, inB] = [a.bytes, b.bytes].map((bytes) => (bytes === 'zero' ? zerosOf(pages * pageSize) : bytes)) as [
    Uint8Array,
    Uint8Array,
  ];
  if (Buffer.compare(inA, inB) === 0) return [];
  const differing: number[] = [];
  for (let start = 0; start < inA.length; start += pageSize) {
    const changedBytes = differentBytes(inA, inB, start, start + pageSize);
    if (changedBytes === 0) continue;
    add('changed', 1);
    add('changedBytes', changedBytes);
    differing.push(start / pageSize);
  }
  return differing;
}

/** Draws a pair in both maps: the pages in `changed`, which ascend, and those between them. */
function drawPair(draw: Both<Draw>, { pages, a, b }: Pair, changed: readonly number[]): void {
  const drawRun = (start: number, end: number, isChanged: boolean) => {
    for (const [side, put] of [
      [a, draw.a],
      [b, draw.b],
    ] as const) {
      if (!side.span) continue;
      put({ ...side.span, pageNumber: side.span.pageNumber + side.before + start, pages: end - start }, isChanged);
    }
  };
  let start = 0;
  for (let i = 0; i < changed.length; ) {
    const first = changed[i] as number;
    let end = first + 1;
    while (changed[++i] === end) end++;
    if (first > start) drawRun(start, first, false);
    drawRun(first, end, true);
    start = end;
  }
  if (pages > start) drawRun(start, pages, false);
}

function zerosOf(length: number): Uint8Array {
  if (zeros.length < length) zeros = new Uint8Array(length);
  return zeros.subarray(0, length);
}

function differentBytes(a: Uint8Array, b: Uint8Array, start: number, end: number): number {
  let different = 0;
  for (let i = start; i < end; i++) if (a[i] !== b[i]) different++;
  return different;
}
