/** Makes a map of what it is told, space by space, area by area and run by run: in memory that is limited as the map is. */
import type { Kind } from '../memory/vma.js';
import { type AreaRow, AreaRows } from './areas.js';
import { Bins } from './bins.js';
import {
  CONTENTS,
  type Content,
  type ContentTotals,
  type MapArea,
  type MapSpace,
  type MemoryMap,
  STATES,
  STORED,
  type State,
  type Totals,
} from './model.js';

/** How large a map may become. The page of one that is as large as it can be has about a MiB. */
export interface MapLimits {
  areas: number;
  bins: number;
}
export const MAP_LIMITS: MapLimits = { areas: 6000, bins: 16_000 };

/** An area as it is told; page numbers. */
export interface NewArea {
  start: number;
  end: number;
  kind: Kind;
  flags: string;
  file?: string | undefined;
  /** Pages. */
  offset?: number;
  segment?: number | undefined;
}

export interface MapOptions {
  /** Bytes. */
  pageSize: number;
  limits?: MapLimits;
  /** Whether pages come with their content, and with whether they have changed. */
  hasContent?: boolean;
  hasChanges?: boolean;
}

type NewSpace = Omit<MapSpace, 'areas'>;

export class MapBuilder {
  private readonly spaces: NewSpace[] = [];
  private readonly rows: AreaRows;
  private readonly bins: Bins;
  private readonly totals = noTotals();
  private area = -1;
  private kind: Kind = 'unknown';
  private areas = 0;
  private runs = 0;

  constructor(private readonly options: MapOptions) {
    const limits = options.limits ?? MAP_LIMITS;
    this.rows = new AreaRows(limits.areas);
    this.bins = new Bins(limits.bins);
  }

  /** Begins the next address space. */
  space(type: MapSpace['type'], id: number, name: string | null): void {
    this.spaces.push({ type, id, name, ...noTotals() });
  }

  /** Begins the next area of the space, by ascending address. */
  newArea({ start, end, kind, flags, file, offset, segment }: NewArea): void {
    const space = this.spaces.length - 1;
    const name = file === undefined ? undefined : shortened(file);
    const row: AreaRow = { space, areas: 1, start, end, pages: 0, kind, flags, file: name, offset, segment };
    const { number, renumbered } = this.rows.add(row);
    if (renumbered) this.bins.renumber(renumbered);
    this.area = number;
    this.kind = kind;
    this.areas++;
  }

  /** Adds the next pages of the area. */
  pages(state: State, pages: number, content?: Content, isChanged = false): void {
    this.runs++;
    this.bins.add(this.area, STATES.indexOf(state), pages, content ? CONTENTS.indexOf(content) : -1, isChanged);
    (this.rows.rows[this.area] as AreaRow).pages += pages;
    addTo(this.spaces.at(-1) as NewSpace, this.kind, state, pages);
    if (state !== 'shared') addTo(this.totals, this.kind, state, pages);
  }

  /** The map. Its limits may be lowered and it be made again. */
  map(content: ContentTotals | null = null, limits: MapLimits = this.options.limits ?? MAP_LIMITS): MemoryMap {
    const { hasContent = false, hasChanges = false, pageSize } = this.options;
    this.bins.renumber(this.rows.joinTo(limits.areas));
    this.bins.joinTo(limits.bins);
    const spaces: MapSpace[] = this.spaces.map((space) => ({ ...space, areas: [] }));
    for (const { area, ...columns } of this.bins.byArea()) {
      const row = this.rows.rows[area] as AreaRow;
      (spaces[row.space] as MapSpace).areas.push({
        ...mapArea(row, pageSize),
        bins: columns.bins,
        ...(hasContent ? { content: columns.content } : {}),
        ...(hasChanges ? { changed: columns.changed } : {}),
      });
    }
    return {
      pageSize,
      states: STATES,
      contents: hasContent ? CONTENTS : null,
      areas: this.areas,
      runs: this.runs,
      totals: this.totals,
      content,
      spaces,
    };
  }
}

/** A path may have 4096 bytes, and a map thousands of them. */
const MOST_PATH = 240;

/** A path whose middle is left out if it is very long. */
function shortened(path: string): string {
  if (path.length <= MOST_PATH) return path;
  const half = MOST_PATH / 2;
  return `${path.slice(0, half)}…${path.slice(-half)}`;
}

function mapArea(row: AreaRow, pageSize: number): Omit<MapArea, 'bins'> {
  const address = (page: number): string => `0x${(BigInt(page) * BigInt(pageSize)).toString(16)}`;
  const { areas, start, end, pages, kind, flags, file, offset, segment } = row;
  return {
    areas,
    start: address(start),
    end: address(end),
    pages,
    kind: kind ?? null,
    flags: flags ?? null,
    file: file ?? null,
    offset: offset === undefined ? null : address(offset),
    segment: segment ?? null,
  };
}

function noTotals(): Totals {
  return { pages: 0, states: Object.fromEntries(STATES.map((state) => [state, 0])) as Totals['states'], kinds: {} };
}

function addTo(totals: Totals, kind: Kind, state: State, pages: number): void {
  totals.pages += pages;
  totals.states[state] += pages;
  totals.kinds[kind] ??= { pages: 0, stored: 0 };
  const ofKind = totals.kinds[kind];
  ofKind.pages += pages;
  if (STORED.includes(state)) ofKind.stored += pages;
}
