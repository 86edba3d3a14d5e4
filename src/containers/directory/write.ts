/**
 * Records into a directory. Runs become pagemap entries as `rebuild` left them, and payload goes into pages files and other
 * files. The directory does not appear before {@link DirectorySink.finish}.
 */
import { pagesName } from '../../dump/names.js';
import type { ExtentsRecord, FileRecord, Space } from '../../dump/records.js';
import { invariant } from '../../errors.js';
import type { AtomicDirectoryOptions } from '../../io/atomic-directory.js';
import type { OutputFile } from '../../io/output-file.js';
import { FilesSink, type FilesSinkOptions } from '../files-sink.js';
import type { Written } from '../written.js';
import { DumpDirectory } from './dump-directory.js';

export interface DirectorySinkOptions extends AtomicDirectoryOptions, FilesSinkOptions {}

/** Writes a dump directory; {@link discard} leaves nothing of it. */
export class DirectorySink extends FilesSink {
  private readonly directory: DumpDirectory;
  private regular: OutputFile | undefined;
  private pages: OutputFile | undefined;
  private pagemap: OutputFile | undefined;
  private ended = false;

  constructor(path: string, options: DirectorySinkOptions = {}) {
    super(options);
    this.directory = new DumpDirectory(path, options);
  }

  /** Where the directory is until it is finished. */
  get temporary(): string {
    return this.directory.temporary;
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

  protected fileBytes(bytes: Uint8Array, { name }: FileRecord): void {
    this.sum(name, bytes);
    this.regular?.write(bytes);
  }

  protected endFile(): void | Promise<void> {
    const { regular } = this;
    this.regular = undefined;
    return regular && this.directory.finishFile(regular);
  }

  protected startSpace(space: Space): void {
    this.pages = this.directory.addFile(pagesName(space), space.pagesMode);
    this.pagemap = this.directory.addFile(space.pagemap, space.pagemapMode);
  }

  protected pagemapBytes(bytes: Uint8Array, { pagemap }: Space): void {
    this.sum(pagemap, bytes);
    this.pagemap?.write(bytes);
  }

  protected pagesBytes(bytes: Uint8Array, space: Space): void {
    this.sum(pagesName(space), bytes);
    this.pages?.write(bytes);
  }

  protected override takeExtents(record: ExtentsRecord, target: FileRecord | Space): boolean {
    const out = 'type' in target ? this.regular : this.pages;
    if (!out || this.sums) return false;
    for (const piece of this.extents.readOrCopy(record, out.copyFrom)) out.write(piece);
    return true;
  }

  protected async endSpace(): Promise<void> {
    if (this.pages) await this.directory.finishFile(this.pages);
    if (this.pagemap) await this.directory.finishFile(this.pagemap);
  }

  protected end(): void {
    this.ended = true;
  }
}
