/**
 * Progress on a terminal, one line, once the work has taken longer than a second. The stages of a pipe share the terminal, so
 * one whose stdout is a pipe keeps quiet: the last one has the line. Elsewhere there is none, unless it is asked for: then it
 * is a message a minute, for the log of a job.
 */
import { fstatSync } from 'node:fs';
import prettyBytes from 'pretty-bytes';
import type { Emit } from '../bytes.js';
import { ERASE_LINE } from '../printable.js';
import type { Io } from './command.js';

const FIRST_MS = 1000;
const EVERY_MS = 200;
const LOG_MS = 60_000;
/** After so long without data, the line says so. */
const STALLED_MS = 3000;

export class Progress {
  private readonly start = Date.now();
  private shownAt = 0;
  private isVisible = false;
  private bytes = 0;
  private addedAt = this.start;
  private readonly timer: NodeJS.Timeout | undefined;
  /** Whether lines go to a log, and how often. */
  private readonly isLog: boolean;
  private readonly everyMs: number = EVERY_MS;

  /** @param totalBytes returns 0 if it is not known */
  constructor(
    private readonly io: Io,
    private readonly totalBytes: () => number,
  ) {
    this.isLog = io.logsProgress === true && !io.stderrIsTerminal;
    if (!this.isLog && (!io.stderrIsTerminal || isPipe(io.stdoutFd))) return;
    this.everyMs = this.isLog ? LOG_MS : EVERY_MS;
    if (this.isLog) this.shownAt = this.start;
    // The line is updated even while nothing arrives.
    this.timer = setInterval(() => this.show(Date.now()), this.isLog ? LOG_MS : FIRST_MS).unref();
  }

  readonly add = (bytes: number): void => {
    this.bytes += bytes;
    if (!this.timer) return;
    const now = Date.now();
    this.addedAt = now;
    if (now - this.shownAt >= this.everyMs) this.show(now);
  };

  /** Removes the line for good. */
  done(): void {
    clearInterval(this.timer);
    this.hide();
  }

  /** Wraps a writer to stdout, which may be the same terminal: the line is removed first, and returns when it is due. */
  around(write: Emit): Emit {
    return (bytes) => {
      this.hide();
      write(bytes);
    };
  }

  private hide(): void {
    if (this.isVisible) this.io.print(ERASE_LINE);
    this.isVisible = false;
  }

  private show(now: number): void {
    // Work that is never interrupted holds up the timer; the next piece of it brings the line then.
    if (now - this.start < FIRST_MS || (this.isLog && now - this.shownAt < LOG_MS)) return;
    this.shownAt = now;
    if (this.isLog) {
      this.io.tell(this.line(now));
      return;
    }
    this.isVisible = true;
    this.io.print(`${ERASE_LINE}${this.line(now)}`);
  }

  private line(now: number): string {
    const rate = this.bytes / ((now - this.start) / 1000);
    const size = (bytes: number) => prettyBytes(bytes, { binary: true });
    const stalled = now - this.addedAt >= STALLED_MS;
    const speed = stalled ? `nothing for ${Math.floor((now - this.addedAt) / 1000)} s` : `${size(rate)}/s`;
    const total = this.totalBytes();
    if (total <= 0) return `${size(this.bytes)}, ${speed}`;
    const left = stalled ? '' : `, ${Math.max(0, Math.ceil((total - this.bytes) / rate))} s left`;
    return `${size(this.bytes)} of ${size(total)}, ${speed}${left}`;
  }
}

function isPipe(fd: number): boolean {
  try {
    const stats = fstatSync(fd);
    return stats.isFIFO() || stats.isSocket();
  } catch {
    return false; // Closed.
  }
}
