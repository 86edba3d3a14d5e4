/**
 * What flows through a pipeline: the records of one dump, in this order.
 *
 *     header  (file payload* | space | areas | runs payload*)*  end
 *     payload := bytes | extents, and a check behind them where the record before them says `checked`
 *
 * A space comes before its areas, and these before its runs; the runs of a space come one after the other, and spaces have
 * theirs in the order of their index. From a directory all files come first, then all spaces, then all runs; what arrives
 * piece by piece has another order. Payload is by reference
 * (`extents`) until somebody needs it; the bytes of a `bytes` record may be overwritten once the consumer has asked for
 * the next record, so who keeps them copies them.
 */
import type { PayloadFile } from '../bytes.js';
import type { RunBatch } from '../memory/runs.js';
import type { AreaTable } from '../memory/vma.js';

export type { PayloadFile } from '../bytes.js';

export interface HeaderRecord {
  readonly type: 'header';
  /** Bytes. */
  readonly pageSize: number;
  /** `core_entry.march` of the dumped machine, where it is known. */
  readonly march?: number;
  /** Permission bits of the dump's directory. */
  readonly directoryMode: number;
  /** Bytes of all pages, where they are known: for progress only. */
  readonly payloadBytes?: number;
}

/**
 * The header of a file in the archive that it comes from. It passes byte for byte into another archive; other places have
 * no use for it.
 */
export interface ArchiveHeader {
  /** Name in the archive. */
  readonly name: string;
  /** Bytes of data in the archive. */
  readonly storedBytes: number;
  /** Whether the file has holes there: less is stored than it is long. */
  readonly isSparse: boolean;
  /** All blocks in front of the data, extensions among them. */
  blocks(): Uint8Array;
}

/** A directory entry that is neither a pagemap nor its pages. */
export interface FileRecord {
  readonly type: 'file';
  readonly kind: 'regular' | 'link' | 'directory';
  /** Relative to the dump, `/` between components. */
  readonly name: string;
  /** Permission bits. */
  readonly mode: number;
  /** Bytes that follow. */
  readonly size: number;
  /** Of a link, as it was read. */
  readonly target?: Uint8Array;
  readonly checked: boolean;
  /** Not of the dump, but next to it in its archive; the name is that in the archive. */
  readonly outside?: true;
  /** In the archive that it comes from. */
  readonly header?: ArchiveHeader;
}

/** An address space: the memory of a task or a shared memory segment. */
export interface Space {
  /** Counts from 0. */
  readonly index: number;
  readonly kind: 'task' | 'shmem';
  /** Of a task: the pid inside its namespace. */
  readonly pid?: number;
  /** File name. */
  readonly pagemap: string;
  readonly pagesId: number;
  /** The pagemap_head as it was read. */
  readonly head: Uint8Array;
  /** Permission bits. */
  readonly pagemapMode: number;
  readonly pagesMode: number;
  /** In the archive that they come from. */
  readonly headers?: { pagemap: ArchiveHeader; pages: ArchiveHeader };
}

export interface SpaceRecord {
  readonly type: 'space';
  readonly space: Space;
}

/** Areas of a task, in one or more ascending parts. */
export interface AreasRecord {
  readonly type: 'areas';
  readonly space: Space;
  readonly areas: AreaTable;
}

export interface RunsRecord {
  readonly type: 'runs';
  readonly space: Space;
  readonly runs: RunBatch;
  readonly checked: boolean;
}

export interface BytesRecord {
  readonly type: 'bytes';
  readonly bytes: Uint8Array;
}

export interface ExtentsRecord {
  readonly type: 'extents';
  readonly file: PayloadFile;
  /** Pairs of position and length in bytes, in payload order. */
  readonly extents: Float64Array;
}

/** Checksum of the payload before it, from where it was read first. */
export interface CheckRecord {
  readonly type: 'check';
  readonly crc32: number;
}

export interface EndRecord {
  readonly type: 'end';
}

export type PayloadRecord = BytesRecord | ExtentsRecord;

export type DumpRecord =
  | HeaderRecord
  | FileRecord
  | SpaceRecord
  | AreasRecord
  | RunsRecord
  | PayloadRecord
  | CheckRecord
  | EndRecord;

/** Whether a record is payload of the file or the runs before it, or the check of it. */
export const isPayload = (record: DumpRecord): record is PayloadRecord | CheckRecord =>
  record.type === 'bytes' || record.type === 'extents' || record.type === 'check';
