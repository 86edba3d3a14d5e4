/** Walks along a pages file whose bytes come in order, and says which of them are payload and which padding. */
import { PagesLayout } from '../memory/pages-layout.js';
import type { RunBatch } from '../memory/runs.js';

/** How the next bytes of a pages file begin: padding, then payload. */
export interface PagesStep {
  padding: number;
  payload: number;
}

export class PagesWalk {
  /** Bytes of payload that the current runs still need. */
  payloadLeft = 0;
  private readonly layout: PagesLayout;
  private position = 0;
  /** Where the payload of the current runs is, and how much is left of the first of these places. */
  private places: Float64Array = new Float64Array(0);
  private next = 0;
  private left = 0;

  /** @param pageSize bytes */
  constructor(pageSize: number) {
    this.layout = new PagesLayout(pageSize);
  }

  /** Begins with the next runs; those before have all of their payload. */
  start(runs: RunBatch): void {
    this.places = this.layout.place(runs);
    this.next = 0;
    this.left = 0;
    this.payloadLeft = runs.payloadBytes;
  }

  /** Takes at most `most` of the next bytes: none once the current runs have what they need. */
  step(most: number): PagesStep {
    let padding = 0;
    if (this.left === 0 && this.payloadLeft > 0) {
      const start = this.places[this.next] as number;
      padding = Math.min(most, start - this.position);
      this.position += padding;
      if (this.position < start) return { padding, payload: 0 };
      this.left = this.places[this.next + 1] as number;
      this.next += 2;
    }
    const payload = Math.min(most - padding, this.left);
    this.left -= payload;
    this.payloadLeft -= payload;
    this.position += payload;
    return { padding, payload };
  }
}
