/** The part of an axis that a band shows: zooming and panning, without a picture. */
import type { View } from '../layout.js';

/** A page is never wider than this part of the band. */
const LEAST_PAGES = 4;

export class Viewport implements View {
  from = 0;
  to: number;

  private readonly listeners: (() => void)[] = [];

  /** @param end of the axis in pages, or of a longer one whose scale this band has */
  constructor(private end: number) {
    this.to = end;
  }

  get isWhole(): boolean {
    return this.from === 0 && this.to === this.end;
  }

  get length(): number {
    return this.to - this.from;
  }

  /** The part that is shown, from 0 to 1. */
  get share(): { from: number; to: number } {
    return { from: this.from / this.end, to: this.to / this.end };
  }

  /** @param listener is called when another part is shown */
  onMove(listener: () => void): void {
    this.listeners.push(listener);
  }

  reset(end = this.end): void {
    this.end = end;
    this.show(0, end);
  }

  /** @param factor above 1 shows more detail; the page at `position` stays where it is */
  zoom(factor: number, position: number): void {
    const length = Math.min(this.end, Math.max(Math.min(LEAST_PAGES, this.end), this.length / factor));
    const part = (position - this.from) / this.length;
    this.show(position - part * length, position + (1 - part) * length);
  }

  /** Moves by a part of what is shown. */
  pan(part: number): void {
    this.show(this.from + part * this.length, this.to + part * this.length);
  }

  /** Shows a range as large as possible, with a little of what is around it. */
  fit(from: number, to: number): void {
    const margin = Math.max((to - from) * 0.1, LEAST_PAGES / 2);
    this.show(from - margin, to + margin);
  }

  /** Moves as little as is needed for a range to be seen. */
  reveal(from: number, to: number): void {
    if (to > this.to) this.show(to - this.length, to);
    if (from < this.from) this.show(from, from + this.length);
  }

  private show(from: number, to: number): void {
    const length = Math.min(to - from, this.end);
    this.from = Math.max(0, Math.min(from, this.end - length));
    this.to = this.from + length;
    for (const listener of this.listeners) listener();
  }
}
