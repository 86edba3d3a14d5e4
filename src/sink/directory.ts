/**
 * Records into a directory: the encoder. Runs become pagemap entries as `rebuild` left them, payload goes to the pages
 * files and to all others. Nothing is seen of it before {@link DirectorySink.finish}.
 */
import { closeSync, constants, existsSync, fchmodSync, fdatasync, openSync, symlinkSync, writeSync } from 'node:fs';
import { join, posix } from 'node:path';
import { promisify } from 'node:util';
import { crc32 } from '../crc.js';
import { DumpError, invariant, onFile, systemError } from '../errors.js';
import { PE_LAZY, PE_PARENT, PE_PRESENT, type RunBatch } from '../memory/runs.js';
import type { RecordSink } from '../pump.js';
import {
  checkLink,
  type DumpRecord,
  type FileRecord,
  type HeaderRecord,
  type PayloadRecord,
  pagesName,
  type Space,
} from '../records.js';
import { rebuild } from '../stages/rebuild.js';
import { ExtentReader, FILE_PIECE_BYTES } from '../stream/extents.js';
import { AtomicDirectory, type AtomicDirectoryOptions } from './atomic-directory.js';
import { PagemapWriter } from './pagemap-writer.js';

const fdatasyncAsync = promisify(fdatasync);

/** After so many bytes the disk is told to begin. */
const SYNC_EVERY_BYTES = 64 * 1024 * 1024;

/** A file that is being written. */
class OutputFile {
  private readonly fd: number;
  private open = true;
  private unsynced = 0;
  private syncing: Promise<void> | undefined;
  private syncError: unknown;
  /** Written so far. */
  bytes = 0;

  constructor(
    private readonly directory: AtomicDirectory,
    readonly name: string,
    private readonly mode: number,
  ) {
    const flags = constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL | constants.O_NOFOLLOW;
    this.fd = onFile(name, () => openSync(join(directory.temporary, name), flags, 0o600));
  }

  write(bytes: Uint8Array): void {
    for (let done = 0; done < bytes.length; ) {
      const left = bytes.length - done;
      const count = onFile(this.name, () => writeSync(this.fd, bytes, done, left, this.bytes), this.bytes);
      done += count;
      this.bytes += count;
    }
    this.unsynced += bytes.length;
    if (this.unsynced >= SYNC_EVERY_BYTES) this.syncInBackground();
  }

  /** Lets the disk work while pages arrive, so that the last sync has little left to do. */
  private syncInBackground(): void {
    if (this.syncing) return;
    this.unsynced = 0;
    // The system tells of a failure once, so it is kept for finish().
    this.syncing = fdatasyncAsync(this.fd)
      .catch((error) => {
        this.syncError ??= systemError(error, this.name);
      })
      .finally(() => {
        this.syncing = undefined;
      });
  }

  /** Gives the file its mode, syncs and closes it. */
  async finish(): Promise<void> {
    await this.syncing;
    if (this.syncError) throw this.syncError;
    onFile(this.name, () => fchmodSync(this.fd, this.mode));
    this.open = false;
    await this.directory.finishFile(this.fd, this.name);
  }

  /** Closes a file that is not finished. */
  async abandon(): Promise<void> {
    if (!this.open) return;
    this.open = false;
    await this.syncing;
    closeSync(this.fd);
  }
}

/** Pagemap and pages of the space whose runs are coming. */
class SpaceOutput {
  readonly pages: OutputFile;
  readonly pagemap: OutputFile | undefined;
  readonly entries: PagemapWriter;

  constructor(
    directory: AtomicDirectory,
    readonly space: Space,
    pageSize: number,
  ) {
    this.pages = new OutputFile(directory, pagesName(space), space.pagesMode);
    try {
      this.pagemap = new OutputFile(directory, space.pagemap, space.pagemapMode);
      this.entries = new PagemapWriter(space, pageSize, (bytes) => this.pagemap?.write(bytes));
    } catch (error) {
      void this.abandon();
      throw error;
    }
  }

  /** Written so far. */
  get bytes(): number {
    return this.pages.bytes + (this.pagemap?.bytes ?? 0);
  }

  async finish(): Promise<void> {
    this.entries.end();
    await this.pages.finish();
    await this.pagemap?.finish();
  }

  async abandon(): Promise<void> {
    await this.pages.abandon();
    await this.pagemap?.abandon();
  }
}

