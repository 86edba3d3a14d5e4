/**
 * Records into a tar archive. Files from an archive keep their headers; only pagemaps and pages get new sizes. A size comes
 * before its bytes, so pages are written as they come only if all runs of their space came at once. Otherwise its pagemap and
 * pages wait until the space is complete: in memory, and beyond the budget in a temporary file. Pages by reference are read
 * only when they are written.
 */

import { type CopyRange, portions } from '../../dump/extents.js';
import { pagesName, SUMS_MARK } from '../../dump/names.js';
import { payloadLength } from '../../dump/payload-cutter.js';
import type {
  ArchiveHeader,
  DumpRecord,
  ExtentsRecord,
  FileRecord,
  PayloadFile,
  PayloadRecord,
  Space,
} from '../../dump/records.js';
import { SUMS_MODE } from '../../dump/sums.js';
import { Breather } from '../../io/breathe.js';
import type { ByteOutput } from '../../io/byte-output.js';
import { ByteQueue, type MemoryBudget } from '../../io/byte-queue.js';
import { FilesSink, type FilesSinkOptions } from '../files-sink.js';
import { BLOCK, paddedBytes } from './block.js';
import { newHeader, resized } from './headers.js';

/** What was held is written in portions of this size. In between, the output may catch up. */
const PORTION_BYTES = 1024 * 1024;
const ZEROS = new Uint8Array(BLOCK);

export interface TarSinkOptions extends FilesSinkOptions {
  budget: MemoryBudget;
  /** Folder of the images in the archive, with a slash at its end, unless they come from an archive. */
  prefix?: string;
  /** Seconds since 1970, for files that have no header yet: by default 0, because a dump does not say when it was made. */
  mtimeSeconds?: number;
  /** Aborts the writing of what waited. */
  signal?: AbortSignal;
}

export class TarSink extends FilesSink {
  /** Bytes of all files of the dump. */
  bytes = 0;
  protected override readonly takesOutside = true;
  /** Of the file that is being written. */
  private fileSize = 0;
  /** Pagemap and pages of the space whose runs are coming, unless its pages are written as they come. */
  private incomplete: { pagemap: WaitingFile; pages: WaitingFile } | undefined;
  /** Folder of the images, with a slash at its end; for images from an archive, their folder there. */
  private prefix: string;
  private owesMark = false;

  constructor(
    private readonly out: ByteOutput,
    private readonly options: TarSinkOptions,
  ) {
    super(options);
    this.prefix = options.prefix ?? '';
  }

  override write(record: DumpRecord): void | Promise<void> {
    const written = super.write(record);
    return written ? written.then(() => this.out.drain()) : this.out.drain();
  }

  async finish(): Promise<void> {
    await this.out.commit();
  }

  async discard(): Promise<void> {
    this.incomplete?.pages.close();
    this.incomplete?.pagemap.close();
    await this.out.discard();
  }

  protected startFile(record: FileRecord): void | Promise<void> {
    // All runs of a space from an archive come at the same place. So the space is complete, and the order stays.
    if (record.header && this.currentSpace?.headers) return this.finishSpaces().then(() => this.beginFile(record));
    this.beginFile(record);
  }

  private beginFile({ header, size, name, kind, mode, target, outside }: FileRecord): void {
    this.fileSize = 0;
    if (header && !outside) this.prefix = header.name.slice(0, -name.length);
    if (!outside) this.putMark();
    const isSame = kind !== 'regular' || (!header?.isSparse && size === header?.storedBytes);
    if (!header) this.out.write(this.ownHeader(name, mode, size, kind, target));
    else this.out.write(outside || isSame ? header.blocks() : resized(header.blocks(), size));
  }

  protected override startSums(): void {
    this.owesMark = true;
  }

  protected fileBytes(bytes: Uint8Array, { name, outside }: FileRecord): void {
    if (!outside) this.sum(name, bytes);
    this.out.write(bytes);
    this.fileSize += bytes.length;
  }

  protected endFile({ outside, header }: FileRecord): void {
    // Of a sparse file outside of the dump, the map is in the header: padding counts both.
    this.pad(outside && header ? header.storedBytes : this.fileSize);
    if (!outside) this.bytes += this.fileSize;
  }

  protected startSpace(): void {
    const { budget } = this.options;
    this.incomplete = { pagemap: new WaitingFile(budget), pages: new WaitingFile(budget) };
  }

  protected pagemapBytes(bytes: Uint8Array): void {
    this.incomplete?.pagemap.push(bytes);
  }

  /** From an archive, all runs of a space come at the place of its pages, so they are written there anyway. */
  protected override async startPages(space: Space, bytes: number): Promise<boolean> {
    if (!this.incomplete || !space.headers) return false;
    const { pagemap } = this.incomplete;
    await this.putImage(space.pagemap, space.pagemapMode, pagemap, space.headers.pagemap);
    this.startImage(pagesName(space), space.pagesMode, bytes, space.headers.pages);
    this.incomplete = undefined;
    this.fileSize = 0;
    return true;
  }

