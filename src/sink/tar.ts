/**
 * Records into a tar archive. What comes from an archive keeps its headers; only pagemaps and pages get new sizes. Those of a
 * space are held until it is complete, since a size stands before its bytes: in memory, and past the budget in a spill file.
 */
import { Spool, type SpoolBudget } from '../archive/spool.js';
import { BLOCK, newHeader, resized, type TarMember } from '../archive/tar.js';
import { Breather } from '../breathe.js';
import type { Emit } from '../bytes.js';
import { type DumpRecord, type FileRecord, pagesName, type Space } from '../records.js';
import { FilesSink, type FilesSinkOptions } from './files-sink.js';

/** Held pages are written in portions of so many bytes: in between, the output may catch up. */
const PORTION_BYTES = 1024 * 1024;

export interface TarSinkOptions extends FilesSinkOptions {
  budget: SpoolBudget;
  /** Folder of the images in the archive, with a slash behind it, where they do not come from one. */
  prefix?: string;
  /** Seconds since 1970, for files that have no header yet. */
  mtimeSeconds?: number;
  /** Ends the writing of what was held. */
  signal?: AbortSignal;
}

/** The output of an archive: complete with {@link ByteOutput.commit}, or gone. */
export interface ByteOutput {
  write: Emit;
  /** Where it has more to write than it can hold: resolves when it takes more. */
  drain(): void | Promise<void>;
  commit(): void | Promise<void>;
  discard(): void | Promise<void>;
}

/** Pagemap and pages of the space whose runs are coming. */
interface SpaceSpools {
  pagemap: Spool;
  pages: Spool;
}

export class TarSink extends FilesSink {
  /** Bytes of all files of the dump. */
  bytes = 0;
  /** Of the file that is being written. */
  private fileSize = 0;
  private held: SpaceSpools | undefined;
  /** Folder of the images, with a slash behind it: of what comes from an archive, that which it has there. */
  private prefix: string;

  constructor(
    private readonly out: ByteOutput,
    private readonly options: TarSinkOptions,
  ) {
    super(options.progress);
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
    this.held?.pages.close();
    this.held?.pagemap.close();
    await this.out.discard();
  }

  protected async startFile(record: FileRecord): Promise<void> {
    const { tar, size, name, kind, mode, target } = record;
    // In an archive the pages of a space stand together, so it is complete: the order stays.
    if (tar && this.currentSpace?.tar) await this.finishSpaces();
    this.fileSize = 0;
    if (tar && !record.outside) this.prefix = tar.name.slice(0, -name.length);
    const isSame = kind !== 'regular' || (!tar?.sparse && size === tar?.storedBytes);
    if (tar && (record.outside || isSame)) this.out.write(tar.header);
    else if (tar) this.out.write(resized(tar, size));
    else this.out.write(this.ownHeader(name, mode, size, kind, target));
  }

  protected fileBytes(bytes: Uint8Array): void {
    this.out.write(bytes);
    this.fileSize += bytes.length;
  }

  protected endFile({ outside, tar }: FileRecord): void {
    // Of a sparse file beside the dump, the map is in the header: padding counts both.
    this.pad(outside && tar ? tar.storedBytes : this.fileSize);
    if (!outside) this.bytes += this.fileSize;
  }

  protected startSpace(): void {
    this.held = { pagemap: new Spool(this.options.budget), pages: new Spool(this.options.budget) };
  }

  protected pagemapBytes(bytes: Uint8Array): void {
    this.held?.pagemap.push(bytes);
  }

  protected pagesBytes(bytes: Uint8Array): void {
    this.held?.pages.push(bytes);
  }

  protected async endSpace(space: Space): Promise<void> {
    if (!this.held) return;
    await this.putImage(space.pagemap, space.pagemapMode, this.held.pagemap, space.tar?.pagemap);
    await this.putImage(pagesName(space), space.pagesMode, this.held.pages, space.tar?.pages);
    this.held = undefined;
  }

  protected end(): void {
    // Two blocks of zeros end an archive.
    this.out.write(new Uint8Array(2 * BLOCK));
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
    this.out.write(new Uint8Array((BLOCK - (bytes % BLOCK)) % BLOCK));
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
