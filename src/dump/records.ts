/**
 * A dump is a sequence of records. Every source produces them, every stage turns records into records, and every sink
 * consumes them. So any source goes with any sink, and nothing in between depends on a container. Their order is
 *
 *     header  (file payload* | space | areas | runs payload*)*  end
 *     payload := bytes | extents, followed by a check if the record before them says `checked`
 *
 * A space comes before its areas, and the areas before the runs. The runs of a space follow each other, and spaces have their
 * runs in the order of their index. From a directory all files come first, then all spaces, then all runs. A dump that
 * arrives has another order.
 *
 * Payload is by reference (`extents`) as long as nobody needs the bytes. The bytes of a `bytes` record may be overwritten
 * once the consumer has asked for the next record. A consumer that keeps them makes a copy.
 */
import type { PayloadFile } from '../bytes.js';
import type { RunBatch } from '../memory/runs.js';
import type { AreaTable } from '../memory/vma.js';

export type { FilePlace, PayloadFile } from '../bytes.js';

export interface HeaderRecord {
  readonly type: 'header';
  /** Bytes. */
  readonly pageSize: number;
  /** `core_entry.mtype` of the dumped machine, where it is known. */
  readonly march?: number;
  /** Permission bits of the dump's directory. */
  readonly directoryMode: number;
  /** Bytes of all pages, where they are known: for progress only. */
  readonly payloadBytes?: number;
}

/** The header of a file in its archive. It goes byte for byte into another archive; other containers ignore it. */
export interface ArchiveHeader {
  /** Name in the archive. */
  readonly name: string;
  /** Bytes of data in the archive. */
  readonly storedBytes: number;
  /** Whether the file is sparse there: less is stored than its size. */
  readonly isSparse: boolean;
  /** All blocks before the data, including extensions. */
  blocks(): Uint8Array;
}

/** An entry that is neither a pagemap nor a pages file. */
export interface FileRecord {
  readonly type: 'file';
  readonly kind: 'regular' | 'link' | 'directory';
  /** Relative to the dump, `/` between components. */
  readonly name: string;
  /** Permission bits. */
  readonly mode: number;
  /** Bytes that follow. */
  readonly size: number;
  /** Target of a link, as it was read. */
  readonly target?: Uint8Array;
  readonly checked: boolean;
  /** In the archive, but outside the dump. The name is the one in the archive. */
  readonly outside?: true;
  /** Its header in the archive that it comes from. */
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
  /** Whether the pagemap has one magic number, as in version 1 of images. */
  readonly oneMagic?: true;
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
  /** Known to be the last runs of their space: none follow in another record. A stage that adds some removes this. */
  readonly isLast?: boolean;
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

/** Checksum of the payload before it, computed where it was first read. */
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

/** Whether a record is payload of the file or the runs before it, or the checksum of that. */
export const isPayload = (record: DumpRecord): record is PayloadRecord | CheckRecord =>
  record.type === 'bytes' || record.type === 'extents' || record.type === 'check';
