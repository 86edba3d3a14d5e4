/** Files that arrive: those of what can only be read from front to back. Their bytes come in pieces, and of several files in turn. */
import type { ArchiveHeader } from './records.js';

export type FileEvent =
  /** A file that is new. */
  | {
      type: 'file';
      /** As in `DumpEntry`: `../` before what is next to the dump in its archive. */
      name: string;
      kind: 'regular' | 'link' | 'directory';
      /** Permission bits. */
      mode: number;
      /** Bytes, where they are known before the end of the file. */
      size?: number;
      target?: Uint8Array;
      header?: ArchiveHeader;
    }
  /** Bytes of a file; overwritten when the next event is asked for. */
  | { type: 'data'; name: string; bytes: Uint8Array }
  | { type: 'fileEnd'; name: string };

/** The first event of a file. */
export type FileBegin = FileEvent & { type: 'file' };

export type FileEvents = AsyncIterable<FileEvent>;
