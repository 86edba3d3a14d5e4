/**
 * Records into a tar archive. What comes from an archive keeps its headers; only pagemaps and pages get new sizes. Those of a
 * space are held until it is complete, since a size stands before its bytes: in memory, and past the budget in a spill file.
 */
import { Spool, type SpoolBudget } from '../archive/spool.js';
import { BLOCK, newHeader, resized, type TarMember } from '../archive/tar.js';
import { Breather } from '../breathe.js';
import type { Emit } from '../bytes.js';
import { crc32 } from '../crc.js';
import { DumpError, invariant } from '../errors.js';
import type { RecordSink } from '../pump.js';
import {
  type DumpRecord,
  type FileRecord,
  type HeaderRecord,
  type PayloadRecord,
  pagesName,
  type Space,
} from '../records.js';
import { rebuild } from '../stages/rebuild.js';
import { ExtentReader, FILE_PIECE_BYTES } from '../stream/extents.js';
import { countHolePages } from './holes.js';
import { PagemapWriter } from './pagemap-writer.js';

/** Held pages are written in portions of so many bytes: in between, the output may catch up. */
const PORTION_BYTES = 1024 * 1024;

export interface TarSinkOptions {
  budget: SpoolBudget;
  /** Folder of the images in the archive, with a slash behind it, where they do not come from one. */
  prefix?: string;
  /** Seconds since 1970, for files that have no header yet. */
  mtimeSeconds?: number;
  /** Ends the writing of what was held. */
  signal?: AbortSignal;
  /** Told of the bytes of each piece of payload. */
  progress?: (bytes: number) => void;
}

/** The output of an archive: complete with {@link ByteOutput.commit}, or gone. */
export interface ByteOutput {
  write: Emit;
  /** May have more to write; resolves when it has taken what it got. */
  drain(): Promise<void>;
  commit(): void | Promise<void>;
  discard(): void | Promise<void>;
}

interface SpaceOutput {
  space: Space;
  pages: Spool;
  pagemap: Spool;
  entries: PagemapWriter;
}

/** What the archive holds, for the report. */
export class TarSink implements RecordSink {
  /** Bytes of all files of the dump. */
  bytes = 0;
  /** Pages that stand in a pagemap as lazy, and nowhere else in the archive. */
  holePages = 0;
  private readonly extents = new ExtentReader(FILE_PIECE_BYTES);
  private readonly joinRebuilt = rebuild();
  private header: HeaderRecord | undefined;
  private file: FileRecord | undefined;
  private fileBytes = 0;
  private readonly waiting: Space[] = [];
  private current: SpaceOutput | undefined;
  private crc: number | undefined;
  /** Folder of the images, with a slash behind it: of what comes from an archive, that which it has there. */
  private prefix: string;

  constructor(
    private readonly out: ByteOutput,
    private readonly options: TarSinkOptions,
  ) {
    this.prefix = options.prefix ?? '';
  }

  async write(record: DumpRecord): Promise<void> {
    if (record.type === 'bytes') this.payload(record.bytes);
    else if (record.type === 'extents') for (const bytes of this.extents.read(record)) this.payload(bytes);
    else await this.writeOther(record);
    await this.out.drain();
  }

  private async writeOther(record: Exclude<DumpRecord, PayloadRecord>): Promise<void> {
    switch (record.type) {
      case 'header':
        this.header = record;
        this.joinRebuilt(record);
        break;
      case 'file':
        this.finishFile();
        // In an archive the pages of a space stand together, so it is complete: the order stays.
        if (record.tar && this.current?.space.tar) await this.turnTo(undefined);
        this.startFile(record);
        break;
      case 'space':
        this.finishFile();
        this.waiting.push(record.space);
        break;
      case 'areas':
        break;
      case 'runs': {
        this.finishFile();
        await this.turnTo(record.space);
        const { runs } = this.joinRebuilt(record) as typeof record;
        this.holePages += countHolePages(runs);
        this.current?.entries.add(runs);
        this.crc = record.checked && runs.payloadBytes > 0 ? 0 : undefined;
        break;
      }
      case 'check':
        if (this.crc !== undefined && this.crc !== record.crc32) {
          throw new DumpError('STREAM_DAMAGED', 'the payload does not match its checksum', { file: this.targetName });
        }
        break;
      default:
        this.finishFile();
        await this.turnTo(undefined);
        // Two blocks of zeros end an archive.
        this.out.write(new Uint8Array(2 * BLOCK));
    }
  }

