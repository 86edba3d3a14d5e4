/** Whether the pages of a pagemap lie where there is memory: in the areas of a process, or inside a segment. */
import { addressHex } from '../memory/runs.js';
import { type AreaTable, firstAreaEndingAfter } from '../memory/vma.js';
import type { CheckedDump } from './checked-dump.js';
import type { WatchRuns } from './space.js';

/** An entry may span several areas if there is no gap between them. Guards are no areas here: they own no pages. */
export function watchAreas(
  dump: CheckedDump,
  pagemap: string,
  mm: string,
  areas: AreaTable,
  pageSize: number,
): WatchRuns {
  /** The area that the last entry began in, or the next one: entries ascend. */
  let at = -1;
  return (runs, firstEntry) => {
    for (let i = 0; i < runs.bits.length; i++) {
      const start = runs.pageNumbers[i] as number;
      const end = start + (runs.pages[i] as number);
      if (at < 0) at = firstAreaEndingAfter(areas, start);
      while (at < areas.ends.length && (areas.ends[at] as number) <= start) at++;
      const gap = firstGap(areas, at, start, end);
      if (gap === undefined) continue;
      const found = `0x${addressHex(gap, pageSize)} of 0x${addressHex(start, pageSize)}-0x${addressHex(end, pageSize)} in none`;
      dump.error('NO_AREA', pagemap, `expected pages in the areas of ${mm}, found ${found}`, { entry: firstEntry + i });
    }
  };
}

/** The first page of a range that is in no area, if there is one. */
function firstGap(areas: AreaTable, from: number, start: number, end: number): number | undefined {
  let page = start;
  for (let at = from; page < end; at++) {
    if (at >= areas.starts.length || (areas.starts[at] as number) > page) return page;
    page = areas.ends[at] as number;
  }
  return undefined;
}

/**
 * @param sizeBytes of the segment
 * @param by the image that says so
 */
export function watchSegment(
  dump: CheckedDump,
  pagemap: string,
  { sizeBytes, by }: { sizeBytes: number; by: string },
  pageSize: number,
): WatchRuns {
  const limit = Math.ceil(sizeBytes / pageSize);
  return (runs, firstEntry) => {
    const last = runs.bits.length - 1;
    if (last < 0 || (runs.pageNumbers[last] as number) + (runs.pages[last] as number) <= limit) return;
    for (let i = 0; i <= last; i++) {
      const end = (runs.pageNumbers[i] as number) + (runs.pages[i] as number);
      if (end <= limit) continue;
      const expected = `pages inside the ${sizeBytes} bytes that ${by} says`;
      const found = `an end at 0x${addressHex(end, pageSize)}`;
      dump.error('OUTSIDE_SEGMENT', pagemap, `expected ${expected}, found ${found}`, { entry: firstEntry + i });
    }
  };
}
