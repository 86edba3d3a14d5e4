/**
 * A container is what a dump can be in. Each has a folder: a codec for its bytes, `read` and `write`. Containers do not know
 * each other. A reader gives either `DumpFiles`, which allow random access, or events for files that arrive. A writer is a
 * sink for records.
 *
 * This is the base of the sinks that write files. It compares payload with its checksum, turns runs into the entries of
 * their pagemap, and pads pages files where an entry is aligned. Each space gets both files, even when empty, in the order of
 * the spaces.
 */

import { none } from 'stream-chain/defs.js';
import { ExtentReader, FILE_PIECE_BYTES } from '../dump/extents.js';
import { PARTIAL, pagesName, SUMS, SUMS_MARK } from '../dump/names.js';
import { PagemapWriter } from '../dump/pagemap-writer.js';
import { PayloadCheck } from '../dump/payload-check.js';
import { payloadLength } from '../dump/payload-cutter.js';
import type { RecordSink } from '../dump/pump.js';
import type { DumpRecord, ExtentsRecord, FileRecord, HeaderRecord, PayloadRecord, Space } from '../dump/records.js';
import { SUMS_MODE, SumsMaker } from '../dump/sums.js';
import { invariant } from '../errors.js';
import { Fifo } from '../fifo.js';
import { countHolePages } from '../memory/runs.js';
import { dropFiles } from '../stages/drop-files.js';
import { rebuild } from '../stages/rebuild.js';
import { PagesPlacer } from './pages-placer.js';

export interface FilesSinkOptions {
  /** Called with the number of bytes of each piece of payload. */
  progress?: (bytes: number) => void;
  /** Whether the dump gets sums of its blocks. One that comes from a dump with sums does anyway. */
  sums?: boolean;
}

/** The space whose runs are being written. */
interface OpenSpace {
  readonly space: Space;
  readonly entries: PagemapWriter;
  readonly pages: PagesPlacer;
  /** Whether it is complete with the payload that comes now. */
  endsWithPayload: boolean;
}

/** Goes on at once unless there is something to wait for: a dump may have thousands of small files. */
const after = (before: void | Promise<void>, next: () => void | Promise<void>): void | Promise<void> =>
  before ? before.then(next) : next();

/**
 * A sink says what happens to files and their bytes. Files are written one at a time, except that the pagemap and the pages of
 * a space alternate. Bytes are overwritten after the call.
 */
export abstract class FilesSink implements RecordSink {
  /** Pages that are flagged as lazy and are in no pages file. */
  holePages = 0;
  /** Whether it is a partial dump. */
  isPartial = false;
  /** Whether it has a place for what is next to the dump in its archive; otherwise that is left out. */
  protected readonly takesOutside: boolean = false;
  protected readonly extents = new ExtentReader(FILE_PIECE_BYTES);
  /** Sums are made of what is written: those of another dump are of no use. */
  private readonly wanted = dropFiles(({ name, outside }) => name === SUMS || (outside === true && !this.takesOutside));
  private readonly joinRebuilt = rebuild();
  /** Of all files, if they get sums. Then the bytes must be seen. */
  protected sums: SumsMaker | undefined;
  private seenHeader: HeaderRecord | undefined;
  private file: FileRecord | undefined;
  private readonly waiting = new Fifo<Space>();
  private current: OpenSpace | undefined;
  private payloadLeft = 0;
  private readonly check = new PayloadCheck();
  /** Whether a checksum follows the payload. */
  private isChecked = false;

  constructor(private readonly common: FilesSinkOptions = {}) {}

  abstract finish(): void | Promise<void>;
  abstract discard(): void | Promise<void>;

  /** Begins a file, a link or a folder. */
  protected abstract startFile(record: FileRecord): void | Promise<void>;
  protected abstract fileBytes(bytes: Uint8Array, record: FileRecord): void;
  protected abstract endFile(record: FileRecord): void | Promise<void>;
  protected abstract startSpace(space: Space): void;
  protected abstract pagemapBytes(bytes: Uint8Array, space: Space): void;
  protected abstract pagesBytes(bytes: Uint8Array, space: Space): void;
  /** For sinks that need not see the bytes, or only later: takes payload by reference. Returns whether it did. */
  protected takeExtents?(record: ExtentsRecord, target: FileRecord | Space): boolean;
  /**
   * For sinks that have to know sizes first: called where a pagemap is complete before the first page.
   * @param pagesBytes size of the pages file
   * @returns whether the space is to end right after its pages
   */
  protected startPages?(space: Space, pagesBytes: number): Promise<boolean>;
  protected abstract endSpace(space: Space): void | Promise<void>;
  /** Called when all files are complete. */
  protected abstract end(): void;
  /** Called before the first file, if the blocks of all that is written get sums. */
  protected startSums(): void | Promise<void> {}

  write(record: DumpRecord): void | Promise<void> {
    if (this.wanted(record) === none) return;
    if (record.type === 'bytes') this.payload(record.bytes);
    else if (record.type === 'extents') this.payloadExtents(record);
    else if (record.type === 'file') return after(this.finishFile(), () => this.writeFile(record));
    else return this.writeOther(record);
  }

  private writeFile(record: FileRecord): void | Promise<void> {
    if (record.name === SUMS_MARK && record.size === 0) return this.beginSums();
    return after(this.startFile(record), () => {
      if (record.kind === 'regular' && !record.outside) this.sums?.of(record.name);
      this.isPartial ||= record.name === PARTIAL;
      this.file = record;
      this.startPayload(record.size, record.checked);
    });
  }

