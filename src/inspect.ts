/** `pagepipe/inspect`: looks into a dump, and into the memory of its processes. */
export { type DiffOptions, type DumpChange, diffDumps } from './diff/diff.js';
export type { ImageChange } from './diff/images.js';
export type { AreaPlace, AreaState, MemoryChange, PageCounts } from './diff/memory.js';
export type { FieldChange } from './diff/values.js';
export type { MemoryAreas } from './explore/memory-areas.js';
export {
  type MemoryArea,
  type MemoryPiece,
  type MemorySpan,
  type MemoryState,
  type SegmentMemory,
  TaskMemories,
  type TaskMemoriesOptions,
  type TaskMemory,
} from './explore/task-memory.js';
export type { ContainerData, ContainerMount } from './inspect/container.js';
export type { AddressRange, ExtractState, MemorySelection } from './inspect/extract.js';
export type { Gap } from './inspect/gaps.js';
export { type DumpData, type Inspection, type InspectOptions, SECTIONS, type Section } from './inspect/inspect.js';
export type {
  KindAmounts,
  MemoryAmounts,
  MemoryData,
  ProcessMemory,
  SegmentData,
} from './inspect/memory-totals.js';
export type { DescriptorData, OpenFile, ProcessFiles } from './inspect/open-files.js';
export type { OutsideFile } from './inspect/outside.js';
export type { CredentialsData, ProcessDetails, SignalsData, TextsData } from './inspect/processes.js';
export type { SocketData } from './inspect/sockets.js';
export type { MountData, NamespaceData, PluginData } from './inspect/system.js';
export { type CoreReport, type WriteCoreOptions, writeCore, writeCores } from './library/core.js';
export { type ExtractOptions, type ExtractReport, extractMemory } from './library/extract.js';
export { inspectDump } from './library/inspect.js';
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
export type { Pattern } from './search/pattern.js';
export {
  type SearchHit,
  type SearchOptions,
  type SecretHit,
  type SegmentHit,
  searchMemory,
  searchSecrets,
  type TaskHit,
} from './search/search.js';
export { SECRET_KINDS } from './search/secrets.js';
