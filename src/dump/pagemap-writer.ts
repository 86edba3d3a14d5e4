/** Turns rebuilt runs into the bytes of a pagemap. An entry may have been cut in two by batches. */
import { encodePagemapStart, PagemapEncoder } from '../image/pagemap.js';
import { CONTINUES, joinRuns, type RunBatch, RunBuilder, sliceRuns } from '../memory/runs.js';
import type { Space } from './records.js';

export class PagemapWriter {
  private readonly encoder: PagemapEncoder;
  /** The last run, kept because the next batch may begin with more of the same entry. */
  private last: RunBatch | undefined;

  /** @param emit takes the bytes in order, and must not keep them after it returns */
  constructor(
    space: Space,
    private readonly pageSize: number,
    private readonly emit: (bytes: Uint8Array) => void,
  ) {
    this.encoder = new PagemapEncoder(pageSize);
    emit(encodePagemapStart(space.head, space.oneMagic));
  }

  add(runs: RunBatch): void {
    if (runs.bits.length === 0) return;
    // Most batches begin with an entry of their own, and are not copied.
    if (((runs.bits[0] as number) & CONTINUES) === 0) this.end();
    const joined = this.last ? this.joinToLast(this.last, runs) : joinRuns(runs, this.pageSize);
    const last = joined.bits.length - 1;
    this.emit(this.encoder.encode(joined, last));
    this.last = sliceRuns(joined, last, last + 1, this.pageSize);
  }

  end(): void {
    if (this.last) this.emit(this.encoder.encode(this.last));
    this.last = undefined;
  }

  private joinToLast(last: RunBatch, runs: RunBatch): RunBatch {
    const joined = new RunBuilder(this.pageSize, runs.bits.length + 1);
    joined.append(last);
    joined.append(runs);
    return joined.finish();
  }
}
