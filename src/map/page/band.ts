/** One space as a band that can be zoomed, panned and walked along: by wheel, pointer, buttons and keys. */
import { sizeText, spaceTitle } from '../describe.js';
import { type Axis, firstEndingAfter } from '../layout.js';
import type { MapSpace, MemoryMap } from '../model.js';
import type { Lane } from '../palette.js';
import type { Details, Place } from './details.js';
import { element } from './dom.js';
import { bandHeight, drawBand, LANE_GAP, LANE_HEIGHT } from './drawing.js';
import { theme } from './theme.js';
import type { Viewport } from './viewport.js';

const ZOOM_STEP = 1.6;
const PAN_STEP = 0.2;
/** A pointer that moves less than this, in CSS pixels, clicks and does not drag. */
const CLICK_PIXELS = 4;

export interface BandOptions {
  map: MemoryMap;
  lanes: readonly Lane[];
  details: Details;
  /** Before the title, where there are several maps. */
  prefix: string;
  /** @param isTrueScale whether all pages are equally wide */
  axis(isTrueScale: boolean): Axis;
  /** The part that is shown. Bands of one process in several maps share it. */
  view: Viewport;
}

export class Band {
  readonly root: HTMLElement;
  private axis: Axis;
  private readonly view: Viewport;
  private readonly canvas = element('canvas', { tabIndex: 0 });
  private readonly range = element('div', { className: 'range' });
  private hovered = -1;
  private selected = -1;
  private drag: { x: number; hasMoved: boolean } | undefined;
  private isVisible = false;
  private isDue = false;

  constructor(
    readonly space: MapSpace,
    private readonly options: BandOptions,
  ) {
    this.axis = options.axis(false);
    this.view = options.view;
    this.root = this.build();
    this.listen();
    this.view.onMove(() => this.redraw());
  }

  /** Pages that the axis has. */
  get length(): number {
    return this.axis.length;
  }

  /** @param isTrueScale whether all pages are equally wide */
  setWidths(isTrueScale: boolean): void {
    this.axis = this.options.axis(isTrueScale);
    this.setScale(undefined);
  }

  /** @param pages that the whole width has; by default those of the space */
  setScale(pages = this.axis.length): void {
    this.view.reset(pages);
  }

  /** Draws it soon, if it can be seen. */
  redraw(): void {
    if (!this.isVisible || this.isDue) return;
    this.isDue = true;
    requestAnimationFrame(() => this.draw());
  }

  /** Tells whether it can be seen. */
  setVisible(isVisible: boolean): void {
    this.isVisible = isVisible;
    this.redraw();
  }

  /** Draws it at once, wherever it is. */
  draw(): void {
    this.isDue = false;
    const { canvas } = this;
    const ratio = Math.max(1, devicePixelRatio);
    const [width, height] = [canvas.clientWidth, bandHeight(this.options.lanes)];
    if (width === 0) return;
    canvas.width = Math.round(width * ratio);
    canvas.height = Math.round(height * ratio);
    const context = canvas.getContext('2d');
    if (!context) return;
    const { space, axis, view, hovered, selected } = this;
    const { lanes } = this.options;
    drawBand(context, { space, axis, view, lanes, theme: theme(), hovered, selected }, { width, height, ratio });
    const { from, to } = view.share;
    this.range.style.visibility = view.isWhole ? 'hidden' : 'visible';
    this.range.style.marginLeft = `${from * 100}%`;
    this.range.style.width = `${(to - from) * 100}%`;
  }

  /** Shows an area and puts the cursor there. */
  goTo(index: number): void {
    this.root.scrollIntoView({ block: 'center' });
    this.canvas.focus({ preventScroll: true });
    this.select(index);
    this.view.fit(this.axis.starts[index] as number, this.axis.ends[index] as number);
    this.redraw();
  }

