/** The cold half of a split dump, with random access: the original pagemaps, its own pagemaps, and pages. */
import { type DumpFiles, payloadFile, requireImage, sizeOf } from '../dump/files.js';
import { Images } from '../dump/images.js';
import { isOriginalName, originalName, pagemapOf, pagesName, spaceIdentity } from '../dump/names.js';
import { decodePagemap, readPagemap } from '../dump/pagemap.js';
import type { PayloadFile, Space } from '../dump/records.js';
import { readTasks } from '../dump/tasks.js';
import { DumpError } from '../errors.js';
import { PagemapDecoder } from '../image/pagemap.js';
import type { RunBatch } from '../memory/runs.js';

export class ColdHalf {
  /** Names of the original pagemaps. */
  readonly originals: readonly string[];

  /**
   * @param files closed by their owner
   * @throws {DumpError} MISSING_IMAGE if it is not a cold half
   */
  constructor(private readonly files: DumpFiles) {
    const names = files.entries().map(({ name }) => name);
    this.originals = names.filter(isOriginalName);
    if (this.originals.length === 0) {
      throw new DumpError(
        'MISSING_IMAGE',
        `not the cold half of a split dump: it has no ${originalName('pagemap-*.img')}`,
        { file: files.path },
      );
    }
  }

  /** The original pagemap of a space, in batches. Throws {@link DumpError} NOT_HALVES if it is from another dump. */
  *original(space: Space, pageSize: number): Generator<RunBatch> {
    const name = originalName(space.pagemap);
    const decoder = new PagemapDecoder(pageSize, name);
    const check = () => {
      if (decoder.head && Buffer.compare(decoder.head, space.head) === 0) return;
      throw new DumpError('NOT_HALVES', `the halves are not from one dump: they differ in pagemap_head`, {
        file: name,
      });
    };
    for (const runs of decodePagemap(this.files, name, decoder)) {
      check();
      yield runs;
    }
    check();
  }

  /** The runs of a space in this half, in batches; none for shared memory. */
  *runs(space: Space, pageSize: number): Generator<RunBatch> {
    if (space.kind === 'shmem' && !this.files.stat(space.pagemap)) return;
    requireImage(this.files, space.pagemap, originalName(space.pagemap));
    for (const { runs } of readPagemap(this.files, space.pagemap, pageSize, false)) yield runs;
  }

  /**
   * Whether an original pagemap is one that an earlier dump had left. Where a dump is read from front to back, `split` does not
   * know that until it is written, and later the hot half is read without it.
   */
  isLeftover(original: string): boolean {
    const pagemap = pagemapOf(original);
    const { pid } = spaceIdentity(pagemap);
    return pid !== undefined && this.files.stat(pagemap) !== undefined && !this.pids().has(pid);
  }

  private pids(): ReadonlySet<number> {
    const { tasks } = readTasks(new Images(this.files), this.files.path, [], true);
    return new Set(tasks.map(({ pid }) => pid));
  }

  /** The pages of a space that has {@link runs} in this half. */
  pages(space: Space): PayloadFile {
    const name = pagesName(space);
    return payloadFile(this.files, name, sizeOf(this.files, name));
  }
}
