/** The head of the page: what the dump is, its totals as bars, and what their colors mean. */
import { bytesText, lanePages, storedPages } from '../describe.js';
import { CONTENTS, type MemoryMap, sumOf } from '../model.js';
import { COLORS, type LegendLane } from '../palette.js';
import { element, swatch } from './dom.js';

const TITLES: Record<LegendLane, string> = { kind: 'Kind', state: 'State', content: 'Content' };

export function summary(map: MemoryMap): HTMLElement {
  const lanes: LegendLane[] = map.contents ? ['kind', 'state', 'content'] : ['kind', 'state'];
  return element(
    'section',
    { className: 'summary', ariaLabel: 'Totals' },
    figures(map),
    ...lanes.map((lane) => totalsBar(lane, map)),
  );
}

function figures(map: MemoryMap): HTMLElement {
  const size = (pages: number) => bytesText(pages, map.pageSize);
  const shown: [value: string, what: string][] = [
    [size(storedPages(map.totals)), 'in the dump'],
    [size(map.totals.pages), 'mapped'],
    [map.processes.toLocaleString('en'), 'processes'],
    [map.areas.toLocaleString('en'), 'areas'],
  ];
  const { content } = map;
  if (content && content.pages > 0) {
    const nonZero = content.pages - content.contents.zero;
    const about = content.isExact ? '' : 'about ';
    const compressed = bytesText(content.compressedBytes / map.pageSize, map.pageSize);
    shown.push(
      [size(content.contents.zero), 'are zeros'],
      [`${about}${size(Math.max(0, nonZero - content.distinctPages))}`, 'are repeated pages'],
      [`about ${compressed}`, 'as LZ4'],
    );
  }
  return element(
    'dl',
    { className: 'figures' },
    ...shown.map(([value, what]) => element('div', {}, element('dt', {}, what), element('dd', {}, value))),
  );
}

/** A bar and its legend. */
function totalsBar(lane: LegendLane, map: MemoryMap): HTMLElement {
  const pages = lanePages(lane, map);
  const total = sumOf(pages);
  const bar = element('div', { className: 'bar', ariaHidden: 'true' });
  const legend = element('ul', { className: 'legend' });
  COLORS[lane].forEach(({ label }, color) => {
    const count = pages[color] ?? 0;
    if (count === 0 || (lane === 'content' && color >= CONTENTS.length)) return;
    const part = element('span');
    part.style.flexGrow = String(count / total);
    part.style.background = `var(--${lane}-${color})`;
    bar.append(part);
    const size = element('b', {}, bytesText(count, map.pageSize));
    const share = element('span', { className: 'share' }, percent(count / total));
    legend.append(element('li', {}, swatch(lane, color), `${label} `, size, ' ', share));
  });
  return element(
    'figure',
    { className: 'totals' },
    element('figcaption', {}, TITLES[lane]),
    element('div', {}, bar, legend),
  );
}

function percent(share: number): string {
  if (share > 0 && share < 0.01) return '< 1 %';
  return share < 1 && share > 0.99 ? '> 99 %' : `${Math.round(share * 100)} %`;
}
