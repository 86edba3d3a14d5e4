/** What the map says of spaces and areas in words. Names are those of the dump: whoever shows them escapes what they may do. */
import prettyBytes from 'pretty-bytes';
import { CONTENTS, type MapArea, type MapSpace, type MemoryMap, STATES, STORED, type Totals } from './model.js';
import { FAMILIES, kindsOf, type LegendLane } from './palette.js';

export const bytesText = (pages: number, pageSize: number): string => prettyBytes(pages * pageSize, { binary: true });

export const spaceTitle = ({ type, id, name }: MapSpace): string =>
  `${type === 'task' ? 'pid' : 'shared memory'} ${id}${name === null ? '' : ` ${name}`}`;

/** Pages that have bytes in the dump. */
export const storedPages = ({ states }: Totals): number => STORED.reduce((sum, state) => sum + states[state], 0);

/** `2.1 MiB in the dump, 8.4 MiB mapped`. */
export const sizeText = (totals: Totals, pageSize: number): string =>
  `${bytesText(storedPages(totals), pageSize)} in the dump, ${bytesText(totals.pages, pageSize)} mapped`;

/** Pages of the whole dump by the colors of a lane. What has changed is only known bin by bin. */
export function lanePages(lane: LegendLane, { totals, content }: MemoryMap): number[] {
  if (lane === 'state') return STATES.map((state) => totals.states[state]);
  if (lane === 'content') return CONTENTS.map((name) => content?.contents[name] ?? 0);
  return FAMILIES.map((_, family) => kindsOf(family).reduce((sum, kind) => sum + (totals.kinds[kind]?.pages ?? 0), 0));
}

/** A label of a few letters. */
export function areaLabel({ areas, file, kind }: MapArea): string {
  const name = file === null ? (kind ?? 'several kinds') : (file.split('/').at(-1) ?? file);
  return areas > 1 ? `${name} (${areas})` : name;
}

/** What an area is, without its address and size. */
export function areaText({ areas, kind, flags, file, offset, segment }: MapArea, map: MemoryMap): string {
  return [
    areas > 1 ? `${areas} areas` : '',
    kind ?? 'several kinds',
    flags ?? '',
    file === null ? '' : `${file}${offset === null || offset === '0x0' ? '' : ` + ${offset}`}`,
    segment === null ? '' : sharedText(segment, map),
  ]
    .filter((word) => word !== '')
    .join(' · ');
}

/** Who maps a segment. */
export function sharedText(segment: number, { spaces }: MemoryMap): string {
  const pids = spaces.flatMap(({ type, id, areas }) =>
    type === 'task' && areas.some((area) => area.segment === segment) ? [id] : [],
  );
  const [first, ...others] = pids;
  if (first === undefined) return 'mapped by no process';
  const listed = pids.slice(0, MOST_PIDS).join(', ');
  const more = pids.length > MOST_PIDS ? ` and ${pids.length - MOST_PIDS} more` : '';
  return `shared memory ${segment}, mapped by ${others.length > 0 ? 'pids' : 'pid'} ${listed}${more}`;
}

const MOST_PIDS = 8;
