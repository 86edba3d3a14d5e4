/** `pagepipe/containers`: where dumps are read from and written to, each kind by itself. */

export {
  decodePageStream,
  encodePageStream,
  pageStream,
  readPageStream,
  sinkStream,
  sourceStream,
} from './containers/page-stream/stream.js';
export type { Written } from './containers/written.js';
export type { Place } from './io/apart.js';
export type { BytePlace } from './io/byte-output.js';
export {
  type ArchiveOptions,
  type DirectoryOutput,
  directorySink,
  type FilesOutput,
  type ImageOptions,
  ociSink,
  type PlaceOptions,
  pageStreamSink,
  shardSink,
  tarSink,
} from './library/sinks.js';