  private build(): HTMLElement {
    const { map, lanes, prefix } = this.options;
    const title = `${prefix}${spaceTitle(this.space)}`;
    const size = this.space.pages === 0 ? 'no memory' : sizeText(this.space, map.pageSize);
    const button = (label: string, sign: string, act: () => void) => {
      const made = element('button', { type: 'button', title: label, ariaLabel: `${label}: ${title}` }, sign);
      made.addEventListener('click', act);
      return made;
    };
    const buttons = element(
      'span',
      { className: 'zoom' },
      button('Zoom out', '−', () => this.zoom(1 / ZOOM_STEP)),
      button('Zoom in', '+', () => this.zoom(ZOOM_STEP)),
      button('Show all', '↔', () => this.reset()),
    );
    const isEmpty = this.space.pages === 0;
    const head = element(
      'header',
      {},
      element('h3', {}, title),
      isEmpty ? undefined : buttons,
      element('span', { className: 'size' }, size),
    );
    if (isEmpty) return element('section', { className: 'band' }, head);
    const { canvas } = this;
    canvas.style.height = `${bandHeight(lanes)}px`;
    canvas.setAttribute('role', 'application');
    canvas.ariaLabel = `${title}: ${size}. Arrow keys go from area to area, plus and minus zoom, Enter shows an area.`;
    const names = element('div', { className: 'lanes', ariaHidden: 'true' });
    for (const lane of lanes) {
      const name = element('span', {}, lane);
      name.style.height = `${LANE_HEIGHT[lane]}px`;
      name.style.marginBottom = `${LANE_GAP}px`;
      names.append(name);
    }
    const body = element(
      'div',
      { className: 'body' },
      names,
      element('div', { className: 'picture' }, canvas, this.range),
    );
    return element('section', { className: 'band' }, head, body);
  }

  private listen(): void {
    const { canvas } = this;
    canvas.addEventListener('pointermove', (event) => this.move(event));
    canvas.addEventListener('pointerdown', (event) => {
      this.drag = { x: event.clientX, hasMoved: false };
      canvas.setPointerCapture(event.pointerId);
    });
    canvas.addEventListener('pointerup', (event) => {
      if (this.drag && !this.drag.hasMoved) this.select(this.indexAt(event.clientX));
      this.drag = undefined;
    });
    canvas.addEventListener('pointercancel', () => {
      this.drag = undefined;
    });
    canvas.addEventListener('pointerleave', () => {
      this.hovered = -1;
      this.options.details.hide();
      this.redraw();
    });
    canvas.addEventListener('dblclick', (event) => {
      this.showArea(this.indexAt(event.clientX));
      event.preventDefault();
    });
    canvas.addEventListener('wheel', (event) => this.wheel(event), { passive: false });
    canvas.addEventListener('keydown', (event) => this.key(event));
    canvas.addEventListener('blur', () => this.options.details.hide());
  }

  /** The wheel scrolls the page, and zooms with Ctrl or in the band that has the focus. */
  private wheel(event: WheelEvent): void {
    const isZoom = event.ctrlKey || event.metaKey || document.activeElement === this.canvas;
    if (Math.abs(event.deltaX) > Math.abs(event.deltaY) && !this.view.isWhole) {
      this.view.pan(event.deltaX / this.canvas.clientWidth);
    } else if (isZoom && event.deltaY !== 0) {
      this.view.zoom(1.0025 ** -event.deltaY, this.positionAt(event.clientX));
    } else return;
    event.preventDefault();
    this.redraw();
  }

  private move(event: PointerEvent): void {
    if (this.drag && event.buttons !== 0) {
      const distance = this.drag.x - event.clientX;
      if (!this.drag.hasMoved && Math.abs(distance) < CLICK_PIXELS) return;
      this.view.pan(distance / this.canvas.clientWidth);
      this.drag = { x: event.clientX, hasMoved: true };
      this.options.details.hide();
    } else {
      this.hovered = this.indexAt(event.clientX);
      const place = this.placeOf(this.hovered, this.positionAt(event.clientX));
      if (place) this.options.details.show(place, this.options.map, event.clientX, event.clientY);
      else this.options.details.hide();
    }
    this.redraw();
  }

