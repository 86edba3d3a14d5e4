/**
 * Records into a directory. Runs become pagemap entries as `rebuild` left them, and payload goes into pages files and other
 * files. The directory does not appear before {@link DirectorySink.finish}.
 */
import { extentOf } from '../../dump/extents.js';
import { pagesName } from '../../dump/names.js';
import type { ExtentsRecord, FileRecord, Space } from '../../dump/records.js';
import { invariant } from '../../errors.js';
import type { AtomicDirectoryOptions } from '../../io/atomic-directory.js';
import { LOAD_AFTER_BYTES } from '../../io/linux.js';
import type { OutputFile } from '../../io/output-file.js';
import { FilesSink, type FilesSinkOptions } from '../files-sink.js';
import { DumpDirectory, type Written } from './dump-directory.js';

/** Smaller extents are read, because pieces of several go into one write. */
const KERNEL_BYTES = 256 * 1024;

export interface DirectorySinkOptions extends AtomicDirectoryOptions, FilesSinkOptions {}

/** Writes a dump directory; {@link discard} leaves nothing of it. */
export class DirectorySink extends FilesSink {
  private readonly directory: DumpDirectory;
  private regular: OutputFile | undefined;
  private pages: OutputFile | undefined;
  private pagemap: OutputFile | undefined;
  private ended = false;
  /** Of extents. */
  private payloadBytes = 0;

  constructor(path: string, options: DirectorySinkOptions = {}) {
    super(options.progress);
    this.directory = new DumpDirectory(path, options);
  }

  get written(): Written {
    return { ...this.directory.written, holePages: this.holePages };
  }

  /** Puts the directory in its place. */
  async finish(): Promise<void> {
    invariant(this.ended, 'a dump has an end');
    await this.directory.commit(this.header.directoryMode);
  }

  /** Closes and removes everything. */
  async discard(): Promise<void> {
    await this.directory.discard();
  }

  protected startFile({ kind, name, mode, target }: FileRecord): void {
    if (kind === 'directory') this.directory.addFolder(name, mode);
    else if (kind === 'link') this.directory.addLink(name, target ?? new Uint8Array(0));
    else this.regular = this.directory.addFile(name, mode);
  }

  protected fileBytes(bytes: Uint8Array): void {
    this.regular?.write(bytes);
  }

  protected async endFile(): Promise<void> {
    if (this.regular) await this.directory.finishFile(this.regular);
    this.regular = undefined;
  }

  protected startSpace(space: Space): void {
    this.pages = this.directory.addFile(pagesName(space), space.pagesMode);
    this.pagemap = this.directory.addFile(space.pagemap, space.pagemapMode);
  }

  protected pagemapBytes(bytes: Uint8Array): void {
    this.pagemap?.write(bytes);
  }

  protected pagesBytes(bytes: Uint8Array): void {
    this.pages?.write(bytes);
  }

  /** The kernel copies large extents. The others, and what it does not copy, are read here. */
  protected override takeExtents({ file, extents }: ExtentsRecord, target: FileRecord | Space): boolean {
    const out = 'type' in target ? this.regular : this.pages;
    if (!out || !this.isLarge(extents)) return false;
    for (let i = 0; i < extents.length; i += 2) {
      const [position, bytes] = [extents[i] as number, extents[i + 1] as number];
      const place = bytes >= KERNEL_BYTES ? file.place?.() : undefined;
      const copied = place ? out.copyFrom(place, position, bytes) : 0;
      if (copied === bytes) continue;
      for (const piece of this.extents.read(extentOf(file, position + copied, bytes - copied))) out.write(piece);
    }
    return true;
  }

  private isLarge(extents: Float64Array): boolean {
    let isLarge = false;
    for (let i = 1; i < extents.length; i += 2) {
      const bytes = extents[i] as number;
      isLarge ||= bytes >= KERNEL_BYTES;
      this.payloadBytes += bytes;
    }
    return isLarge && this.payloadBytes >= LOAD_AFTER_BYTES;
  }

  protected async endSpace(): Promise<void> {
    if (this.pages) await this.directory.finishFile(this.pages);
    if (this.pagemap) await this.directory.finishFile(this.pagemap);
  }

  protected end(): void {
    this.ended = true;
  }
}
