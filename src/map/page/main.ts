/** The page: totals, a band for each space, and the table of areas. All of it is made of the data in the page. */
import type { MapPage, MapSpace } from '../model.js';
import type { Lane } from '../palette.js';
import { Band } from './band.js';
import { Details } from './details.js';
import { element } from './dom.js';
import { summary } from './summary.js';
import { AreaTable } from './table.js';
import { onThemeChange } from './theme.js';

const page = JSON.parse(document.getElementById('data')?.textContent ?? '') as MapPage;
const main = document.getElementById('map') as HTMLElement;
main.append(...content(page));

function content({ title, maps }: MapPage): HTMLElement[] {
  document.title = title;
  const isPair = maps.length > 1;
  const details = new Details();
  const bands = new Map<MapSpace, Band>();
  const prefixes = maps.map(({ name }) => (isPair ? `${name}: ` : ''));
  maps.forEach(({ map }, i) => {
    const lanes: Lane[] = ['kind', 'state'];
    if (map.contents) lanes.push('content');
    if (map.spaces.some(({ areas }) => areas.some(({ changed }) => changed))) lanes.push('changed');
    for (const space of map.spaces) {
      bands.set(space, new Band(space, { map, lanes, details, prefix: prefixes[i] ?? '' }));
    }
  });
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
    ...inOrder(maps.map(({ map }) => map.spaces)).map((space) => (bands.get(space) as Band).root),
  );
  return [element('h1', {}, title), ...totals, picture, table.root];
}

/** The same space of several maps one below the other. */
function inOrder(maps: readonly MapSpace[][]): MapSpace[] {
  const keyOf = ({ type, id }: MapSpace) => `${type} ${id}`;
  const groups = new Map<string, MapSpace[]>();
  for (const space of maps.flat()) groups.set(keyOf(space), [...(groups.get(keyOf(space)) ?? []), space]);
  const all = [...groups.values()].flat();
  return [...all.filter(({ type }) => type === 'task'), ...all.filter(({ type }) => type !== 'task')];
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
