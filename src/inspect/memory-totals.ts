/** How much memory a dump has, by kind and by where its bytes are. Shared memory counts once, and not with each process. */
import type { MemorySpan, MemoryState, TaskMemories, TaskMemory } from '../explore/task-memory.js';
import { KINDS } from '../memory/vma.js';
import type { Attempt } from './gaps.js';

/** Amounts in bytes. */
export interface MemoryAmounts {
  /** In this dump. */
  stored: number;
  /** In its parents, and where the pagemap says so but they are not there. */
  parent: number;
  missing: number;
  /** To be fetched by a restore. */
  lazy: number;
  /** In no pagemap: zeros. */
  zero: number;
  /** In mapped files. */
  file: number;
}

export interface KindAmounts extends MemoryAmounts {
  /** Of an area, or `shmem` for segments of shared memory. */
  kind: string;
  areas: number;
  /** Of all areas, or of the segments. */
  mapped: number;
}

export interface ProcessMemory {
  pid: number;
  kinds: KindAmounts[];
  total: KindAmounts;
  /** Bytes of shared memory that the process has mapped and the dump has. */
  shared: number;
}

export interface SegmentData extends MemoryAmounts {
  id: number;
  name: string | null;
  bytes: number;
}

export interface MemoryData {
  /** Bytes. */
  pageSize: number;
  kinds: KindAmounts[];
  total: KindAmounts;
  segments?: SegmentData[];
  processes?: ProcessMemory[];
}

const FIELDS: Partial<Record<MemoryState, keyof MemoryAmounts>> = {
  stored: 'stored',
  parent: 'parent',
  lazy: 'lazy',
  zero: 'zero',
  file: 'file',
};

const amounts = (): MemoryAmounts => ({ stored: 0, parent: 0, missing: 0, lazy: 0, zero: 0, file: 0 });
const kindAmounts = (kind: string): KindAmounts => ({ kind, areas: 0, mapped: 0, ...amounts() });

/** By kind, most particular first. */
class Kinds {
  private readonly byKind = new Map<string, KindAmounts>();

  of(kind: string): KindAmounts {
    const found = this.byKind.get(kind) ?? kindAmounts(kind);
    this.byKind.set(kind, found);
    return found;
  }

  add(other: KindAmounts): void {
    sum(this.of(other.kind), other);
  }

  list(): KindAmounts[] {
    return KINDS.flatMap((kind) => this.byKind.get(kind) ?? []);
  }

  total(): KindAmounts {
    const total = kindAmounts('total');
    for (const kind of this.byKind.values()) sum(total, kind);
    return total;
  }
}

function sum(to: KindAmounts, from: KindAmounts): void {
  for (const key of Object.keys(from) as (keyof KindAmounts)[]) if (key !== 'kind') to[key] += from[key];
}

function count(span: MemorySpan, pageSize: number, to: MemoryAmounts): void {
  const field = span.state === 'parent' && !span.at ? 'missing' : FIELDS[span.state];
  if (field) to[field] += span.pages * pageSize;
}

/** The memory of one process; that of its segments is left out. */
function processMemory(memory: TaskMemory): ProcessMemory {
  const { areas, pageSize } = memory;
  const kinds = new Kinds();
  let shared = 0;
  for (let i = 0; i < areas.length; i++) {
    const kind = kinds.of(areas.kind(i));
    kind.areas++;
    kind.mapped += ((areas.ends[i] as number) - (areas.starts[i] as number)) * pageSize;
  }
  for (const span of memory.spans()) {
    if (span.area < 0 && span.state === 'absent') continue;
    if (span.segment === undefined) count(span, pageSize, kinds.of(span.area < 0 ? 'unknown' : areas.kind(span.area)));
    else if (span.at) shared += span.pages * pageSize;
  }
  return { pid: memory.pid, kinds: kinds.list(), total: kinds.total(), shared };
}

/**
 * Adds up the memory of a dump.
 * @param memoryOf undefined for a process without memory
 * @param isDetailed whether segments and processes are listed as well
 */
export function readMemoryData(
  memories: TaskMemories,
  memoryOf: (pid: number) => TaskMemory | undefined,
  attempt: Attempt,
  isDetailed: boolean,
): MemoryData {
  const { pageSize } = memories;
  const kinds = new Kinds();
  const processes: ProcessMemory[] = [];
  for (const pid of memories.pids) {
    const memory = memoryOf(pid);
    const found = memory && attempt(`pagemap-${pid}.img`, () => processMemory(memory));
    if (!found) continue;
    for (const kind of found.kinds) kinds.add(kind);
    if (isDetailed) processes.push(found);
  }
  const segments: SegmentData[] = [];
  for (const segment of attempt('pagemap-shmem', () => memories.segments()) ?? []) {
    const data = { id: segment.id, name: segment.name ?? null, bytes: segment.pages * pageSize, ...amounts() };
    for (const span of segment.spans()) count(span, pageSize, data);
    const { id: _, name, bytes, ...rest } = data;
    kinds.add({ kind: 'shmem', areas: 1, mapped: bytes, ...rest });
    if (isDetailed) segments.push(data);
  }
  return { pageSize, kinds: kinds.list(), total: kinds.total(), ...(isDetailed ? { segments, processes } : {}) };
}
