/** The files of a dump that arrives, as events. Their bytes come in pieces, and the pieces of several files may alternate. */
import type { WaitingBytes } from '../bytes.js';
import type { ArchiveHeader } from './records.js';

export type FileEvent =
  /** A file begins. */
  | {
      type: 'file';
      /** As in `DumpEntry`: `../` before the name of a file outside the dump in its archive. */
      name: string;
      kind: 'regular' | 'link' | 'directory';
      /** Permission bits. */
      mode: number;
      /** Bytes, where they are known before the end of the file. */
      size?: number;
      target?: Uint8Array;
      header?: ArchiveHeader;
    }
  /** Bytes of a file, valid until the next event is asked for; more may be waiting behind them. */
  | { type: 'data'; name: string; bytes: Uint8Array; waiting?: WaitingBytes }
  | { type: 'fileEnd'; name: string };

/** The first event of a file. */
export type FileBegin = FileEvent & { type: 'file' };

export type FileEvents = AsyncIterable<FileEvent>;
