/**
 * A small picture for a terminal: each space is a line of half blocks, above the kind of memory, below the state of its pages,
 * or their content. Without colors the line has letters.
 */
import { oneLine } from '../printable.js';
import { bytesText, lanePages, sizeText, spaceTitle } from './describe.js';
import { type Axis, axisOf, drawLane } from './layout.js';
import type { MemoryMap } from './model.js';
import { COLORS, type Lane, type LegendLane } from './palette.js';

export interface TerminalOptions {
  columns: number;
  hasColors: boolean;
}

const LEAST_COLUMNS = 40;
const MOST_COLUMNS = 200;

/** The lines of the picture. */
export function* terminalMap(map: MemoryMap, { columns, hasColors }: TerminalOptions): Generator<string> {
  const width = Math.max(LEAST_COLUMNS, Math.min(MOST_COLUMNS, columns));
  const lane: Lane = map.contents ? 'content' : 'state';
  const painter = hasColors ? blocks : letters;
  for (const space of map.spaces) {
    const title = oneLine(spaceTitle(space));
    const size = space.pages === 0 ? 'no memory' : sizeText(space, map.pageSize);
    if (title.length + size.length + 2 <= width) yield `${title.padEnd(width - size.length)}${size}`;
    else yield* [title.length > width ? `${title.slice(0, width - 1)}…` : title, size];
    if (space.pages > 0) {
      yield* painter(axisOf(space), lane, width);
    }
    yield '';
  }
  for (const name of map.contents ? (['kind', 'state', 'content'] as const) : (['kind', 'state'] as const)) {
    yield* legend(name, map, width, hasColors);
  }
}

/** The largest color of each column; -1 in a gap. */
function columnsOf(axis: Axis, lane: Lane, width: number): number[] {
  const columns: number[] = new Array(width).fill(-1);
  const heights: number[] = new Array(width).fill(0);
  drawLane(axis, lane, { from: 0, to: axis.length }, width, (color, x, count, bottom, top) => {
    for (let column = x; column < x + count; column++) {
      if (top - bottom <= (heights[column] as number)) continue;
      heights[column] = top - bottom;
      columns[column] = color;
    }
  });
  return columns;
}

const RESET = '\x1b[0m';

function* blocks(axis: Axis, lane: Lane, width: number): Generator<string> {
  const [upper, lower] = [columnsOf(axis, 'kind', width), columnsOf(axis, lane, width)];
  let line = '';
  let last = '';
  for (let x = 0; x < width; x++) {
    const [top, bottom] = [COLORS.kind[upper[x] as number], COLORS[lane][lower[x] as number]];
    const style = `${top ? `\x1b[38;5;${top.terminal}m` : ''}${bottom ? `\x1b[48;5;${bottom.terminal}m` : ''}`;
    if (style !== last) line += `${RESET}${style}`;
    last = style;
    line += top ? '▀' : ' ';
  }
  yield `${line}${RESET}`;
}

function* letters(axis: Axis, lane: Lane, width: number): Generator<string> {
  for (const name of ['kind', lane] as const) {
    const line = columnsOf(axis, name, width).map((color) => COLORS[name][color]?.letter ?? ' ');
    yield line.join('').trimEnd();
  }
}

/** The colors of a lane that occur, with their sums, in lines of this width. */
function* legend(lane: LegendLane, map: MemoryMap, width: number, hasColors: boolean): Generator<string> {
  const pages = lanePages(lane, map);
  let line = lane.padEnd(LEGEND_INDENT);
  let length = line.length;
  for (const [i, { label, terminal, letter }] of COLORS[lane].entries()) {
    const count = pages[i] ?? 0;
    if (count === 0) continue;
    const mark = hasColors ? `\x1b[48;5;${terminal}m  ${RESET}` : `${letter} `;
    const text = ` ${label} ${bytesText(count, map.pageSize)}   `;
    if (length > LEGEND_INDENT && length + 2 + text.trimEnd().length > width) {
      yield line.trimEnd();
      line = ' '.repeat(LEGEND_INDENT);
      length = LEGEND_INDENT;
    }
    line += mark + text;
    length += 2 + text.length;
  }
  yield line.trimEnd();
}

const LEGEND_INDENT = 9;
