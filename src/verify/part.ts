/**
 * The part of a check that is done for one slice of a dump. The bytes of pages files and the files that a template maps are
 * divided, because they may be large. All the rest is done for the first slice. Each finding has a number that says where it
 * comes in the report of a check of everything.
 */
import type { SummedBlocks } from '../dump/files.js';
import { isPagesName } from '../dump/names.js';
import { type Slice, shareOf } from '../dump/slice.js';
import type { Finding } from './findings.js';

/** A finding of a slice. */
export interface OrderedFinding extends Finding {
  /** Findings of all slices are in the order of these numbers. */
  order: number;
}

/** Numbers of findings about mapped files begin here, which are the last ones. */
const MAPPED = 2 ** 50;

export class VerifiedPart {
  /** Whether the checks of metadata are done for this slice. */
  readonly isFirst: boolean;
  private order = 0;
  private isCounting = false;
  /** Blocks of pages files that have passed, and those of the slice. */
  private pagesBlocks = 0;
  private readonly blocks: { from: number; to: number };

  constructor(
    private readonly slice: Slice,
    summed: SummedBlocks | undefined,
  ) {
    this.isFirst = slice.number === 1;
    let blocks = 0;
    for (const [name, count] of summed?.toCompare ?? []) if (isPagesName(name)) blocks += count;
    this.blocks = shareOf(blocks, slice);
    this.metadataOrder = summed?.blocks ?? 0;
  }

  private readonly metadataOrder: number;

  /** Numbers a finding. */
  take(finding: Finding): OrderedFinding {
    const order = this.isCounting ? this.order++ : this.order;
    return { ...finding, order };
  }

  /** Whether a block is compared for this slice. @param number among all blocks */
  hasBlock(name: string, number: number): boolean {
    this.order = number;
    if (!isPagesName(name)) return this.isFirst;
    const at = this.pagesBlocks++;
    return at >= this.blocks.from && at < this.blocks.to;
  }

  /** The checks of metadata begin. */
  beginMetadata(): void {
    this.order = this.metadataOrder;
    this.isCounting = true;
  }

  /** Whether a mapped file is checked for this slice. */
  hasMapped(index: number): boolean {
    this.order = MAPPED + index;
    this.isCounting = false;
    return index % this.slice.of === this.slice.number - 1;
  }
}
