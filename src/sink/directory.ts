/**
 * Records into a directory: the encoder. Runs become pagemap entries as `rebuild` left them, payload goes to the pages
 * files and to all others. Nothing is seen of it before {@link DirectorySink.finish}.
 */
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
import type { AtomicDirectoryOptions } from './atomic-directory.js';
import { DumpDirectory, type Written } from './dump-directory.js';
import { countHolePages } from './holes.js';
import type { OutputFile } from './output-file.js';
import { PagemapWriter } from './pagemap-writer.js';

/** Pagemap and pages of the space whose runs are coming. */
class SpaceOutput {
  readonly pages: OutputFile;
  readonly pagemap: OutputFile;
  readonly entries: PagemapWriter;

  constructor(
    directory: DumpDirectory,
    readonly space: Space,
    pageSize: number,
  ) {
    this.pages = directory.addFile(pagesName(space), space.pagesMode);
    this.pagemap = directory.addFile(space.pagemap, space.pagemapMode);
    this.entries = new PagemapWriter(space, pageSize, (bytes) => this.pagemap.write(bytes));
  }
}

export interface DirectorySinkOptions extends AtomicDirectoryOptions {
  /** Told of the bytes of each piece of payload. */
  progress?: (bytes: number) => void;
}

/** Writes a dump directory; {@link discard} leaves nothing of it. */
export class DirectorySink implements RecordSink {
  private readonly directory: DumpDirectory;
  private readonly extents = new ExtentReader(FILE_PIECE_BYTES);
  private readonly joinRebuilt = rebuild();
  private header: HeaderRecord | undefined;
  private file: OutputFile | undefined;
  private readonly waiting: Space[] = [];
  private current: SpaceOutput | undefined;
  private payloadLeft = 0;
  private payloadCrc: number | undefined;
  private ended = false;

  constructor(
    path: string,
    private readonly options: DirectorySinkOptions = {},
  ) {
    this.directory = new DumpDirectory(path, options);
  }

  get written(): Written {
    return this.directory.written;
  }

  write(record: DumpRecord): void | Promise<void> {
    if (record.type === 'bytes') this.payload(record.bytes);
    else if (record.type === 'extents') for (const bytes of this.extents.read(record)) this.payload(bytes);
    else return this.writeOther(record);
  }

  private async writeOther(record: Exclude<DumpRecord, PayloadRecord>): Promise<void> {
    switch (record.type) {
      case 'header':
        this.header = record;
        this.joinRebuilt(record);
        break;
      case 'file':
        await this.finishFile();
        this.startFile(record);
        break;
      case 'space':
        await this.finishFile();
        this.waiting.push(record.space);
        break;
      case 'areas':
        break;
      case 'runs': {
        await this.finishFile();
        await this.turnTo(record.space);
        // Runs that were not rebuilt are, with the default; on rebuilt ones this changes nothing.
        const { runs } = this.joinRebuilt(record) as typeof record;
        this.written.holePages += countHolePages(runs);
        this.current?.entries.add(runs);
        this.startPayload(runs.payloadBytes, record.checked);
        break;
      }
      case 'check':
        if (this.payloadCrc !== undefined && this.payloadCrc !== record.crc32) {
          throw new DumpError('STREAM_DAMAGED', 'the payload does not match its checksum', {
            file: this.target.name,
          });
        }
        break;
      default:
        await this.finishFile();
        await this.turnTo(undefined);
        this.ended = true;
    }
  }

  /** Puts the directory in its place. */
  async finish(): Promise<void> {
    invariant(this.ended && this.header, 'a dump has a header and an end');
    await this.directory.commit(this.header.directoryMode);
  }

  /** Closes and removes everything. */
  async discard(): Promise<void> {
    await this.directory.discard();
  }

  private startFile({ kind, name, mode, size, target, checked }: FileRecord): void {
    if (kind === 'directory') {
      this.directory.addFolder(name, mode);
    } else if (kind === 'link') {
      this.directory.addLink(name, target ?? new Uint8Array(0));
    } else {
      this.file = this.directory.addFile(name, mode);
      this.startPayload(size, checked);
    }
  }

  /** Finishes the spaces before this one: those without runs get their empty images. */
  private async turnTo(space: Space | undefined): Promise<void> {
    if (space && this.current?.space.index === space.index) return;
    await this.finishCurrent();
    while (this.waiting.length > 0) {
      const next = this.waiting.shift() as Space;
      this.current = new SpaceOutput(this.directory, next, this.pageSize);
      if (next.index === space?.index) return;
      await this.finishCurrent();
    }
    invariant(!space, 'runs follow their space');
  }

  private async finishCurrent(): Promise<void> {
    const { current } = this;
    if (!current) return;
    current.entries.end();
    await this.directory.finishFile(current.pages);
    await this.directory.finishFile(current.pagemap);
    this.current = undefined;
  }

  private async finishFile(): Promise<void> {
    invariant(this.payloadLeft === 0, 'payload is complete before the next record');
    if (this.file) await this.directory.finishFile(this.file);
    this.file = undefined;
  }

  private startPayload(bytes: number, checked: boolean): void {
    this.payloadLeft = bytes;
    this.payloadCrc = checked && bytes > 0 ? 0 : undefined;
  }

  private get target(): OutputFile {
    const target = this.file ?? this.current?.pages;
    invariant(target, 'payload follows a file or runs');
    return target;
  }

  private payload(bytes: Uint8Array): void {
    if (this.payloadCrc !== undefined) this.payloadCrc = crc32(bytes, this.payloadCrc);
    this.target.write(bytes);
    this.payloadLeft -= bytes.length;
    this.options.progress?.(bytes.length);
  }

  private get pageSize(): number {
    invariant(this.header, 'the header comes first');
    return this.header.pageSize;
  }
}
