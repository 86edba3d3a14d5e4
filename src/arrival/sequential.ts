/**
 * A dump whose files arrive in any order, from an archive or from shards, as records.
 *
 * Complete files go on at once. Pages wait until their space is known ({@link SpacesInTurn}). In an archive names usually
 * ascend, so nothing waits: core, mm and pagemap come before pages. A capture of criu-image-streamer has the pages first.
 */
import type { WaitingBytes } from '../bytes.js';
import type { FileBegin, FileEvent, FileEvents } from '../dump/events.js';
import { leftOut, notLeftOut, pagesLeftOut } from '../dump/leftovers.js';
import { isPagesName, OUTSIDE, SUMS } from '../dump/names.js';
import type { DumpRecord, FileRecord } from '../dump/records.js';
import { sumsMark } from '../dump/sums.js';
import type { Task } from '../dump/tasks.js';
import { invariant } from '../errors.js';
import { Fifo } from '../fifo.js';
import { ByteQueue, type MemoryBudget } from '../io/byte-queue.js';
import { ArrivalChecks, type Leftovers } from './checks.js';
import { isMetadataName } from './metadata-cache.js';
import { SpacesInTurn } from './spaces-in-turn.js';

/** Permission bits of a directory that is made from an arriving dump. A dump is private, and its container rarely has a mode. */
export const DIRECTORY_MODE = 0o700;

export interface SequentialOptions {
  /** Name of the source, for errors. */
  name: string;
  /** Bytes. Only needed for machines with several page sizes. */
  pageSize?: number;
  /** Whether the areas of tasks must come before their pages, to classify by them. */
  areas?: boolean;
  budget: MemoryBudget;
  /** Whether images that only a restore needs may be missing. */
  incomplete?: boolean;
  /** Told of what an earlier dump has left. */
  warn?: ((message: string) => void) | undefined;
}

const NOT_CARRIED = `${SUMS} came after other files, so what is written has no sums without --sums`;

/** A file that waits for its end and its turn. */
interface WaitingFile {
  record: FileRecord;
  bytes: ByteQueue;
}

export class SequentialDump {
  private readonly checks: ArrivalChecks;
  private readonly spaces: SpacesInTurn;
  private readonly wantsAreas: boolean;
  private readonly files = new Map<string, WaitingFile>();
  /** Complete files, links and folders that wait for their turn. */
  private readonly ready = new Fifo<WaitingFile | FileRecord>();
  private headerSent = false;
  /** A file whose bytes are passed on as they come. */
  private direct: string | undefined;
  private asksForSums = false;

  constructor(private readonly options: SequentialOptions) {
    const { areas = true, budget } = options;
    this.wantsAreas = areas;
    this.checks = new ArrivalChecks({
      ...options,
      areTaken: (pages) => this.spaces.areTaken(pages),
      onRuns: (pagemap, runs) => this.spaces.addRuns(pagemap, runs),
    });
    const { pageSize, metadata } = this.checks;
    const isContested = (pages: string) => this.checks.isContested(pages);
    this.spaces = new SpacesInTurn({ pageSize, wantsAreas: areas, metadata, budget, isContested });
  }

  /** Bytes. */
  get pageSize(): number {
    return this.checks.pageSize;
  }

  /** `core_entry.mtype`, known once a core image has come. */
  get march(): number | undefined {
    return this.checks.march;
  }

  /** Known at the end. */
  get tasks(): readonly Task[] {
    return this.checks.tasks;
  }

  /** Bytes of all files of the dump that have come. */
  get bytes(): number {
    return this.checks.bytes;
  }

  /**
   * The records of the dump, for `pump`.
   * @throws {DumpError} if the dump is incomplete
   */
  async *records(source: FileEvents): AsyncGenerator<Iterable<DumpRecord>> {
    try {
      for await (const event of source) yield this.take(event);
      yield this.finish();
    } finally {
      for (const { bytes } of this.files.values()) bytes.close();
      this.spaces.close();
    }
  }

  private *take(event: FileEvent): Generator<DumpRecord> {
    if (!this.checks.take(event)) {
      // What is written gets sums only if all of its bytes can be in them.
      if (!this.asksForSums && this.checks.sums.comeFirst) this.ready.push(sumsMark());
      this.asksForSums ||= this.checks.sums.comeFirst;
      return;
    }
    if (event.type === 'file') yield* this.begin(event);
    else if (event.type === 'data') yield* this.data(event);
    else this.end(event.name);
    yield* this.flow();
  }