  private key(event: KeyboardEvent): void {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const last = this.space.areas.length - 1;
    const { selected } = this;
    const actions: Record<string, () => void> = {
      ArrowRight: () => (event.shiftKey ? this.pan(PAN_STEP) : this.select(Math.min(last, selected + 1))),
      ArrowLeft: () => (event.shiftKey ? this.pan(-PAN_STEP) : this.select(Math.max(0, selected - 1))),
      Home: () => this.select(0),
      End: () => this.select(last),
      '+': () => this.zoom(ZOOM_STEP),
      '=': () => this.zoom(ZOOM_STEP),
      '-': () => this.zoom(1 / ZOOM_STEP),
      '0': () => this.reset(),
      Escape: () => this.reset(),
      Enter: () => this.showArea(Math.max(0, selected)),
    };
    const act = Object.hasOwn(actions, event.key) ? actions[event.key] : undefined;
    if (!act) return;
    event.preventDefault();
    act();
  }

  private zoom(factor: number): void {
    const { starts, ends } = this.axis;
    const { from, to } = this.view;
    const cursor = this.selected < 0 ? -1 : ((starts[this.selected] as number) + (ends[this.selected] as number)) / 2;
    this.view.zoom(factor, cursor > from && cursor < to ? cursor : (from + to) / 2);
    this.redraw();
  }

  private pan(part: number): void {
    this.view.pan(part);
    this.redraw();
  }

  private reset(): void {
    this.view.reset();
    this.options.details.hide();
    this.redraw();
  }

  /** Zooms to an area, or if it is shown already, to all of them. */
  private showArea(index: number): void {
    if (index < 0) return;
    const before = { ...this.view.share };
    this.select(index);
    this.view.fit(this.axis.starts[index] as number, this.axis.ends[index] as number);
    if (this.view.share.from === before.from && this.view.share.to === before.to) this.view.reset();
    this.redraw();
  }

  /** Puts the cursor on an area and says what it is. */
  private select(index: number): void {
    this.selected = index;
    if (index >= 0) {
      const [from, to] = [this.axis.starts[index] as number, this.axis.ends[index] as number];
      this.view.reveal(from, to);
      const place = this.placeOf(index);
      if (place) {
        const { left, bottom, width } = this.canvas.getBoundingClientRect();
        const x = Math.min(1, Math.max(0, ((from + to) / 2 - this.view.from) / this.view.length));
        this.options.details.show(place, this.options.map, left + x * width, bottom - 20);
        this.options.details.say(place, this.options.map);
      }
    }
    this.redraw();
  }

  private positionAt(clientX: number): number {
    const { left, width } = this.canvas.getBoundingClientRect();
    return this.view.from + ((clientX - left) / width) * this.view.length;
  }

  /** The area at a place; -1 in a gap. Of areas that are narrower than a pixel it is one of those. */
  private indexAt(clientX: number): number {
    const position = this.positionAt(clientX);
    const index = firstEndingAfter(this.axis.ends, position);
    if (index >= this.space.areas.length) return -1;
    const pixel = this.view.length / this.canvas.clientWidth;
    return (this.axis.starts[index] as number) <= position + pixel ? index : -1;
  }

  private placeOf(index: number, position?: number): Place | undefined {
    const area = this.space.areas[index];
    if (!area || position === undefined) return area && { area };
    let first = 0;
    for (let i = 0; i < index; i++) first += this.space.areas[i]?.bins.length ?? 0;
    const bin = firstEndingAfter(this.axis.binEnds, position) - first;
    return { area, bin: Math.max(0, Math.min(bin, area.bins.length - 1)) };
  }
}
