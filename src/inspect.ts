/** `pagepipe/inspect`: looks into a dump, and into the memory of its processes. */
export type { MemoryAreas } from './explore/memory-areas.js';
export {
  type MemoryArea,
  type MemoryPiece,
  type MemorySpan,
  type MemoryState,
  type SegmentMemory,
  TaskMemories,
  type TaskMemory,
} from './explore/task-memory.js';
export { type CoreReport, type WriteCoreOptions, writeCore, writeCores } from './library/core.js';
