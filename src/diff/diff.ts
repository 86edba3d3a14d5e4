/** What differs between two dumps of one program: processes, images, areas and pages. */
import type { DumpFiles } from '../dump/files.js';
import { DumpError } from '../errors.js';
import { TaskMemories } from '../explore/task-memory.js';
import type { MemoryMap } from '../map/model.js';
import { changedImages, type ImageChange } from './images.js';
import { ChangeMap } from './maps.js';
import { changedAreas, changedPages, changedSegments, type MemoryChange } from './memory.js';

export type DumpChange = { change: 'process'; pid: number; only: 'a' | 'b' } | ImageChange | MemoryChange;

export interface DiffOptions {
  /** Whether images are compared; by default they are. */
  images?: boolean;
  /** Whether areas and pages are compared; by default they are. */
  memory?: boolean;
  /** Bytes; by default found in each dump. */
  pageSize?: number;
  /** Is given the maps of both dumps, with the changed pages marked, at the end. Needs `memory`. */
  onMaps?: (a: MemoryMap, b: MemoryMap) => void;
}

/**
 * The differences, in this order: processes, images, areas and pages of each process that is in both dumps, shared memory.
 * Pages of a parent that is not there, and lazy ones, are not compared.
 * @throws {DumpError} for images or pages that cannot be read, UNSUPPORTED for two page sizes
 */
export function* diffDumps(a: DumpFiles, b: DumpFiles, options: DiffOptions = {}): Generator<DumpChange> {
  for (const change of diffSteps(a, b, options)) if (change) yield change;
}

/** The same in short steps: what is undefined is only a pause. */
export function* diffSteps(
  a: DumpFiles,
  b: DumpFiles,
  { images = true, memory = true, onMaps, ...page }: DiffOptions = {},
): Generator<DumpChange | undefined> {
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
  const maps = onMaps && { a: new ChangeMap(a, inA.pageSize), b: new ChangeMap(b, inB.pageSize) };
  for (const pid of pids) {
    const [isInA, isInB] = [inA.pids.includes(pid), inB.pids.includes(pid)];
    if (!maps && !(isInA && isInB)) continue;
    const [old, now] = [isInA ? inA.of(pid) : undefined, isInB ? inB.of(pid) : undefined];
    if (old && now) {
      yield* changedAreas(old, now);
      yield* changedPages(old, now, maps && { a: maps.a.task(old), b: maps.b.task(now) });
    } else {
      // One has it not, or as a zombie: its images say so.
      if (isInA) maps?.a.wholeTask(pid, old);
      if (isInB) maps?.b.wholeTask(pid, now);
    }
  }
  yield* changedSegments(inA, inB, maps);
  if (maps) onMaps(maps.a.map(), maps.b.map());
}
