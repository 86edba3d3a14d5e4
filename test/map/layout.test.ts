/** The axis of a space, and what is drawn along it. */
import { describe, expect, it } from 'vitest';
import { MapBuilder, type NewArea } from '../../src/map/builder.js';
import { type Axis, axesOf, axisOf, drawLane, LEVELS } from '../../src/map/layout.js';
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
    const axis = axisOf(spaceOf([{ start: 0, end: 8 }, ['lazy', 6], ['eager', 2]]));
    expect(axis.length).toBe(8);
    expect(drawn(axis, 'state', 8)).toEqual([`lazy 0+6 0-${LEVELS}`, `eager 6+2 0-${LEVELS}`]);
    expect(drawn(axis, 'state', 4, 4, 8)).toEqual([`lazy 0+2 0-${LEVELS}`, `eager 2+2 0-${LEVELS}`]);
  });

  it('divides a column by the shares of its pages, and shows the smallest', () => {
    const axis = axisOf(spaceOf([{ start: 0, end: 1000 }, ['lazy', 999], ['eager', 1]]));
    expect(drawn(axis, 'state', 1)).toEqual([`eager 0+1 0-1`, `lazy 0+1 1-${LEVELS}`]);
  });

  it('has narrow gaps only where addresses are far apart', () => {
    const axis = axisOf(
      spaceOf(
        [{ start: 0, end: 100 }, ['lazy', 100]],
        [{ start: 200, end: 300 }, ['lazy', 100]],
        [{ start: 300 + GIB_PAGES, end: 400 + GIB_PAGES }, ['lazy', 100]],
      ),
    );
    const [first, second, third] = axis.starts;
    expect([first, second]).toEqual([0, 100]);
    expect(third).toBeGreaterThan(200);
    expect(axis.length).toBeGreaterThan(300);
    expect(axis.length).toBeLessThan(310);
  });

  it('gives pages without bytes two fifths at most, or their true width', () => {
    const space = spaceOf([{ start: 0, end: 10_000 }, ['zero', 9900], ['lazy', 60], ['eager', 40]]);
    const axis = axisOf(space);
    expect(axis.binStarts[1] as number).toBeCloseTo(0.4 * axis.length);
    expect(axisOf(space, { isTrueScale: true }).length).toBe(10_000);
  });

  it('has an address of several maps at the same place', () => {
    const before = spaceOf(
      [{ start: 10, end: 20 }, ['lazy', 10]],
      [{ start: 30, end: 40 }, ['lazy', 10]],
      [{ start: 50, end: 60 }, ['eager', 10]],
      [{ start: 60 + GIB_PAGES, end: 61 + GIB_PAGES }, ['eager', 1]],
    );
    // The first area has grown, the second is in two parts, and there is a new one.
    const after = spaceOf(
      [{ start: 10, end: 26 }, ['lazy', 16]],
      [{ start: 30, end: 35 }, ['lazy', 5]],
      [{ start: 35, end: 40 }, ['eager', 5]],
      [{ start: 42, end: 46 }, ['lazy', 4]],
      [{ start: 50, end: 60 }, ['eager', 10]],
      [{ start: 60 + GIB_PAGES, end: 61 + GIB_PAGES }, ['eager', 1]],
    );
    const [a, b] = axesOf([before, after]) as [Axis, Axis];
    expect([...a.starts.slice(0, 3)]).toEqual([0, 16, 30]);
    expect([...b.starts.slice(0, 5)]).toEqual([0, 16, 21, 26, 30]);
    expect(a.starts[3]).toBe(b.starts[5]);
    expect(a.starts[3]).toBeGreaterThan(40);
    expect(a.length).toBe(b.length);
    expect([...b.binStarts]).toEqual([...b.starts]);
    expect(axesOf([before])[0]?.length).toBeLessThan(a.length);
  });

  it('of a space without memory can be drawn', () => {
    expect(drawn(axisOf(spaceOf()), 'kind', 10)).toEqual([]);
  });
});
