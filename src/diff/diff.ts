/** What differs between two dumps of one program: processes, images, areas and pages. */
import type { DumpFiles } from '../dump/files.js';
import { DumpError } from '../errors.js';
import { TaskMemories } from '../explore/task-memory.js';
import { changedImages, type ImageChange } from './images.js';
import { changedAreas, changedPages, changedSegments, type MemoryChange } from './memory.js';

export type DumpChange = { change: 'process'; pid: number; only: 'a' | 'b' } | ImageChange | MemoryChange;

export interface DiffOptions {
  /** Whether images are compared; by default they are. */
  images?: boolean;
  /** Whether areas and pages are compared; by default they are. */
  memory?: boolean;
  /** Bytes; by default found in each dump. */
  pageSize?: number;
}

/**
 * The differences, in this order: processes, images, areas and pages of each process that is in both dumps, shared memory.
 * Pages of a parent that is not there, and lazy ones, are not compared.
 * @throws {DumpError} for images or pages that cannot be read, UNSUPPORTED for two page sizes
 */
export function* diffDumps(
  a: DumpFiles,
  b: DumpFiles,
  { images = true, memory = true, ...page }: DiffOptions = {},
): Generator<DumpChange> {
  const [inA, inB] = [new TaskMemories(a, page), new TaskMemories(b, page)];
  if (inA.pageSize !== inB.pageSize) {
    throw new DumpError(
      'UNSUPPORTED',
      `expected pages of ${inA.pageSize} bytes as in ${a.path}, found ${inB.pageSize}`,
      {
        file: b.path,
      },
    );
  }
  const pids = [...new Set([...inA.pids, ...inB.pids])];
  for (const pid of pids) {
    if (!inB.pids.includes(pid)) yield { change: 'process', pid, only: 'a' };
    else if (!inA.pids.includes(pid)) yield { change: 'process', pid, only: 'b' };
  }
  if (images) yield* changedImages(a, b);
  if (!memory) return;
  for (const pid of pids) {
    if (!inA.pids.includes(pid) || !inB.pids.includes(pid)) continue;
    const [old, now] = [inA.of(pid), inB.of(pid)];
    // One of them is a zombie: its images say so.
    if (!old || !now) continue;
    yield* changedAreas(old, now);
    yield* changedPages(old, now);
  }
  yield* changedSegments(inA, inB);
}