  async finish(): Promise<void> {
    await this.out.commit();
  }

  async discard(): Promise<void> {
    this.current?.pages.close();
    this.current?.pagemap.close();
    await this.out.discard();
  }

  private get targetName(): string {
    return this.file?.name ?? (this.current ? pagesName(this.current.space) : '');
  }

  private startFile(record: FileRecord): void {
    const { tar, size, name, kind, mode, target } = record;
    this.file = record;
    this.fileBytes = 0;
    this.crc = record.checked && size > 0 ? 0 : undefined;
    if (tar && !record.outside) this.prefix = tar.name.slice(0, -name.length);
    const isSame = kind !== 'regular' || (!tar?.sparse && size === tar?.storedBytes);
    if (tar && (record.outside || isSame)) this.out.write(tar.header);
    else if (tar) this.out.write(resized(tar, size));
    else this.out.write(this.ownHeader(name, mode, size, kind, target));
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

  private finishFile(): void {
    const { file } = this;
    if (!file) return;
    // Of a sparse file beside the dump, the map is in the header: padding counts both.
    this.pad(file.outside && file.tar ? file.tar.storedBytes : this.fileBytes);
    if (!file.outside) this.bytes += this.fileBytes;
    this.file = undefined;
  }

  private pad(bytes: number): void {
    this.out.write(new Uint8Array((BLOCK - (bytes % BLOCK)) % BLOCK));
  }

  private payload(bytes: Uint8Array): void {
    if (this.crc !== undefined) this.crc = crc32(bytes, this.crc);
    if (this.file) {
      this.out.write(bytes);
      this.fileBytes += bytes.length;
    } else {
      invariant(this.current, 'payload follows a file or runs');
      this.current.pages.push(bytes);
    }
    this.options.progress?.(bytes.length);
  }

  /** Finishes the spaces before this one: those without runs get their empty images. */
  private async turnTo(space: Space | undefined): Promise<void> {
    if (space && this.current?.space.index === space.index) return;
    await this.finishSpace();
    while (this.waiting.length > 0) {
      const next = this.waiting.shift() as Space;
      this.startSpace(next);
      if (next.index === space?.index) return;
      await this.finishSpace();
    }
    invariant(!space, 'runs follow their space');
  }

  private startSpace(space: Space): void {
    invariant(this.header, 'the header comes first');
    const pagemap = new Spool(this.options.budget);
    this.current = {
      space,
      pagemap,
      pages: new Spool(this.options.budget),
      entries: new PagemapWriter(space, this.header.pageSize, (bytes) => pagemap.push(bytes)),
    };
  }

  private async finishSpace(): Promise<void> {
    const { current } = this;
    if (!current) return;
    const { space, pages, pagemap, entries } = current;
    entries.end();
    await this.putImage(space.pagemap, space.pagemapMode, pagemap, space.tar?.pagemap);
    await this.putImage(pagesName(space), space.pagesMode, pages, space.tar?.pages);
    this.current = undefined;
  }

  private async putImage(name: string, mode: number, spool: Spool, tar: TarMember | undefined): Promise<void> {
    const { size } = spool;
    this.out.write(tar ? resized(tar, size) : this.ownHeader(name, mode, size));
    const breather = new Breather();
    while (spool.size > 0) {
      for (const record of spool.take(PORTION_BYTES)) {
        if (record.type === 'bytes') this.out.write(record.bytes);
        else for (const bytes of this.extents.read(record)) this.out.write(bytes);
      }
      await this.out.drain();
      await breather.due();
      this.options.signal?.throwIfAborted();
    }
    spool.close();
    this.pad(size);
    this.bytes += size;
  }
}
