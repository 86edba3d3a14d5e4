/** Progress on a terminal, once the work has taken longer than a second. */
import prettyBytes from 'pretty-bytes';
import { ERASE_LINE } from '../printable.js';
import type { Io } from './command.js';

const FIRST_MS = 1000;
const EVERY_MS = 200;

export class Progress {
  private readonly start = Date.now();
  private shownAt = 0;
  private bytes = 0;

  /** @param totalBytes returns 0 if it is not known */
  constructor(
    private readonly io: Io,
    private readonly totalBytes: () => number,
  ) {}

  readonly add = (bytes: number): void => {
    this.bytes += bytes;
    if (!this.io.stderrIsTerminal) return;
    const now = Date.now();
    if (now - this.start < FIRST_MS || now - this.shownAt < EVERY_MS) return;
    this.shownAt = now;
    this.io.print(`${ERASE_LINE}${this.line(now)}`);
  };

  /** Removes the line. */
  done(): void {
    if (this.shownAt > 0) this.io.print(ERASE_LINE);
  }

  private line(now: number): string {
    const rate = this.bytes / ((now - this.start) / 1000);
    const size = (bytes: number) => prettyBytes(bytes, { binary: true });
    const total = this.totalBytes();
    if (total <= 0) return `${size(this.bytes)}, ${size(rate)}/s`;
    const secondsLeft = Math.max(0, Math.ceil((total - this.bytes) / rate));
    return `${size(this.bytes)} of ${size(total)}, ${size(rate)}/s, ${secondsLeft} s left`;
  }
}
