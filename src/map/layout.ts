/**
 * Where the pages of a space are in its picture. The axis counts pages, so a stretch is as wide as it has pages. The
 * page, the SVG and the terminal draw the same columns.
 */
import { lowerBound } from '../columns.js';
import { alignedStarts } from './align.js';
import { CONTENTS, type Counts, type MapArea, type MapSpace, STATES, sumOf } from './model.js';
import { COLORS, familyIndex, type Lane } from './palette.js';

/** Part of the axis that a gap takes. */
const GAP_SHARE = 0.008;

/** A space along its axis. All positions are in pages, or the widths of pages that have bytes. */
export interface Axis {
  length: number;
  /** Of each area. */
  starts: Float64Array;
  ends: Float64Array;
  /** Of each bin. */
  binStarts: Float64Array;
  binEnds: Float64Array;
  /** Of each bin: pages for each color of each lane. */
  shares: Record<Lane, Float64Array>;
}

export interface AxisOptions {
  /** Whether all pages are equally wide. Otherwise those without bytes are so narrow that they leave room for the others. */
  isTrueScale?: boolean;
}

/** The first states are those whose pages have bytes here or elsewhere; the others are zeros, of mapped files, or nothing. */
const STATES_WITH_BYTES = STATES.indexOf('zero');
/** The part of the axis that pages without bytes may take, unless all are equally wide. */
const MOST_WITHOUT_BYTES = 0.4;

/** The axis of a space. */
export const axisOf = (space: MapSpace, options?: AxisOptions): Axis => axesOf([space], options)[0] as Axis;

/** The axes of one space in several maps: equally long, with the same addresses at the same places. */
export function axesOf(spaces: readonly MapSpace[], { isTrueScale = false }: AxisOptions = {}): Axis[] {
  const scale = isTrueScale ? 1 : Math.min(...spaces.map(scaleWithoutBytes));
  const weighted = (counts: Counts): Counts =>
    counts.map((count, state) => (state < STATES_WITH_BYTES ? count : count * scale));
  const widths = spaces.map(({ areas }) => areas.map(({ bins }) => bins.map((counts) => sumOf(weighted(counts)))));
  const placed = spaces.map(({ areas }, space) =>
    areas.map(({ start, end }, i) => ({
      start: BigInt(start),
      end: BigInt(end),
      width: sumOf(widths[space]?.[i] ?? []),
    })),
  );
  const most = Math.max(...placed.map((areas) => areas.reduce((sum, { width }) => sum + width, 0)));
  const { starts, length } = alignedStarts(placed, most * GAP_SHARE);
  return spaces.map(({ areas }, space) => {
    const binWidths = widths[space] as number[][];
    const binCount = binWidths.reduce((sum, bins) => sum + bins.length, 0);
    const axis: Axis = {
      length: Math.max(length, 1),
      starts: starts[space] as Float64Array,
      ends: new Float64Array(areas.length),
      binStarts: new Float64Array(binCount),
      binEnds: new Float64Array(binCount),
      shares: sharesOf(areas, binCount, weighted),
    };
    let bin = 0;
    for (const [i, bins] of binWidths.entries()) {
      let at = axis.starts[i] as number;
      for (const width of bins) {
        axis.binStarts[bin] = at;
        at += width;
        axis.binEnds[bin++] = at;
      }
      axis.ends[i] = at;
    }
    return axis;
  });
}

/** Width of a page without bytes, where others have 1. */
function scaleWithoutBytes({ states, pages }: MapSpace): number {
  const withBytes = sumOf(STATES.slice(0, STATES_WITH_BYTES).map((state) => states[state]));
  const others = pages - withBytes;
  const most = (withBytes * MOST_WITHOUT_BYTES) / (1 - MOST_WITHOUT_BYTES);
  return withBytes === 0 || others <= most ? 1 : most / others;
}

