/** `pagepipe/serve`: the daemon of lazy restores by CRIU, a page server for them, and the receiving end of `criu dump --page-server`. */
export type { RestoreSummary } from './lazy/stats.js';
export {
  type LazyPages,
  type LazyPagesOptions,
  type LazyRestore,
  openLazyPages,
  type ServeRestoresOptions,
} from './library/lazy-pages.js';
export { type ServeClientOptions, serveClient } from './library/serve.js';
export type { Message } from './protocol/page-server.js';
export type { Address } from './serve/address.js';
export { type DumpMemory, type DumpMemoryOptions, openMemory } from './serve/memory.js';
export {
  type ParentDump,
  parentDump,
  type ReceiveDumpOptions,
  type ReceivedStats,
  type ReceiveOptions,
  receiveDump,
} from './serve/receive.js';
export { type ClientEnd, listen, type Serve, type ServerOptions } from './serve/server.js';
export type { SessionObserver } from './serve/session.js';
export { readTlsFiles, type TlsFiles } from './serve/tls.js';
