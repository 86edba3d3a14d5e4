/**
 * pagepipe as a library: dumps as records, and stages over them. Sources and sinks of each kind are in `pagepipe/containers`,
 * the codec of images in `pagepipe/images`, the memory of processes in `pagepipe/inspect`, page servers in `pagepipe/serve`.
 *
 *     import { classify, DROP_LAZY, filter, openDump, pump, rebuild } from 'pagepipe';
 *     import { directorySink } from 'pagepipe/containers';
 *
 *     await using dump = await openDump('checkpoint.tar.zst');
 *     await pump(dump.records, [classify(), filter(DROP_LAZY), rebuild()], await directorySink('small'));
 */

export type { WantedPages } from './arrival/hold.js';
export type { ByteSource, SourceKind } from './arrival/open.js';
export type { KnownDump } from './arrival/summary.js';
export type { WaitingBytes } from './bytes.js';
export type { CheckpointImage, ImageBlob } from './containers/oci/layout.js';
export type { S3Settings } from './containers/s3/protocol.js';
export { Dump, type DumpOptions } from './dump/dump.js';
export type { FileBegin, FileEvent, FileEvents } from './dump/events.js';
export type { DumpEntry, DumpFiles, DumpOrigin, FileStat, ReadableFiles, SummedBlocks } from './dump/files.js';
export { pump, type RecordSink, type RecordSource, type Stage, type StageOutput } from './dump/pump.js';
export * from './dump/records.js';
export { SizeSink } from './dump/size.js';
export type { Slice } from './dump/slice.js';
export type { Task } from './dump/tasks.js';
export { DumpError, type DumpErrorCode, type ErrorPlace } from './errors.js';
export * from './explore/data.js';
export type { FileData } from './explore/file-table.js';
export type { ProcessData } from './explore/ps.js';
export type { MemoryBudget } from './io/byte-queue.js';
export type { Compression } from './io/compression.js';
export { merge } from './library/merge.js';
export {
  type DumpSource,
  type OpenDump,
  type OpenDumpOptions,
  openDump,
  openDumpFiles,
  type SourceOptions,
} from './library/open-dump.js';
export { type SplitOptions, split } from './library/split.js';
export {
  type TemplateOptions,
  type TemplateTask,
  template,
  type UntemplateOptions,
  untemplate,
} from './library/template.js';
export { type FaultList, FaultListParser } from './memory/fault-list.js';
export { RunCursor, type RunPart } from './memory/run-cursor.js';
export {
  type CompressedBlocks,
  hasPayload,
  PAGE_SIZES,
  RUN_BITS,
  type RunBatch,
  RunBuilder,
  type RunDetail,
} from './memory/runs.js';
export type {
  AddressSpace,
  AddressSpaceOptions,
  DecodeBlock,
  PageSpan,
  RunTable,
  StoredAt,
  TableSpan,
} from './memory/space.js';
export { type AreaTable, KINDS, type Kind } from './memory/vma.js';
export { type ClassifyOptions, classify, POLICIES, type Policy } from './stages/classify.js';
export { DROP_LAZY, type FilterOptions, filter, type Selection } from './stages/filter.js';
export { type KeepOptions, keepEager } from './stages/keep.js';
export { HOLES, type Holes, rebuild } from './stages/rebuild.js';
export { type Amount, type KindTally, type SpaceTally, tally } from './stages/tally.js';
export type { Sums } from './template/memory-folder.js';
export type { Finding, FindingCode, FindingPlace, Severity } from './verify/findings.js';
export { quickFindings, type Verdict, type VerifyOptions, verify } from './verify/verify.js';