/** What was written, for the reports. */
export interface Written {
  files: number;
  /** Bytes of all regular files. */
  bytes: number;
  /** Pages that stand in a pagemap as lazy, and nowhere else in the directory. */
  holePages: number;
  /** Whether the link to a parent dump leads nowhere from the new place. */
  parentMissing: boolean;
}

export interface DirectorySinkOptions extends AtomicDirectoryOptions {
  /** Told of the bytes of each piece of payload. */
  progress?: (bytes: number) => void;
}

/** Writes a dump directory; {@link discard} leaves nothing of it. */
export class DirectorySink implements RecordSink {
  readonly written: Written = { files: 0, bytes: 0, holePages: 0, parentMissing: false };
  private readonly directory: AtomicDirectory;
  private readonly extents = new ExtentReader(FILE_PIECE_BYTES);
  private readonly joinRebuilt = rebuild();
  private header: HeaderRecord | undefined;
  private file: OutputFile | undefined;
  private readonly folders = new Set<string>();
  private readonly waiting: Space[] = [];
  private current: SpaceOutput | undefined;
  private payloadLeft = 0;
  private payloadCrc: number | undefined;
  private ended = false;

  constructor(
    path: string,
    private readonly options: DirectorySinkOptions = {},
  ) {
    this.directory = new AtomicDirectory(path, options);
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
        this.countHoles(runs);
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
    this.written.parentMissing &&= !existsSync(join(this.directory.path, 'parent'));
  }

  /** Closes and removes everything. */
  async discard(): Promise<void> {
    await this.file?.abandon();
    this.file = undefined;
    await this.current?.abandon();
    this.current = undefined;
    await this.directory.discard();
  }

  private startFile(record: FileRecord): void {
    this.checkFolder(record.name);
    if (record.name === 'parent' && record.kind !== 'link') {
      throw new DumpError('BAD_NAME', `expected a link to the parent dump, found a ${record.kind}`, {
        file: record.name,
      });
    }
    this.written.files++;
    if (record.kind === 'directory') {
      this.directory.addFolder(record.name, record.mode);
      this.folders.add(record.name);
    } else if (record.kind === 'link') {
      this.addLink(record.name, record.target ?? new Uint8Array(0));
    } else {
      this.file = new OutputFile(this.directory, record.name, record.mode);
      this.startPayload(record.size, record.checked);
    }
  }

  /** A file lies in a folder that was made here, never behind a link. */
  private checkFolder(name: string): void {
    const folder = posix.dirname(name);
    if (folder !== '.' && !this.folders.has(folder)) {
      throw new DumpError('BAD_NAME', `expected a folder ${JSON.stringify(folder)} before this file, found none`, {
        file: name,
      });
    }
  }

  private addLink(name: string, target: Uint8Array): void {
    checkLink(name, Buffer.from(target).toString());
    onFile(name, () => symlinkSync(Buffer.from(target), join(this.directory.temporary, name)));
    if (name === 'parent') this.written.parentMissing = true;
  }

  /** Finishes the spaces before this one: those without runs get their empty images. */
  private async turnTo(space: Space | undefined): Promise<void> {
    if (space && this.current?.space.index === space.index) return;
    await this.finishCurrent();
    while (this.waiting.length > 0) {
      const next = this.waiting.shift() as Space;
      this.current = new SpaceOutput(this.directory, next, this.pageSize);
      this.written.files += 2;
      if (next.index === space?.index) return;
      await this.finishCurrent();
    }
    invariant(!space, 'runs follow their space');
  }

  private async finishCurrent(): Promise<void> {
    const { current } = this;
    if (!current) return;
    await current.finish();
    this.current = undefined;
    this.written.bytes += current.bytes;
  }

  private async finishFile(): Promise<void> {
    invariant(this.payloadLeft === 0, 'payload is complete before the next record');
    const { file } = this;
    if (!file) return;
    await file.finish();
    this.file = undefined;
    this.written.bytes += file.bytes;
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

  private countHoles({ bits, pages }: RunBatch): void {
    for (let i = 0; i < bits.length; i++) {
      if (((bits[i] as number) & (PE_LAZY | PE_PRESENT | PE_PARENT)) === PE_LAZY) {
        this.written.holePages += pages[i] as number;
      }
    }
  }

  private get pageSize(): number {
    invariant(this.header, 'the header comes first');
    return this.header.pageSize;
  }
}
