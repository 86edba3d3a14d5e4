/** The cold half of a split dump, read here and there: pagemaps as they were, pagemaps of its own, and pages. */
import { readdirSync } from 'node:fs';
import type { ImageIndex } from '../archive/image-index.js';
import { DumpError, onFile } from '../errors.js';
import { PagemapDecoder } from '../image/pagemap.js';
import type { RunBatch } from '../memory/runs.js';
import { type PayloadFile, pagesName, type Space } from '../records.js';
import { isOriginalName, originalName } from '../stages/cold.js';
import { FilePool } from './files.js';
import { decodePagemap, readPagemap } from './pagemap.js';
import { requireImage } from './tasks.js';

export class ColdHalf {
  private readonly files: FilePool;
  private readonly names: ReadonlySet<string>;

  /**
   * @param path of the directory, or of what the index is of, which its owner closes
   * @throws {DumpError} MISSING_IMAGE if it is no cold half
   */
  constructor(path: string, index?: ImageIndex) {
    this.names = new Set(index ? index.names : onFile(path, () => readdirSync(path)));
    if (this.originals.length === 0) {
      throw new DumpError(
        'MISSING_IMAGE',
        `expected the cold half of a split dump, found no ${originalName('pagemap-*.img')}`,
        { file: path },
      );
    }
    this.files = new FilePool(path, index ? { index } : {});
  }

  /** Names of the pagemaps as they were. */
  get originals(): string[] {
    return [...this.names].filter(isOriginalName);
  }

  /** The pagemap of a space as it was, in batches. Throws {@link DumpError} NOT_HALVES if it is of another dump. */
  *original(space: Space, pageSize: number): Generator<RunBatch> {
    const name = originalName(space.pagemap);
    const decoder = new PagemapDecoder(pageSize, name);
    const check = () => {
      if (decoder.head && Buffer.compare(decoder.head, space.head) === 0) return;
      throw new DumpError('NOT_HALVES', `expected two halves of one dump, found another pagemap_head in the cold one`, {
        file: name,
      });
    };
    for (const runs of decodePagemap(this.files, name, decoder)) {
      check();
      yield runs;
    }
    check();
  }

  /** What of a space is here, in batches; nothing of shared memory. */
  *runs(space: Space, pageSize: number): Generator<RunBatch> {
    if (space.kind === 'shmem' && !this.names.has(space.pagemap)) return;
    requireImage(this.names, space.pagemap, originalName(space.pagemap));
    for (const { runs } of readPagemap(this.files, space.pagemap, pageSize, false)) yield runs;
  }

  /** The pages of a space, of which {@link runs} are here. */
  pages(space: Space): PayloadFile {
    const name = pagesName(space);
    return this.files.payload(name, this.files.sizeOf(name));
  }

  close(): void {
    this.files.close();
  }
}
