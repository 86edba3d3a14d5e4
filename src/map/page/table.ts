/** The table of areas: sorted by any column, filtered, and as many rows at a time as a page takes at once. */

import { oneLine } from '../../printable.js';
import { areaText, bytesText, spaceTitle } from '../describe.js';
import { type MapArea, type MapSpace, type MemoryMap, STATES, type State, sumOf } from '../model.js';
import { element } from './dom.js';

/** Rows that are shown at first, and with each press of the button. */
const ROWS = 50;

interface Row {
  map: MemoryMap;
  space: MapSpace;
  area: MapArea;
  index: number;
  title: string;
  states: number[];
  what: string;
}

interface Column {
  name: string;
  isNumber?: true;
  /** What rows are sorted by. */
  key(row: Row): number | bigint | string;
  text(row: Row): string;
}

export interface TableMap {
  prefix: string;
  map: MemoryMap;
}

export class AreaTable {
  readonly root: HTMLElement;
  private readonly rows: Row[];
  private readonly columns: Column[];
  private readonly body = element('tbody');
  private readonly more = element('button', { type: 'button', className: 'more' });
  private readonly count = element('span', { className: 'count', ariaLive: 'polite' });
  private readonly heads: HTMLElement[] = [];
  private sorted: { column: Column; isDescending: boolean };
  private shown = ROWS;
  private filter = '';

  /** @param goTo shows an area in the map */
  constructor(
    maps: readonly TableMap[],
    private readonly goTo: (space: MapSpace, index: number) => void,
  ) {
    this.rows = maps.flatMap(rowsOf);
    this.columns = columnsOf(maps.map(({ map }) => map));
    const inDump = this.columns.find(({ name }) => name === 'In the dump') as Column;
    this.sorted = { column: inDump, isDescending: true };
    this.root = this.build();
    this.render();
  }

  private build(): HTMLElement {
    const input = element('input', {
      type: 'search',
      placeholder: 'process, kind, flags, file',
      ariaLabel: 'Filter areas',
    });
    input.addEventListener('input', () => {
      this.filter = input.value.trim().toLowerCase();
      this.shown = ROWS;
      this.render();
    });
    this.more.addEventListener('click', () => {
      this.shown += ROWS;
      this.render();
    });
    const head = element('tr');
    for (const column of this.columns) {
      const button = element('button', { type: 'button' }, column.name);
      button.addEventListener('click', () => this.sortBy(column));
      const cell = element('th', { scope: 'col', className: column.isNumber ? 'number' : '' }, button);
      this.heads.push(cell);
      head.append(cell);
    }
    const table = element('table', {}, element('thead', {}, head), this.body);
    return element(
      'section',
      { className: 'areas', ariaLabel: 'Areas' },
      element('header', {}, element('h2', {}, 'Areas'), this.count, input),
      element('div', { className: 'scroll' }, table),
      this.more,
    );
  }

  private sortBy(column: Column): void {
    const { sorted } = this;
    const isDescending = sorted.column === column ? !sorted.isDescending : column.isNumber === true;
    this.sorted = { column, isDescending };
    this.render();
  }

  private render(): void {
    const { column, isDescending } = this.sorted;
    this.columns.forEach((one, i) => {
      const head = this.heads[i];
      if (head) head.ariaSort = one !== column ? 'none' : isDescending ? 'descending' : 'ascending';
    });
    const { filter } = this;
    const found = filter === '' ? [...this.rows] : this.rows.filter((row) => matches(row, filter));
    const sign = isDescending ? -1 : 1;
    found.sort((a, b) => sign * compare(column.key(a), column.key(b)));
    this.body.replaceChildren(...found.slice(0, this.shown).map((row) => this.line(row)));
    const left = found.length - this.shown;
    this.count.textContent = left > 0 ? `${this.shown} of ${found.length} rows` : `${found.length} rows`;
    this.more.hidden = left <= 0;
    this.more.textContent = `Show ${Math.min(left, ROWS)} more`;
  }

  private line(row: Row): HTMLElement {
    const line = element('tr');
    this.columns.forEach((column, i) => {
      const text = column.text(row);
      const cell = element('td', { className: column.isNumber ? 'number' : 'text' });
      if (i === 0) {
        const button = element('button', { type: 'button', title: 'Show it in the map' }, text);
        button.addEventListener('click', () => this.goTo(row.space, row.index));
        cell.append(button);
      } else if (text !== '') cell.append(element('span', { title: column.isNumber ? '' : oneLine(text) }, text));
      line.append(cell);
    });
    return line;
  }
}

function rowsOf({ prefix, map }: TableMap): Row[] {
  return map.spaces.flatMap((space) => {
    const title = `${prefix}${spaceTitle(space)}`;
    return space.areas.map((area, index) => {
      const states = STATES.map((_, state) => sumOf(area.bins.map((counts) => counts[state] ?? 0)));
      return { map, space, area, index, title, states, what: areaText(area, map) };
    });
  });
}

const matches = ({ title, what, area }: Row, filter: string): boolean =>
  `${title} ${what} ${area.start}`.toLowerCase().includes(filter);

const STATE_COLUMNS: [state: State, name: string][] = [
  ['eager', 'At once'],
  ['elsewhere', 'To be fetched'],
  ['parent', 'In a parent'],
  ['shared', 'Shared'],
  ['zero', 'Zeros'],
];

function columnsOf(maps: readonly MemoryMap[]): Column[] {
  const number = (name: string, pages: (row: Row) => number): Column => ({
    name,
    isNumber: true,
    key: pages,
    text: (row) => (pages(row) === 0 ? '' : bytesText(pages(row), row.map.pageSize)),
  });
  const ofState = (state: State) => (row: Row) => row.states[STATES.indexOf(state)] ?? 0;
  const used = STATE_COLUMNS.filter(([state]) =>
    maps.some(({ totals, spaces }) =>
      state === 'shared' ? spaces.some(({ states }) => states.shared > 0) : totals.states[state] > 0,
    ),
  );
  const random = maps.some(({ contents }) => contents)
    ? [number('Zero bytes', ofContent(0)), number('Random', ofContent(3))]
    : [];
  const changed = maps.some(({ spaces }) => spaces.some(({ areas }) => areas.some((area) => area.changed)))
    ? [number('Changed', ({ area }) => sumOf(area.changed ?? []))]
    : [];
  return [
    { name: 'Address', key: ({ area }) => BigInt(area.start), text: ({ area }) => area.start },
    { name: 'Process', key: ({ title }) => title, text: ({ title }) => title },
    { name: 'What', key: ({ what }) => what, text: ({ what }) => what },
    number('Mapped', ({ area }) => area.pages),
    number('In the dump', (row) => ofState('eager')(row) + ofState('lazy')(row)),
    ...used.map(([state, name]) => number(name, ofState(state))),
    ...random,
    ...changed,
  ];
}

const ofContent = (content: number) => (row: Row) =>
  sumOf((row.area.content ?? []).map((counts) => counts[content] ?? 0));

function compare(a: number | bigint | string, b: number | bigint | string): number {
  if (typeof a === 'string' && typeof b === 'string') return a.localeCompare(b, 'en', { numeric: true });
  return a < b ? -1 : a > b ? 1 : 0;
}
