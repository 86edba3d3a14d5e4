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
import { sizeInPage, sizeOfFiles } from './size.js';

/** How large a map may become. */
export interface MapLimits {
  spaces: number;
  areas: number;
  bins: number;
  /** Of the map in its page. Where the other limits and {@link MOST_PATH} allow more, they are lowered until it holds. */
  bytes: number;
}
/** A page has less than 2 MiB, of which 100 KiB are for the page itself. */
export const MAP_LIMITS: MapLimits = { spaces: 2000, areas: 6000, bins: 16_000, bytes: 2 * 2 ** 20 - 100 * 1024 };

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
  /** By default {@link MAP_LIMITS}. */
  limits?: Partial<MapLimits>;
  /** Whether pages come with their content, and with whether they have changed. */
  hasContent?: boolean;
  hasChanges?: boolean;
}

type NewSpace = Omit<MapSpace, 'areas'>;

/** What a map is made of, in order. */
export interface MapEvents {
  /** Begins the next address space. */
  space(type: MapSpace['type'], id: number, name: string | null): void;
  /** Begins the next area of the space, by ascending address. */
  newArea(area: NewArea): void;
  /** Moves the end of the area, of which it was not known before. */
  areaEnd(page: number): void;
  /** Adds the next pages of the area. */
  pages(state: State, pages: number, content?: Content, isChanged?: boolean): void;
}

export class MapBuilder implements MapEvents {
  private readonly spaces: NewSpace[] = [];
  private readonly rows: AreaRows;
  private readonly bins: Bins;
  private readonly totals = noTotals();
  private area = -1;
  private kind: Kind = 'unknown';
  private areas = 0;
  private runs = 0;
  private readonly limits: MapLimits;

  constructor(private readonly options: MapOptions) {
    this.limits = { ...MAP_LIMITS, ...options.limits };
    this.rows = new AreaRows(this.limits.areas);
    this.bins = new Bins(this.limits.bins);
  }

  space(type: MapSpace['type'], id: number, name: string | null): void {
    this.spaces.push({ type, id, name: name === null ? null : shortened(name), ...noTotals() });
  }

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

  areaEnd(page: number): void {
    (this.rows.rows[this.area] as AreaRow).end = page;
  }

  pages(state: State, pages: number, content?: Content, isChanged = false): void {
    const column = content ? CONTENTS.indexOf(content) : -1;
    if (this.bins.add(this.area, STATES.indexOf(state), pages, column, isChanged)) this.runs++;
    (this.rows.rows[this.area] as AreaRow).pages += pages;
    addTo(this.spaces.at(-1) as NewSpace, this.kind, state, pages);
    if (state !== 'shared') addTo(this.totals, this.kind, state, pages);
  }

  /** The map. Nothing can be added any more. */
  map(content: ContentTotals | null = null): MemoryMap {
    let { areas, bins } = this.limits;
    let path = MOST_PATH;
    for (;;) {
      const map = this.joined(content, { areas, bins, path });
      const isLeast = path <= LEAST_PATH && bins <= LEAST_BINS;
      if (isLeast || sizeInPage(map) <= this.limits.bytes) return map;
      if (path > LEAST_PATH && sizeOfFiles(map) > this.limits.bytes / 4) path = Math.floor(path / 2);
      else [areas, bins] = [Math.floor(areas * 0.7), Math.floor(bins * 0.7)];
    }
  }

  private joined(content: ContentTotals | null, { areas, bins, path }: Record<string, number>): MemoryMap {
    const { hasContent = false, hasChanges = false, pageSize } = this.options;
    this.bins.renumber(this.rows.joinTo(areas as number));
    this.bins.joinTo(bins as number);
    const bySpace = new Map<number, MapArea[]>();
    for (const { area, ...columns } of this.bins.byArea()) {
      const row = this.rows.rows[area] as AreaRow;
      const listed = bySpace.get(row.space) ?? [];
      bySpace.set(row.space, listed);
      listed.push({
        ...mapArea(row, pageSize, path as number),
        bins: columns.bins,
        ...(hasContent ? { content: columns.content } : {}),
        ...(hasChanges ? { changed: columns.changed } : {}),
      });
    }
    return {
      pageSize,
      states: STATES,
      contents: hasContent ? CONTENTS : null,
      processes: this.spaces.filter(({ type }) => type === 'task').length,
      areas: this.areas,
      runs: this.runs,
      totals: this.totals,
      content,
      spaces: this.shownSpaces(bySpace, path as number),
    };
  }

  /** All spaces; of too many the largest, and all others of a type as one that has no areas. */
  private shownSpaces(areas: ReadonlyMap<number, MapArea[]>, path: number): MapSpace[] {
    const { spaces } = this;
    const pagesOf = (i: number) => (spaces[i] as NewSpace).pages;
    const bySize = [...spaces.keys()].sort((a, b) => pagesOf(b) - pagesOf(a));
    const left = new Set(bySize.slice(this.limits.spaces));
    const rest: Partial<Record<MapSpace['type'], { space: MapSpace; more: number }>> = {};
    return spaces.flatMap((space, i) => {
      const name = space.name === null ? null : shortened(space.name, path);
      if (!left.has(i)) return [{ ...space, name, areas: areas.get(i) ?? [] }];
      const others = rest[space.type];
      if (!others) {
        const first = { ...space, ...noTotals(), name, areas: [] };
        addTotals(first, space);
        rest[space.type] = { space: first, more: 0 };
        return [first];
      }
      others.space.name = `and ${++others.more} more`;
      addTotals(others.space, space);
      return [];
    });
  }
}

/** A path may have 4096 bytes, and a map thousands of them. */
const MOST_PATH = 240;
/** Names and bins are not cut below this. */
const LEAST_PATH = 15;
const LEAST_BINS = 500;

/** A path whose middle is left out if it is very long. */
export function shortened(path: string, most = MOST_PATH): string {
  if (path.length <= most) return path;
  const half = Math.floor(most / 2);
  return `${path.slice(0, half)}…${path.slice(-half)}`;
}

function mapArea(row: AreaRow, pageSize: number, path: number): Omit<MapArea, 'bins'> {
  const address = (page: number): string => `0x${(BigInt(page) * BigInt(pageSize)).toString(16)}`;
  const { areas, start, end, pages, kind, flags, file, offset, segment } = row;
  return {
    areas,
    start: address(start),
    end: address(end),
    pages,
    kind: kind ?? null,
    flags: flags ?? null,
    file: file === undefined ? null : shortened(file, path),
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

function addTotals(to: Totals, from: Totals): void {
  to.pages += from.pages;
  for (const state of STATES) to.states[state] += from.states[state];
  for (const [kind, { pages, stored }] of Object.entries(from.kinds) as [Kind, { pages: number; stored: number }][]) {
    to.kinds[kind] ??= { pages: 0, stored: 0 };
    to.kinds[kind].pages += pages;
    to.kinds[kind].stored += stored;
  }
}
