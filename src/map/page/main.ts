/** The page: totals, a band for each space, and the table of areas. All of it is made of the data in the page. */
import { type Axis, axesOf } from '../layout.js';
import type { MapPage, MapSpace, MemoryMap } from '../model.js';
import type { Lane } from '../palette.js';
import { Band } from './band.js';
import { Details } from './details.js';
import { element } from './dom.js';
import { summary } from './summary.js';
import { AreaTable } from './table.js';
import { onThemeChange } from './theme.js';
import { Viewport } from './viewport.js';

const page = JSON.parse(document.getElementById('data')?.textContent ?? '') as MapPage;
const main = document.getElementById('map') as HTMLElement;
main.append(...content(page));

function content({ title, maps }: MapPage): HTMLElement[] {
  document.title = title;
  const isPair = maps.length > 1;
  const details = new Details();
  const bands = new Map<MapSpace, Band>();
  const prefixes = maps.map(({ name }) => (isPair ? `${name}: ` : ''));
  const members = maps.flatMap(({ map }, i) => map.spaces.map((space) => ({ space, map, prefix: prefixes[i] ?? '' })));
  for (const group of grouped(members)) {
    const axes = (isTrueScale: boolean) =>
      axesOf(
        group.map(({ space }) => space),
        { isTrueScale },
      );
    const view = new Viewport((axes(false)[0] as Axis).length);
    group.forEach(({ space, map, prefix }, i) => {
      const axis = (isTrueScale: boolean) => axes(isTrueScale)[i] as Axis;
      bands.set(space, new Band(space, { map, lanes: lanesOf(map), details, prefix, axis, view }));
    });
  }
  watch([...bands.values()]);
  const table = new AreaTable(
    maps.map(({ map }, i) => ({ map, prefix: prefixes[i] ?? '' })),
    (space, index) => bands.get(space)?.goTo(index),
  );
  const totals = maps.map(({ name, map }) =>
    element('div', {}, isPair ? element('h2', {}, name) : undefined, summary(map)),
  );
  const picture = element(
    'section',
    { className: 'bands', ariaLabel: 'Map' },
    element('header', {}, element('h2', {}, 'Map'), controls([...bands.values()])),
    element(
      'p',
      { className: 'hint', id: 'hint' },
      'Ctrl and wheel zoom, dragging moves, a double click shows an area. Keys: ← → area, Shift ← → move, + − zoom, Enter show, Esc all.',
    ),
    ...[...bands.values()].map(({ root }) => root),
  );
  return [element('h1', {}, title), ...totals, picture, table.root];
}

function lanesOf({ contents, spaces }: MemoryMap): Lane[] {
  const hasChanges = spaces.some(({ areas }) => areas.some(({ changed }) => changed));
  return ['kind', 'state', ...(contents ? ['content' as const] : []), ...(hasChanges ? ['changed' as const] : [])];
}

/** The same space of several maps together; processes first. */
function grouped<M extends { space: MapSpace }>(members: readonly M[]): M[][] {
  const groups = new Map<string, M[]>();
  for (const member of members) {
    const { type, id } = member.space;
    const key = `${type} ${id}`;
    groups.set(key, [...(groups.get(key) ?? []), member]);
  }
  const isTask = ([first]: M[]) => first?.space.type === 'task';
  const all = [...groups.values()];
  return [...all.filter(isTask), ...all.filter((group) => !isTask(group))];
}

/** What the width of a band means. */
function controls(bands: readonly Band[]): HTMLElement {
  const isTrue = element('input', { type: 'checkbox' });
  const common = element('input', { type: 'checkbox' });
  const update = () => {
    for (const band of bands) band.setWidths(isTrue.checked);
    const most = Math.max(...bands.map(({ length }) => length));
    for (const band of bands) band.setScale(common.checked ? most : undefined);
  };
  isTrue.addEventListener('change', update);
  common.addEventListener('change', update);
  return element(
    'div',
    { className: 'controls' },
    element('label', {}, isTrue, 'all pages equally wide'),
    bands.length > 1 ? element('label', {}, common, 'one scale for all') : undefined,
  );
}

/** Draws bands while they can be seen, when their width changes, and for printing. */
function watch(bands: readonly Band[]): void {
  const byRoot = new Map<Element, Band>(bands.map((band) => [band.root, band]));
  const seen = new IntersectionObserver(
    (entries) => {
      for (const { target, isIntersecting } of entries) byRoot.get(target)?.setVisible(isIntersecting);
    },
    { rootMargin: '200px' },
  );
  const sized = new ResizeObserver((entries) => {
    for (const { target } of entries) byRoot.get(target)?.redraw();
  });
  for (const { root } of bands) {
    seen.observe(root);
    sized.observe(root);
  }
  onThemeChange((isPrinting) => {
    for (const band of bands) {
      if (isPrinting) band.draw();
      else band.redraw();
    }
  });
}
