/**
 * Merges one address space of a split dump. The original pagemap and the pagemaps of both halves ascend, so one walk over all
 * three finds the half that each page is in.
 */

import type { DumpRecord, PayloadFile, Space } from '../dump/records.js';
import { DumpError } from '../errors.js';
import { RunCursor, type RunPart } from '../memory/run-cursor.js';
import { addressHex, hasPayload, type RunBatch, RunBuilder, sameBlocks } from '../memory/runs.js';
import type { ColdHalf } from './cold-half.js';

/** Runs per batch, about as many as a directory gives. */
const BATCH_RUNS = 4096;

export class SpaceMerger {
  private readonly original: RunCursor;
  private readonly cold: RunCursor;
  private readonly pages: PayloadFile | undefined;

  constructor(
    readonly space: Space,
    cold: ColdHalf,
    private readonly pageSize: number,
  ) {
    this.original = new RunCursor(cold.original(space, pageSize), pageSize);
    this.cold = new RunCursor(cold.runs(space, pageSize), pageSize);
    this.skipHoles();
    this.pages = this.cold.ended ? undefined : cold.pages(space);
  }

  /** Turns runs of the hot half into records. A number between them says how many bytes of their payload come there. */
  *merge(runs: RunBatch): Generator<DumpRecord | number> {
    const { space, original } = this;
    const last = runs.bits.length - 1;
    if (last < 0) return;
    const end = (runs.pageNumbers[last] as number) + (runs.pages[last] as number);
    const hot = new RunCursor([runs], this.pageSize);
    while (original.pageNumber < end) {
      const whole = this.wholeRuns(end);
      yield { type: 'runs', space, runs: whole, checked: false };
      yield* this.payload(new RunCursor([whole], this.pageSize), hot);
    }
    if (!hot.ended) throw this.mismatch(hot.pageNumber, 'only in the hot half');
  }

  /** Throws {@link DumpError} if pages are missing. */
  end(): void {
    if (!this.original.ended) throw this.mismatch(this.original.pageNumber, 'in neither half');
    if (!this.cold.ended) throw this.mismatch(this.cold.pageNumber, 'only in the cold half');
  }

  /** The next runs of the original pagemap, up to a page. */
  private wholeRuns(end: number): RunBatch {
    const { original } = this;
    const out = new RunBuilder(this.pageSize);
    while (original.pageNumber < end && out.length < BATCH_RUNS) {
      const { pageNumber, pages, bits, detail } = this.part(
        original,
        Math.min(original.pages, end - original.pageNumber),
      );
      out.push(pageNumber, pages, bits, detail);
    }
    return out.finish();
  }

  /** Payload of the cold half. A number in between says how many bytes of the hot half's payload come there. */
  private *payload(whole: RunCursor, hot: RunCursor): Generator<DumpRecord | number> {
    let hotBytes = 0;
    let extents: number[] = [];
    const { pages: file } = this;
    while (!whole.ended) {
      const { half, fileOffset, payloadBytes } = this.nextPart(whole, hot);
      if (payloadBytes === 0) continue;
      if (half === 'hot') {
        if (file && extents.length > 0) yield { type: 'extents', file, extents: Float64Array.from(extents) };
        extents = [];
        hotBytes += payloadBytes;
      } else {
        if (hotBytes > 0) yield hotBytes;
        hotBytes = 0;
        // Neighbors become one extent, which is read at once.
        const [from = 0, bytes = 0] = extents.slice(-2);
        if (bytes > 0 && from + bytes === fileOffset) extents[extents.length - 1] = bytes + payloadBytes;
        else extents.push(fileOffset, payloadBytes);
      }
    }
    if (file && extents.length > 0) yield { type: 'extents', file, extents: Float64Array.from(extents) };
    if (hotBytes > 0) yield hotBytes;
  }

  /** The next pages that are all in one half, or have no payload. */
  private nextPart(whole: RunCursor, hot: RunCursor): RunPart & { half: 'hot' | 'cold' } {
    const { cold } = this;
    const { pageNumber } = whole;
    if (hot.pageNumber < pageNumber) throw this.mismatch(hot.pageNumber, 'only in the hot half');
    if (hot.pageNumber > pageNumber) throw this.mismatch(pageNumber, 'in neither half');
    if (cold.pageNumber < pageNumber) throw this.mismatch(cold.pageNumber, 'only in the cold half');
    const isWanted = hasPayload(whole.bits);
    const inHot = hasPayload(hot.bits);
    const inCold = cold.pageNumber === pageNumber;
    if (Number(inHot) + Number(inCold) !== Number(isWanted)) {
      if (inHot && inCold) throw this.mismatch(pageNumber, 'in both halves');
      throw this.mismatch(pageNumber, isWanted ? 'in neither half' : `only in the ${inHot ? 'hot' : 'cold'} half`);
    }
    const pages = Math.min(whole.pages, hot.pages, inCold ? cold.pages : cold.pageNumber - pageNumber);
    const ofWhole = this.part(whole, pages);
    const ofHot = this.part(hot, pages);
    const stored = inCold ? this.part(cold, pages) : ofHot;
    this.skipHoles();
    if (isWanted && !sameBlocks(ofWhole.detail?.compressed, stored.detail?.compressed)) {
      throw this.mismatch(pageNumber, 'compressed differently than in the original');
    }
    return { ...stored, half: inCold ? 'cold' : 'hot' };
  }

  /** Skips pages that had no payload before the dump was split; the cold pagemap has them, too. */
  private skipHoles(): void {
    const { cold } = this;
    while (!cold.ended && !hasPayload(cold.bits)) cold.take(cold.pages);
  }

  private part(cursor: RunCursor, pages: number): RunPart {
    const { pageNumber } = cursor;
    const part = cursor.take(pages);
    if (!part) throw this.mismatch(pageNumber, 'compressed differently than in the original');
    return part;
  }

  private mismatch(pageNumber: number, found: string): DumpError {
    const address = addressHex(pageNumber, this.pageSize);
    return new DumpError('NOT_HALVES', `the halves are not from one dump: page 0x${address} is ${found}`, {
      file: this.space.pagemap,
    });
  }
}
