/**
 * The report of a slice of a map: the calls that would make the map, as lines. One behind the other, those of all slices are
 * the calls for the whole dump, so they make the same map. At the end come the numbers of different pages, and the totals.
 */
import type { MapEvents, NewArea } from './builder.js';
import { shortened } from './builder.js';
import type { ContentCounts } from './content.js';
import { CONTENTS, type Content, type MapSpace, STATES, type State } from './model.js';
import type { PageShare } from './share.js';

/** A line of the report. Runs are triples: indexes of state and of content, which is -1 without bytes, and pages. */
export type TraceLine =
  | { event: 'space'; type: MapSpace['type']; id: number; name: string | null }
  | ({ event: 'area' } & NewArea)
  | { event: 'area-end'; page: number }
  | { event: 'runs'; runs: number[] }
  | { event: 'different'; numbers: string };

/** What the last line says besides. */
export interface SliceTotals {
  /** Before the last one. */
  lines: number;
  /** Bytes. */
  pageSize: number;
  content: (Omit<ContentCounts, 'distinct'> & { differentEvery: number }) | null;
}

/** Triples in a line. */
const MOST_RUNS = 4096;
/** Numbers in a line, which then has a third of a MiB. */
const MOST_NUMBERS = 32 * 1024;

export class MapTrace implements MapEvents {
  private runs: number[] = [];

  constructor(
    private readonly put: (line: TraceLine) => void,
    private readonly share: PageShare,
  ) {}

  space(type: MapSpace['type'], id: number, name: string | null): void {
    this.line({ event: 'space', type, id, name: name === null ? null : shortened(name) });
  }

  newArea(area: NewArea): void {
    const { file } = area;
    this.line({ event: 'area', ...area, ...(file === undefined ? {} : { file: shortened(file) }) });
  }

  areaEnd(page: number): void {
    this.line({ event: 'area-end', page });
  }

  pages(state: State, pages: number, content?: Content): void {
    if (!this.share.isHere) return;
    const { runs } = this;
    const run = [STATES.indexOf(state), content ? CONTENTS.indexOf(content) : -1] as const;
    const last = runs.length - 3;
    if (last >= 0 && runs[last] === run[0] && runs[last + 1] === run[1]) {
      runs[last + 2] = (runs[last + 2] as number) + pages;
      return;
    }
    if (runs.length >= MOST_RUNS * 3) this.flush();
    this.runs.push(...run, pages);
  }

  /** Puts the runs that are left. */
  flush(): void {
    if (this.runs.length > 0) this.put({ event: 'runs', runs: this.runs });
    this.runs = [];
  }

  private line(line: TraceLine): void {
    if (!this.share.isHere) return;
    this.flush();
    this.put(line);
  }
}

/** Puts the numbers of different pages. Returns the other counts. */
export function putCounts(
  { distinct, ...counts }: ContentCounts,
  put: (line: TraceLine) => void,
): SliceTotals['content'] {
  let numbers: number[] = [];
  const flush = () => {
    if (numbers.length > 0)
      put({ event: 'different', numbers: Buffer.from(Float64Array.from(numbers).buffer).toString('base64') });
    numbers = [];
  };
  for (const number of distinct.numbers()) if (numbers.push(number) === MOST_NUMBERS) flush();
  flush();
  return { ...counts, differentEvery: distinct.share };
}
