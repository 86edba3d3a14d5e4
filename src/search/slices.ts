/**
 * A slice of a search: matches that begin in a range of pages, exactly those that a search of everything finds there. Matches
 * do not overlap, and the next one begins at the end of the last one, so where they are depends on what comes before. But not
 * on everything: behind as many bytes as the longest match has in which none begins, the search is free. So a slice begins to
 * look at such a place before its border, and goes on behind its end for as long as a match may be.
 */
import type { Match, Matcher, View } from './matcher.js';
import { type FoundBytes, type ScannedPiece, scan } from './scan.js';

/** Memory without gaps, and how it is read. Page numbers; `end` is exclusive. */
export interface Extent {
  start: number;
  end: number;
  read(pageNumber: number, pages: number): Iterable<ScannedPiece>;
}

/** Matches in an extent that begin in the pages from `from` on and before `to`. */
export function* scanPart(
  extent: Extent,
  matcher: Matcher,
  { from, to, pageSize, context = 0 }: { from: number; to: number; pageSize: number; context?: number },
): Generator<FoundBytes> {
  /** Bytes from the beginning of the extent. */
  const [begin, end] = [(from - extent.start) * pageSize, (to - extent.start) * pageSize];
  const free = begin === 0 ? 0 : freePlace(extent, matcher, begin, pageSize);
  // The byte before a place says whether a match may begin there.
  const first = Math.floor(Math.max(0, Math.min(free, begin - context) - 1) / pageSize);
  const behind = Math.ceil((matcher.reach + context + 1) / pageSize);
  const stop = Math.min(extent.end, to + behind);
  const pieces = extent.read(extent.start + first, stop - extent.start - first);
  for (const found of scan(pieces, matcher, { pageSize, context, skip: free - first * pageSize })) {
    const at = (found.pageNumber - extent.start) * pageSize + found.pageOffset;
    if (at >= end) return;
    if (at >= begin) yield found;
  }
}

/** The last place up to `border` that is in no match, whatever came before it. Bytes from the beginning of the extent. */
function freePlace(extent: Extent, matcher: Matcher, border: number, pageSize: number): number {
  const starts = new Starts(matcher);
  const behind = Math.ceil((matcher.reach + 1) / pageSize);
  for (let lead = Math.ceil((2 * matcher.reach) / pageSize); ; lead *= 4) {
    const first = Math.max(0, Math.floor(border / pageSize) - lead);
    // With one page more, for the byte before.
    const before = first === 0 ? 0 : 1;
    const stop = Math.min(extent.end - extent.start, Math.ceil(border / pageSize) + behind);
    const pieces = extent.read(extent.start + first - before, stop - first + before);
    let free = first === 0 ? 0 : undefined;
    let next = first * pageSize;
    for (const { pageNumber, pageOffset } of scan(pieces, starts, { pageSize, skip: before * pageSize })) {
      const at = (pageNumber - extent.start) * pageSize + pageOffset;
      if (at >= border) break;
      if (at - next >= matcher.reach) free = at;
      next = at + 1;
    }
    if (border - next >= matcher.reach) free = border;
    if (free !== undefined) return free;
  }
}

/** Every place where a match may begin, also within another one. */
class Starts implements Matcher {
  readonly reach: number;

  constructor(private readonly matcher: Matcher) {
    this.reach = matcher.reach;
  }

  next(view: View, from: number, last: number): Match | undefined {
    const match = this.matcher.next(view, from, last);
    return match && { start: match.start, end: match.start + 1 };
  }
}
