/** What is said of the place under the pointer or the keyboard's cursor: next to it, and to a screen reader. */
import { areaText, bytesText } from '../describe.js';
import type { MapArea, MemoryMap } from '../model.js';
import { COLORS, type Lane } from '../palette.js';
import { element, swatch } from './dom.js';

/** An area, and the bin of it that is pointed at; all of them if there is none. */
export interface Place {
  area: MapArea;
  bin?: number | undefined;
}

/** Distance from the pointer, in CSS pixels. */
const DISTANCE = 14;

export class Details {
  private readonly box = element('div', { className: 'details', hidden: true, ariaHidden: 'true' });
  private readonly spoken = element('div', { className: 'spoken', ariaLive: 'polite' });

  constructor() {
    document.body.append(this.box, this.spoken);
  }

  /** @param x, y in the window */
  show(place: Place, map: MemoryMap, x: number, y: number): void {
    this.box.replaceChildren(...lines(place, map));
    this.box.hidden = false;
    const { width, height } = this.box.getBoundingClientRect();
    const left = x + DISTANCE + width > innerWidth ? x - DISTANCE - width : x + DISTANCE;
    const top = y + DISTANCE + height > innerHeight ? y - DISTANCE - height : y + DISTANCE;
    this.box.style.left = `${Math.max(4, left)}px`;
    this.box.style.top = `${Math.max(4, top)}px`;
  }

  hide(): void {
    this.box.hidden = true;
  }

  /** Says it to a screen reader. */
  say(place: Place, map: MemoryMap): void {
    this.spoken.replaceChildren(...lines(place, map));
  }
}

function lines({ area, bin }: Place, map: MemoryMap): HTMLElement[] {
  const size = bytesText(area.pages, map.pageSize);
  const made: HTMLElement[] = [
    element('div', { className: 'address' }, `${area.start}–${area.end} `, element('b', {}, size)),
    element('div', {}, areaText(area, map)),
  ];
  const lanes: [lane: Lane, counts: readonly (readonly number[])[]][] = [
    ['state', area.bins],
    ['content', area.content ?? []],
    ['changed', (area.changed ?? []).map((pages) => [pages])],
  ];
  for (const [lane, all] of lanes) {
    const counts = bin === undefined ? summed(all) : (all[bin] ?? []);
    const parts = counts.flatMap((pages, color) =>
      pages > 0
        ? [
            element(
              'li',
              {},
              swatch(lane, color),
              `${COLORS[lane][color]?.label} `,
              element('b', {}, bytesText(pages, map.pageSize)),
            ),
          ]
        : [],
    );
    if (parts.length === 0) continue;
    const isPart = bin !== undefined && area.bins.length > 1;
    const head = lane === 'state' ? (isPart ? 'Here:' : '') : `${lane}:`;
    const words = head === '' ? undefined : element('li', { className: 'head' }, head);
    made.push(element('ul', { className: 'legend' }, words, ...parts));
  }
  return made;
}

function summed(all: readonly (readonly number[])[]): number[] {
  const sum: number[] = [];
  for (const counts of all) {
    for (const [i, pages] of counts.entries()) sum[i] = (sum[i] ?? 0) + pages;
  }
  return sum;
}
