/** The axis of a space, and what is drawn along it. */
import { describe, expect, it } from 'vitest';
import { MapBuilder, type NewArea } from '../../src/map/builder.js';
import { type Axis, axisOf, drawLane, LEVELS } from '../../src/map/layout.js';
import type { MapSpace } from '../../src/map/model.js';
import { STATES } from '../../src/map/model.js';
import type { Lane } from '../../src/map/palette.js';

type Told = [
  area: Partial<NewArea> & { start: number; end: number },
  ...runs: [state: (typeof STATES)[number], pages: number][],
];

function spaceOf(...areas: Told[]): MapSpace {
  const builder = new MapBuilder({ pageSize: 4096 });
  builder.space('task', 1, null);
  for (const [area, ...runs] of areas) {
    builder.newArea({ kind: 'anon', flags: 'rw-p', ...area });
    for (const [state, pages] of runs) builder.pages(state, pages);
  }
  return builder.map().spaces[0] as MapSpace;
}

/** Rectangles as text: `lazy 0+3 0-16`. */
function drawn(axis: Axis, lane: Lane, columns: number, from = 0, to = axis.length): string[] {
  const found: string[] = [];
  drawLane(axis, lane, { from, to }, columns, (color, x, count, bottom, top) => {
    found.push(`${lane === 'state' ? STATES[color] : color} ${x}+${count} ${bottom}-${top}`);
  });
  return found;
}

const GIB_PAGES = 2 ** 18;

describe('an axis', () => {
  it('is as long as there are pages', () => {
    const axis = axisOf(spaceOf([{ start: 0, end: 8 }, ['lazy', 6], ['eager', 2]]), { pageSize: 4096 });
    expect(axis.length).toBe(8);
    expect(drawn(axis, 'state', 8)).toEqual([`lazy 0+6 0-${LEVELS}`, `eager 6+2 0-${LEVELS}`]);
    expect(drawn(axis, 'state', 4, 4, 8)).toEqual([`lazy 0+2 0-${LEVELS}`, `eager 2+2 0-${LEVELS}`]);
  });

  it('divides a column by the shares of its pages, and shows the smallest', () => {
    const axis = axisOf(spaceOf([{ start: 0, end: 1000 }, ['lazy', 999], ['eager', 1]]), { pageSize: 4096 });
    expect(drawn(axis, 'state', 1)).toEqual([`eager 0+1 0-1`, `lazy 0+1 1-${LEVELS}`]);
  });

  it('has narrow gaps only where addresses are far apart', () => {
    const axis = axisOf(
      spaceOf(
        [{ start: 0, end: 100 }, ['lazy', 100]],
        [{ start: 200, end: 300 }, ['lazy', 100]],
        [{ start: 300 + GIB_PAGES, end: 400 + GIB_PAGES }, ['lazy', 100]],
      ),
      { pageSize: 4096 },
    );
    expect([...axis.hasGap]).toEqual([0, 0, 1]);
    expect(axis.length).toBeGreaterThan(300);
    expect(axis.length).toBeLessThan(310);
  });

  it('gives pages without bytes two fifths at most, or their true width', () => {
    const space = spaceOf([{ start: 0, end: 10_000 }, ['zero', 9900], ['lazy', 60], ['eager', 40]]);
    const axis = axisOf(space, { pageSize: 4096 });
    expect(axis.binStarts[1] as number).toBeCloseTo(0.4 * axis.length);
    expect(axisOf(space, { pageSize: 4096, isTrueScale: true }).length).toBe(10_000);
  });

  it('of a space without memory can be drawn', () => {
    expect(drawn(axisOf(spaceOf(), { pageSize: 4096 }), 'kind', 10)).toEqual([]);
  });
});