  private *begin(file: FileBegin): Generator<DumpRecord> {
    const { name, kind, size } = file;
    const record = recordOf(file);
    const pagemap = this.checks.pagemaps.get(name);
    if (kind !== 'regular') {
      this.ready.push(record);
    } else if (pagemap) {
      this.spaces.addPagemap(file, pagemap);
    } else if (isPagesName(name)) {
      this.spaces.addPages(file);
    } else if (size !== undefined && !isMetadataName(name) && this.headerSent && !this.spaces.owesPayload) {
      // It need not wait.
      yield* this.sendFiles();
      yield record;
      this.direct = name;
    } else {
      this.files.set(name, { record, bytes: new ByteQueue(this.options.budget) });
    }
  }

  private *data({ name, bytes, waiting }: FileEvent & { type: 'data' }): Generator<DumpRecord> {
    const file = this.files.get(name);
    if (name === this.direct) yield { type: 'bytes', bytes };
    else if (file) file.bytes.push(bytes);
    else if (isPagesName(name)) yield* this.pages(name, bytes, waiting);
    else this.spaces.notePagemap(name);
  }

  /** Pages that come in their turn are not held. */
  private *pages(name: string, bytes: Uint8Array, waiting?: WaitingBytes): Generator<DumpRecord> {
    let rest = bytes;
    while (rest.length > 0 && this.spaces.isNext(name)) {
      if (!this.spaces.owesPayload) yield* this.flow();
      const { padding, payload } = this.spaces.pass(rest);
      const end = padding + payload;
      if (end === 0) break;
      if (payload > 0) yield { type: 'bytes', bytes: rest.subarray(padding, end) };
      rest = rest.subarray(end);
    }
    if (rest.length > 0) this.checks.takeUnseen(name, this.spaces.hold(name, rest, waiting));
  }

  private end(name: string): void {
    if (name === this.direct) this.direct = undefined;
    const file = this.files.get(name);
    if (file) this.ready.push(file);
    else if (isPagesName(name)) this.spaces.end(name);
    this.spaces.noteFile(name);
  }

  /** Passes on what need not wait any longer. */
  private *flow(): Generator<DumpRecord> {
    if (!this.headerSent) {
      // The machine matters only for areas.
      if (this.wantsAreas && this.checks.march === undefined) return;
      yield this.header();
    }
    do {
      if (!this.spaces.owesPayload) yield* this.sendFiles();
    } while (yield* this.spaces.flow());
  }

  private header(): DumpRecord {
    const { march } = this.checks;
    this.headerSent = true;
    return {
      type: 'header',
      pageSize: this.pageSize,
      directoryMode: DIRECTORY_MODE,
      ...(march === undefined ? {} : { march }),
    };
  }

  private *sendFiles(): Generator<DumpRecord> {
    for (let file = this.ready.take(); file; file = this.ready.take()) {
      if ('type' in file) {
        yield file;
        continue;
      }
      const { record, bytes } = file;
      yield { ...record, size: bytes.size };
      yield* bytes.take(bytes.size);
      this.files.delete(record.name);
    }
  }

  /** Memory of an earlier dump that was passed on before the processes were known does no harm. */
  private leaveOut({ pagemaps, pages, unused }: Leftovers): void {
    const gone = this.spaces.leave(pagemaps, [...pages, ...unused]);
    const { warn = () => {} } = this.options;
    for (const name of pagemaps) warn(gone.includes(name) ? notLeftOut(name) : leftOut(name));
    for (const name of unused) warn(pagesLeftOut(name));
  }

  private *finish(): Generator<DumpRecord> {
    this.leaveOut(this.checks.finish());
    if (this.checks.sums.blocks !== undefined && !this.asksForSums) this.options.warn?.(NOT_CARRIED);
    yield* this.flow();
    invariant(this.headerSent && this.spaces.isEmpty, 'of a whole dump nothing waits');
    yield { type: 'end' };
  }
}

function recordOf({ name, kind, mode, size, target, header }: FileBegin): FileRecord {
  return {
    type: 'file',
    kind,
    name,
    mode,
    size: size ?? 0,
    checked: false,
    ...(header ? { header } : {}),
    ...(name.startsWith(OUTSIDE) ? { outside: true } : {}),
    ...(target ? { target } : {}),
  };
}
