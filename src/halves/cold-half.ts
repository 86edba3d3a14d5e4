/** The cold half of a split dump, open to random access: pagemaps as they were, pagemaps of its own, and pages. */
import { type DumpFiles, payloadFile, requireImage, sizeOf } from '../dump/files.js';
import { isOriginalName, originalName, pagesName } from '../dump/names.js';
import { decodePagemap, readPagemap } from '../dump/pagemap.js';
import type { PayloadFile, Space } from '../dump/records.js';
import { DumpError } from '../errors.js';
import { PagemapDecoder } from '../image/pagemap.js';
import type { RunBatch } from '../memory/runs.js';

export class ColdHalf {
  /** Names of the pagemaps as they were. */
  readonly originals: readonly string[];

  /**
   * @param files closed by their owner
   * @throws {DumpError} MISSING_IMAGE if it is no cold half
   */
  constructor(private readonly files: DumpFiles) {
    const names = files.entries().map(({ name }) => name);
    this.originals = names.filter(isOriginalName);
    if (this.originals.length === 0) {
      throw new DumpError(
        'MISSING_IMAGE',
        `expected the cold half of a split dump, found no ${originalName('pagemap-*.img')}`,
        { file: files.path },
      );
    }
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
    if (space.kind === 'shmem' && !this.files.stat(space.pagemap)) return;
    requireImage(this.files, space.pagemap, originalName(space.pagemap));
    for (const { runs } of readPagemap(this.files, space.pagemap, pageSize, false)) yield runs;
  }

  /** The pages of a space, of which {@link runs} are here. */
  pages(space: Space): PayloadFile {
    const name = pagesName(space);
    return payloadFile(this.files, name, sizeOf(this.files, name));
  }
}
