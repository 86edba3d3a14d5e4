/**
 * Which requests fetch the ranges that will be read. A request costs time and money whatever its size, and so do bytes that
 * nobody reads:
 *
 * - Gaps are fetched with the ranges around them, the smallest first, as long as they add at most a twelfth to what is read.
 * - If that still makes more than one request for each 64 KiB, more gaps are fetched until it does not, as long as the whole
 *   is less than twice of what is read.
 * - No request is larger than the largest slot.
 */

/** Fetched besides what is read: at most this part of it. */
const EXTRA_PART = 1 / 12;
/** Of requests that are smaller on average, more are put together, ... */
const LEAST_AVERAGE_BYTES = 64 * 1024;
/** ... until this part of what is read is fetched besides it. */
const MOST_EXTRA_PART = 1;

/** A part of an object, in bytes. */
export interface Range {
  start: number;
  end: number;
}

/**
 * The requests for ranges, in ascending order.
 * @param extents position and bytes of each range, in ascending order; others are left out
 * @param size bytes of the object
 * @param mostBytes of a request
 */
export function planRequests(extents: Float64Array, size: number, mostBytes: number): Range[] {
  const ranges = joined(extents, size);
  const read = ranges.reduce((sum, { start, end }) => sum + end - start, 0);
  const limit = gapLimit(ranges, read);
  const requests: Range[] = [];
  for (const { start, end } of ranges) {
    const last = requests.at(-1);
    if (last && start - last.end <= limit) last.end = end;
    else requests.push({ start, end });
  }
  return requests.flatMap((request) => cut(request, mostBytes));
}

/** Ranges that follow each other as one. */
function joined(extents: Float64Array, size: number): Range[] {
  const ranges: Range[] = [];
  for (let i = 0; i < extents.length; i += 2) {
    const start = extents[i] as number;
    const end = Math.min(start + (extents[i + 1] as number), size);
    const last = ranges.at(-1);
    if (end <= start) continue;
    if (last && start >= last.start && start <= last.end) last.end = Math.max(last.end, end);
    else if (!last || start > last.end) ranges.push({ start, end });
  }
  return ranges;
}

/** Gaps up to this many bytes are fetched. */
function gapLimit(ranges: readonly Range[], read: number): number {
  const gaps = new Float64Array(Math.max(0, ranges.length - 1));
  for (let i = 0; i < gaps.length; i++) gaps[i] = (ranges[i + 1] as Range).start - (ranges[i] as Range).end;
  gaps.sort();
  let extra = 0;
  let limit = 0;
  for (let i = 0; i < gaps.length; ) {
    // All gaps of a size, or none of them: the limit says no more than that.
    let same = i;
    while (same < gaps.length && gaps[same] === gaps[i]) same++;
    extra += (same - i) * (gaps[i] as number);
    const isManySmall = (ranges.length - i) * LEAST_AVERAGE_BYTES > read;
    if (extra > read * (isManySmall ? MOST_EXTRA_PART : EXTRA_PART)) break;
    limit = gaps[i] as number;
    i = same;
  }
  return limit;
}

/** A request in parts of about the same size. */
function cut({ start, end }: Range, mostBytes: number): Range[] {
  const parts = Math.ceil((end - start) / mostBytes);
  const each = Math.ceil((end - start) / parts);
  return Array.from({ length: parts }, (_, i) => ({
    start: start + i * each,
    end: Math.min(end, start + (i + 1) * each),
  }));
}
