/** The map as an SVG image, for documents. Names from the dump are text in it and nothing else. */
import { oneLine } from '../printable.js';
import { areaLabel, bytesText, lanePages, sizeText, spaceTitle } from './describe.js';
import { type Axis, axisOf, drawLane, LEVELS } from './layout.js';
import type { MapSpace, MemoryMap } from './model.js';
import { COLORS, type Color, familyIndex, type Lane, type LegendLane, labelColor } from './palette.js';

/** In pixels. */
const WIDTH = 1200;
const MARGIN = 24;
const BAND_WIDTH = WIDTH - 2 * MARGIN;
const LANE_HEIGHT = 20;
const LANE_GAP = 2;
const SPACE_GAP = 18;
const TITLE_HEIGHT = 22;
const LEGEND_LINE = 22;
/** Average width of a letter, for what must be known before it is drawn. */
const LETTER = 6.9;
/** Columns of all bands together, so that a dump of many processes does not make a file of hundreds of MiB. */
const ALL_COLUMNS = 100_000;
const LEAST_COLUMNS = 100;
const MOST_COLUMNS = 1000;

export function svgMap(map: MemoryMap, title: string): string {
  const columns = Math.max(
    LEAST_COLUMNS,
    Math.min(MOST_COLUMNS, Math.floor(ALL_COLUMNS / Math.max(1, map.spaces.length))),
  );
  const lanes: LegendLane[] = map.contents ? ['kind', 'state', 'content'] : ['kind', 'state'];
  const body: string[] = [];
  let y = MARGIN + TITLE_HEIGHT;
  body.push(text(MARGIN, MARGIN + 14, title, 'title'));
  body.push(text(WIDTH - MARGIN, MARGIN + 14, sizeText(map.totals, map.pageSize), 'size'));
  for (const lane of lanes) y = legend(lane, map, y, body);
  y += SPACE_GAP / 2;
  for (const space of map.spaces) y = band(space, map, lanes, columns, y, body);
  return `<svg xmlns="http://www.w3.org/2000/svg" width="${WIDTH}" height="${y}" viewBox="0 0 ${WIDTH} ${y}" role="img">
<title>${escaped(title)}</title>
<style>${style(lanes)}</style>
<rect class="page" width="${WIDTH}" height="${y}"/>
${body.join('\n')}
</svg>
`;
}

/** Draws the colors of a lane that occur. Returns where the next thing goes. */
function legend(lane: LegendLane, map: MemoryMap, y: number, body: string[]): number {
  const pages = lanePages(lane, map);
  const indent = 64;
  let x = MARGIN + indent;
  let line = y;
  body.push(text(MARGIN, line + 14, lane, 'lane'));
  COLORS[lane].forEach(({ label }, i) => {
    const count = pages[i] ?? 0;
    if (count === 0) return;
    const words = `${label} ${bytesText(count, map.pageSize)}`;
    const width = 18 + words.length * LETTER + 14;
    if (x + width > WIDTH - MARGIN && x > MARGIN + indent) [x, line] = [MARGIN + indent, line + LEGEND_LINE];
    body.push(`<rect class="${lane}${i}" x="${x}" y="${line + 4}" width="12" height="12" rx="2"/>`);
    body.push(text(x + 18, line + 14, words, 'legend'));
    x += width;
  });
  return line + LEGEND_LINE;
}

function band(
  space: MapSpace,
  map: MemoryMap,
  lanes: readonly LegendLane[],
  columns: number,
  y: number,
  body: string[],
): number {
  body.push(text(MARGIN, y + 14, spaceTitle(space), 'name'));
  const size = space.pages === 0 ? 'no memory' : sizeText(space, map.pageSize);
  body.push(text(WIDTH - MARGIN, y + 14, size, 'size'));
  let top = y + TITLE_HEIGHT;
  if (space.pages === 0) return top + SPACE_GAP;
  const axis = axisOf(space);
  for (const lane of lanes) {
    body.push(...lanePaths(axis, lane, columns, top));
    if (lane === 'kind') body.push(...labels(space, axis, top));
    top += LANE_HEIGHT + LANE_GAP;
  }
  return top + SPACE_GAP;
}

/** One path for each color. */
function lanePaths(axis: Axis, lane: Lane, columns: number, y: number): string[] {
  const paths = COLORS[lane].map(() => '');
  drawLane(axis, lane, { from: 0, to: axis.length }, columns, (color, x, count, bottom, top) => {
    paths[color] += `M${x} ${LEVELS - top}h${count}v${top - bottom}h-${count}z`;
  });
  const [scaleX, scaleY] = [BAND_WIDTH / columns, LANE_HEIGHT / LEVELS];
  const place = `transform="translate(${MARGIN} ${y}) scale(${scaleX} ${scaleY})"`;
  return paths.flatMap((path, color) => (path === '' ? [] : [`<path class="${lane}${color}" ${place} d="${path}"/>`]));
}

/** Names of areas that are wide enough for them. */
function labels({ areas }: MapSpace, axis: Axis, y: number): string[] {
  return areas.flatMap((area, i) => {
    const from = ((axis.starts[i] as number) / axis.length) * BAND_WIDTH;
    const width = ((axis.ends[i] as number) / axis.length) * BAND_WIDTH - from;
    const label = areaLabel(area);
    if (label.length * LETTER + 8 > width) return [];
    const ink = labelColor(familyIndex(area.kind));
    return [text(MARGIN + from + 4, y + 14, label, 'label', ` fill="${ink}"`)];
  });
}

const text = (x: number, y: number, words: string, name: string, more = ''): string =>
  `<text class="${name}" x="${Math.round(x)}" y="${y}"${more}>${escaped(words)}</text>`;

const ENTITIES: Record<string, string> = { '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;', "'": '&apos;' };

/** Text as XML may have it. */
const escaped = (words: string): string =>
  oneLine(words)
    .replace(/[\ud800-\udfff\ufffe\uffff]/gu, '\ufffd')
    .replace(/[&<>"']/g, (character) => ENTITIES[character] as string);

function style(lanes: readonly Lane[]): string {
  const fills = (theme: 'light' | 'dark') =>
    lanes.flatMap((lane) => COLORS[lane].map((color: Color, i) => `.${lane}${i}{fill:${color[theme]}}`)).join('');
  return `text{font:12px system-ui,sans-serif}text:not(.label){fill:#1c2026}.title{font-size:16px;font-weight:600}.name{font-weight:600}
.size{text-anchor:end}text.size,text.lane{fill:#59606c}.label{font-size:11px}.page{fill:#fff}
${fills('light')}
@media (prefers-color-scheme:dark){text:not(.label){fill:#e7e9ed}text.size,text.lane{fill:#a2a9b5}.page{fill:#14171c}${fills('dark')}}`;
}