  protected pagesBytes(bytes: Uint8Array, space: Space): void {
    if (this.incomplete) {
      this.incomplete.pages.push(bytes);
      return;
    }
    this.sum(pagesName(space), bytes);
    this.out.write(bytes);
    this.fileSize += bytes.length;
  }

  protected override takeExtents(record: ExtentsRecord, target: FileRecord | Space): boolean {
    if ('type' in target || !this.incomplete) {
      for (const bytes of this.extents.readOrCopy(record, this.copyFrom)) {
        if (!('type' in target)) this.sum(pagesName(target), bytes);
        this.out.write(bytes);
      }
      this.fileSize += payloadLength(record);
      return true;
    }
    if (!(record.file.isLasting || record.file.keep)) return false;
    this.incomplete.pages.refer(record);
    return true;
  }

  protected async endSpace(space: Space): Promise<void> {
    if (!this.incomplete) {
      this.endImage(this.fileSize);
      return;
    }
    const { pagemap, pages } = this.incomplete;
    await this.putImage(space.pagemap, space.pagemapMode, pagemap, space.headers?.pagemap);
    await this.putImage(pagesName(space), space.pagesMode, pages, space.headers?.pages);
    this.incomplete = undefined;
  }

  protected end(): void {
    // Two blocks of zeros end an archive.
    for (let i = 0; i < 2; i++) this.out.write(ZEROS);
  }

  private ownHeader(
    name: string,
    mode: number,
    size: number,
    kind: FileRecord['kind'] = 'regular',
    target?: Uint8Array,
  ): Uint8Array {
    const { mtimeSeconds = 0 } = this.options;
    const type = { regular: '0', link: '2', directory: '5' }[kind];
    return newHeader(`${this.prefix}${name}`, mode, size, mtimeSeconds, type, target && Buffer.from(target).toString());
  }

  private pad(bytes: number): void {
    this.out.write(ZEROS.subarray(0, paddedBytes(bytes) - bytes));
  }

  private readonly copyFrom: CopyRange = (place, position, bytes) =>
    this.sums ? 0 : (this.out.copyFrom?.(place, position, bytes) ?? 0);

  /** The mark is in front of the first file of the dump: then the folder of the images is known. */
  private putMark(): void {
    if (!this.owesMark) return;
    this.owesMark = false;
    this.out.write(this.ownHeader(SUMS_MARK, SUMS_MODE, 0));
  }

  private async putImage(name: string, mode: number, file: WaitingFile, header?: ArchiveHeader): Promise<void> {
    this.startImage(name, mode, file.size, header);
    const breather = new Breather();
    for (const record of file.take()) {
      for (const bytes of record.type === 'bytes' ? [record.bytes] : this.extents.readOrCopy(record, this.copyFrom)) {
        this.sum(name, bytes);
        this.out.write(bytes);
        const drained = this.out.drain();
        if (drained) await drained;
      }
      await breather.due();
      this.options.signal?.throwIfAborted();
    }
    const { size } = file;
    file.close();
    this.endImage(size);
  }

  private startImage(name: string, mode: number, size: number, header?: ArchiveHeader): void {
    if (this.owesMark && header) this.prefix = header.name.slice(0, -name.length);
    this.putMark();
    this.out.write(header ? resized(header.blocks(), size) : this.ownHeader(name, mode, size));
  }

  private endImage(size: number): void {
    this.pad(size);
    this.bytes += size;
  }
}

/** A file whose size is not known yet. Bytes are held; payload by reference is not read. */
class WaitingFile {
  /** Bytes. */
  size = 0;
  /** References, and how many bytes of the queue come between them. */
  private readonly parts: (ExtentsRecord | number)[] = [];
  private readonly queue: ByteQueue;
  /** Files that are referred to and do not last, with what lets go of them. */
  private readonly kept = new Map<PayloadFile, () => void>();

  constructor(budget: MemoryBudget) {
    this.queue = new ByteQueue(budget);
  }

  /** Takes a copy of bytes. Throws {@link DumpError} SYSTEM if the disk is full. */
  push(bytes: Uint8Array): void {
    this.queue.push(bytes);
    this.size += bytes.length;
    const last = this.parts.length - 1;
    if (typeof this.parts[last] === 'number') (this.parts[last] as number) += bytes.length;
    else this.parts.push(bytes.length);
  }

  refer(record: ExtentsRecord): void {
    const { file } = record;
    if (file.keep && !this.kept.has(file)) this.kept.set(file, file.keep());
    this.parts.push(record);
    this.size += payloadLength(record);
  }

  /** All of it, in portions that are valid until the next one is asked for. */
  *take(): Generator<PayloadRecord> {
    for (const part of this.parts) {
      if (typeof part !== 'number') yield* portions(part);
      else for (let left = part; left > 0; left -= PORTION_BYTES) yield* this.queue.take(Math.min(left, PORTION_BYTES));
    }
  }

  close(): void {
    for (const release of this.kept.values()) release();
    this.kept.clear();
    this.queue.close();
  }
}
