/**
 * Where the payload of runs is in their pages file. It follows that of the run before, but what is PAYLOAD_ALIGNED begins
 * at a page boundary. The bytes in between are padding, which is in the file alone: payload has no gaps.
 */
import { hasPayload, PAYLOAD_ALIGNED, type RunBatch, runPayloadBytes } from './runs.js';

/**
 * Where a run with these bits begins in a file that has come to `end`, in bytes.
 * @param pageSize bytes
 */
export const payloadStart = (bits: number, end: number, pageSize: number): number =>
  bits & PAYLOAD_ALIGNED && hasPayload(bits) ? Math.ceil(end / pageSize) * pageSize : end;

export class PagesLayout {
  /** Bytes of the file so far: padding before the last run included. */
  end = 0;

  /** @param pageSize bytes */
  constructor(private readonly pageSize: number) {}

  /** Places the next runs; returns where their payload is: pairs of position and length in bytes, ascending. */
  place(runs: RunBatch): Float64Array {
    if (runs.bits.some((bits) => (bits & PAYLOAD_ALIGNED) !== 0)) return this.placeAligned(runs);
    const { payloadBytes } = runs;
    const position = this.end;
    this.end += payloadBytes;
    return payloadBytes > 0 ? Float64Array.of(position, payloadBytes) : new Float64Array(0);
  }

  private placeAligned(runs: RunBatch): Float64Array {
    const { pageSize } = this;
    const extents: number[] = [];
    /** Where the last extent ends. */
    let last = Number.NaN;
    for (let i = 0; i < runs.bits.length; i++) {
      const position = payloadStart(runs.bits[i] as number, this.end, pageSize);
      const bytes = runPayloadBytes(runs, i, pageSize);
      this.end = position + bytes;
      if (bytes === 0) continue;
      if (position === last) (extents[extents.length - 1] as number) += bytes;
      else extents.push(position, bytes);
      last = this.end;
    }
    return Float64Array.from(extents);
  }
}

/**
 * The first of some runs that ends beyond the size of a pages file, and where it ends.
 * @param start where the file has come to before the runs, in bytes
 */
export function firstBeyond(
  runs: RunBatch,
  start: number,
  sizeBytes: number,
  pageSize: number,
): { index: number; end: number } {
  let end = start;
  let i = 0;
  for (; end <= sizeBytes && i < runs.bits.length; i++) {
    end = payloadStart(runs.bits[i] as number, end, pageSize) + runPayloadBytes(runs, i, pageSize);
  }
  return { index: i - 1, end };
}
