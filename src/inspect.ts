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
export type { MapLimits } from './map/builder.js';
export { type CollectOptions as MapOptions, memoryMap } from './map/collect.js';
export { htmlMap } from './map/html.js';
export type {
  Content,
  ContentTotals,
  Counts,
  KindTotals,
  MapArea,
  MapPage,
  MapSpace,
  MemoryMap,
  State,
  Totals as MapTotals,
} from './map/model.js';
export { svgMap } from './map/svg.js';
export { type TerminalOptions, terminalMap } from './map/terminal.js';