function sharesOf(
  areas: readonly MapArea[],
  bins: number,
  weighted: (counts: Counts) => Counts,
): Record<Lane, Float64Array> {
  const columns = (lane: Lane) => new Float64Array(bins * COLORS[lane].length);
  const shares = {
    kind: columns('kind'),
    state: columns('state'),
    content: columns('content'),
    changed: columns('changed'),
  };
  let bin = 0;
  for (const { kind, bins, content, changed } of areas) {
    const family = familyIndex(kind);
    for (const [i, counts] of bins.entries()) {
      const states = weighted(counts);
      const pages = sumOf(states);
      shares.kind[bin * COLORS.kind.length + family] = pages;
      shares.state.set(states, bin * COLORS.state.length);
      const contents = content?.[i] ?? [];
      shares.content.set(contents, bin * COLORS.content.length);
      shares.content[bin * COLORS.content.length + CONTENTS.length] = Math.max(0, pages - sumOf(contents));
      const differing = changed?.[i] ?? 0;
      shares.changed.set([differing, Math.max(0, pages - differing)], bin * COLORS.changed.length);
      bin++;
    }
  }
  return shares;
}

/** A part of an axis, in pages. */
export interface View {
  from: number;
  to: number;
}

/** A rectangle of one color: columns from the left, levels from the bottom, of {@link LEVELS}. */
export type DrawRectangle = (color: number, x: number, columns: number, bottom: number, top: number) => void;

/** Heights in a lane. A column that has several colors is divided by their shares, each at least one level high. */
export const LEVELS = 16;

/** Draws a lane: neighboring columns that look alike become one rectangle for each of their colors. */
export function drawLane(axis: Axis, lane: Lane, view: View, columns: number, draw: DrawRectangle): void {
  const colors = COLORS[lane].length;
  const shares = new Float64Array(colors);
  let levels: number[] = [];
  let start = 0;
  const flush = (end: number) => {
    let bottom = 0;
    levels.forEach((height, color) => {
      if (height > 0) draw(color, start, end - start, bottom, bottom + height);
      bottom += height;
    });
  };
  const step = (view.to - view.from) / columns;
  let bin = firstEndingAfter(axis.binEnds, view.from);
  for (let x = 0; x < columns; x++) {
    shares.fill(0);
    const [from, to] = [view.from + x * step, view.from + (x + 1) * step];
    while (bin > 0 && (axis.binEnds[bin - 1] as number) > from) bin--;
    for (; bin < axis.binStarts.length && (axis.binStarts[bin] as number) < to; bin++) {
      const [binFrom, binTo] = [axis.binStarts[bin] as number, axis.binEnds[bin] as number];
      const part = (Math.min(to, binTo) - Math.max(from, binFrom)) / (binTo - binFrom);
      if (!(part > 0)) continue;
      for (let color = 0; color < colors; color++) {
        shares[color] =
          (shares[color] as number) + part * ((axis.shares[lane] as Float64Array)[bin * colors + color] as number);
      }
    }
    const next = levelsOf(shares, step);
    if (x > 0 && next.every((height, color) => height === levels[color])) continue;
    if (x > 0) flush(x);
    [levels, start] = [next, x];
  }
  flush(columns);
}

/** Index of the first bin or area that ends after a position. */
export const firstEndingAfter = (ends: Float64Array, position: number): number =>
  lowerBound(ends.length, (i) => (ends[i] as number) <= position);

/** Levels of each color. Together they are {@link LEVELS}, or fewer where a part of the column is in a gap. */
function levelsOf(shares: Float64Array, pages: number): number[] {
  const sum = shares.reduce((total, share) => total + share, 0);
  const levels: number[] = new Array(shares.length).fill(0);
  // A column that is mostly gap shows the gap.
  if (sum === 0 || sum < pages / 3) return levels;
  let [used, largest] = [0, 0];
  shares.forEach((share, color) => {
    const height = share > 0 ? Math.max(1, Math.round((share / sum) * LEVELS)) : 0;
    levels[color] = height;
    used += height;
    if (share > (shares[largest] as number)) largest = color;
  });
  levels[largest] = (levels[largest] as number) + LEVELS - used;
  return levels;
}