  private async writeOther(record: Exclude<DumpRecord, PayloadRecord | FileRecord>): Promise<void> {
    switch (record.type) {
      case 'header':
        this.seenHeader = record;
        this.extents.expect(record.payloadBytes ?? 0);
        this.joinRebuilt(record);
        if (this.common.sums) await this.beginSums();
        break;
      case 'space':
        await this.finishFile();
        this.waiting.push(record.space);
        break;
      case 'areas':
        break;
      case 'runs': {
        await this.finishFile();
        const isFirst = this.current?.space.index !== record.space.index;
        const current = await this.turnTo(record.space);
        // Rebuilds runs that were not rebuilt; others stay the same.
        const { runs } = this.joinRebuilt(record) as typeof record;
        this.holePages += countHolePages(runs);
        current?.entries.add(runs);
        current?.pages.start(runs);
        if (current && isFirst && record.isLast) await this.endPagemap(current);
        this.startPayload(runs.payloadBytes, record.checked);
        break;
      }
      case 'check':
        if (this.isChecked)
          this.check.end(record, this.file?.name ?? (this.current ? pagesName(this.current.space) : ''));
        break;
      default:
        await this.finishFile();
        await this.finishSpaces();
        await this.putSums();
        this.end();
    }
  }

  private async beginSums(): Promise<void> {
    if (this.sums) return;
    this.sums = new SumsMaker();
    await this.startSums();
  }

  /** Adds bytes of a file to its sums. */
  protected sum(name: string, bytes: Uint8Array): void {
    this.sums?.of(name).add(bytes);
  }

  /** The sums come last. They have none themselves. */
  private async putSums(): Promise<void> {
    const bytes = this.sums?.end();
    this.sums = undefined;
    if (!bytes) return;
    const record: FileRecord = {
      type: 'file',
      kind: 'regular',
      name: SUMS,
      mode: SUMS_MODE,
      size: bytes.length,
      checked: false,
    };
    await this.startFile(record);
    this.fileBytes(bytes, record);
    await this.endFile(record);
  }

  /** Finishes all spaces so far. Those without runs get empty images. */
  protected async finishSpaces(): Promise<void> {
    await this.turnTo(undefined);
  }

  /** The space whose runs are being written. */
  protected get currentSpace(): Space | undefined {
    return this.current?.space;
  }

  protected get header(): HeaderRecord {
    invariant(this.seenHeader, 'the header comes first');
    return this.seenHeader;
  }

  private async endPagemap(current: OpenSpace): Promise<void> {
    current.entries.end();
    current.endsWithPayload = (await this.startPages?.(current.space, current.pages.size)) === true;
  }

  private async turnTo(space: Space | undefined): Promise<OpenSpace | undefined> {
    if (space && this.current?.space.index === space.index) return this.current;
    await this.finishCurrent();
    for (let next = this.waiting.take(); next; next = this.waiting.take()) {
      this.startSpace(next);
      for (const name of [next.pagemap, pagesName(next)]) this.sums?.of(name);
      const { pageSize } = this.header;
      const entries = new PagemapWriter(next, pageSize, (bytes) => this.pagemapBytes(bytes, next));
      const pages = new PagesPlacer(pageSize, (bytes) => this.pagesBytes(bytes, next));
      this.current = { space: next, entries, pages, endsWithPayload: false };
      if (next.index === space?.index) return this.current;
      await this.finishCurrent();
    }
    invariant(!space, 'runs follow their space');
    return undefined;
  }

  private async finishCurrent(): Promise<void> {
    if (!this.current) return;
    this.current.entries.end();
    this.current.pages.end();
    await this.endSpace(this.current.space);
    this.current = undefined;
  }

  private finishFile(): void | Promise<void> {
    invariant(this.payloadLeft === 0, 'payload is complete before the next record');
    const { file } = this;
    this.file = undefined;
    const ended = file && this.endFile(file);
    return this.current?.endsWithPayload ? after(ended, () => this.finishCurrent()) : ended;
  }

  private startPayload(bytes: number, checked: boolean): void {
    this.payloadLeft = bytes;
    this.isChecked = checked && bytes > 0;
    this.check.start();
  }

  private payload(bytes: Uint8Array): void {
    if (this.isChecked) this.check.add(bytes);
    const { file, current } = this;
    invariant(file ?? current, 'payload follows a file or runs');
    if (file) this.fileBytes(bytes, file);
    else if (current) for (const piece of current.pages.bytes(bytes)) this.pagesBytes(piece, current.space);
    this.took(bytes.length);
  }

  private payloadExtents(record: ExtentsRecord): void {
    const { file, current } = this;
    if (file || !current || this.isChecked) {
      if (file && !this.isChecked && !this.isSummed(file) && this.takeExtents?.(record, file))
        this.took(payloadLength(record));
      else for (const bytes of this.extents.read(record)) this.payload(bytes);
      return;
    }
    const { space, pages } = current;
    for (const piece of pages.extents(record)) {
      if (!this.takeExtents?.(piece, space))
        for (const bytes of this.extents.read(piece)) this.pagesBytes(bytes, space);
      this.took(payloadLength(piece));
    }
  }

  private isSummed({ outside }: FileRecord): boolean {
    return this.sums !== undefined && !outside;
  }

  private took(bytes: number): void {
    this.payloadLeft -= bytes;
    this.common.progress?.(bytes);
  }
}
