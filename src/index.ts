/**
 * pagepipe as a library: dumps as records, stages over them, and the page stream between processes.
 *
 *     import { pump, Dump, DirectorySink, classify, filter, rebuild, DROP_LAZY } from 'pagepipe';
 *     await pump(new Dump('dump').records(), [classify(), filter(DROP_LAZY), rebuild()], new DirectorySink('small'));
 */
export type { Emit } from './bytes.js';
export type { Written } from './containers/directory/dump-directory.js';
export { DirectoryFiles } from './containers/directory/files.js';
export { DirectorySink, type DirectorySinkOptions } from './containers/directory/write.js';
export { PageStreamDecoder } from './containers/page-stream/decoder.js';
export { PageStreamEncoder } from './containers/page-stream/encoder.js';
export {
  decodePageStream,
  encodePageStream,
  readPageStream,
  StreamSink,
  sinkStream,
} from './containers/page-stream/stream.js';
export { Dump, type OpenDumpOptions } from './dump/dump.js';
export * from './dump/files.js';
export * from './dump/names.js';
export { pump, type RecordSink, type Stage } from './dump/pump.js';
export * from './dump/records.js';
export { SizeSink } from './dump/size.js';
export type { Task } from './dump/tasks.js';
export * from './errors.js';
export type * from './generated/entries.js';
export { type DecodeOptions, ImageDecoder, type ImageHandler } from './image/decoder.js';
export { type ImageType, MAGIC, typeOfMagic, typeOfName } from './image/magic.js';
export { encodePagemapStart, PagemapDecoder, PagemapEncoder } from './image/pagemap.js';
export * from './image/parts.js';
export { type EncodeOptions, JsonImageReader } from './json/from-json.js';
export { JsonImageWriter, type JsonOptions } from './json/to-json.js';
export { type FaultList, FaultListParser, faultLine, faultListHead } from './memory/fault-list.js';
export { RunCursor, type RunPart } from './memory/run-cursor.js';
export * from './memory/runs.js';
export { AddressSpace, type PageSpan, RunTable, type StoredAt } from './memory/space.js';
export * from './memory/vma.js';
export { type ClassifyOptions, classify, POLICIES, type Policy } from './stages/classify.js';
export { DROP_LAZY, type FilterOptions, filter, type Selection } from './stages/filter.js';
export { type KeepOptions, keepEager } from './stages/keep.js';
export { HOLES, type Holes, rebuild } from './stages/rebuild.js';
export { type Amount, type KindTally, type SpaceTally, tally } from './stages/tally.js';
export type { Finding, FindingCode } from './verify/findings.js';
export { quickFindings, type Verdict, verify } from './verify/verify.js';
