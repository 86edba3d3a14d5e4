/** What `migrate` says of its phases: for people, or for programs with `--json`. */
import prettyBytes from 'pretty-bytes';
import type { Remains } from '../migrate/held-source.js';
import type { Delivered, Ready, Running } from '../migrate/protocol.js';
import { counted } from '../printable.js';
import { quoteWord } from '../shell.js';
import type { Io } from './command.js';

export class MigrateReport {
  private readonly startedAt = performance.now();
  private checkedAt = 0;
  private frozenAt = 0;
  private committedAt = 0;
  private isRunning = false;

  constructor(
    private readonly io: Io,
    private readonly json: boolean,
    private readonly pid: number,
    private readonly host: string,
  ) {}

  checked({ criu, out, freeBytes }: Ready): void {
    this.checkedAt = performance.now();
    this.say(
      { event: 'checked', criu, out, freeBytes },
      `${this.host}: criu ${criu}, room for ${size(freeBytes)} at ${out}; process ${this.pid} is being dumped`,
    );
  }

  /** The processes do not run from now on. */
  frozen(): void {
    this.frozenAt = performance.now();
  }

  /** @param remains what is here, if its pages follow later */
  committed(bytes: number, remains: Remains | undefined): void {
    this.committedAt = performance.now();
    const what = remains ? 'what is needed at once is there' : 'the dump is complete';
    this.say(
      { event: 'committed', bytes, ...remains?.field },
      `${this.host}: ${what}, ${size(bytes)}; process ${this.pid} ${remains?.until ?? ENDED}`,
    );
  }

  /** A signal comes too late. */
  goesOn(remains: Remains | undefined): void {
    this.io.tell(
      `process ${this.pid} ${remains?.state ?? ENDED} already, and ${this.host} restores it; a second signal ends the wait`,
    );
  }

  delivered(delivered: Delivered): void {
    const { pages, bytes, faults } = delivered;
    this.say(
      { event: 'delivered', ...delivered },
      `${this.host}: all pages are there: ${counted(pages, 'page')}, ${size(bytes)}, ${counted(faults, 'fault')}`,
    );
  }

  running({ seconds }: Running): void {
    const now = performance.now();
    this.isRunning = true;
    const stoodStillSeconds = seconds3(now - this.frozenAt);
    const phases = {
      checkSeconds: seconds3(this.checkedAt - this.startedAt),
      dumpSeconds: seconds3(this.committedAt - this.checkedAt),
      restoreSeconds: seconds,
    };
    this.say(
      { event: 'running', pid: this.pid, stoodStillSeconds, ...phases },
      `${this.host}: process ${this.pid} runs there; it stood still for at most ${stoodStillSeconds} s`,
    );
  }

  /** What to do when something fails after the processes have ended here, or are about to. */
  afterCommit(out: string, isUnknown: boolean, remains: Remains | undefined): string {
    if (remains) {
      const state = this.isRunning ? 'it has run there since, without all its pages' : 'it does not run there';
      const first = this.isRunning
        ? `end it at ${this.host}, then `
        : isUnknown
          ? `look at ${this.host} whether it is there: end it; then `
          : '';
      return `process ${this.pid} ${remains.state}, ${state}; ${first}${remains.remedy}`;
    }
    const restore = `criu restore -D ${quoteWord(out)} -d`;
    return isUnknown
      ? `process ${this.pid} has ended here, its dump is complete at ${this.host}: look there whether it runs already; if not: ${restore}`
      : `process ${this.pid} has ended here, its dump is complete at ${this.host}; restore it there: ${restore}`;
  }

  private say(event: object, message: string): void {
    if (this.json) this.io.out(`${JSON.stringify(event)}\n`);
    else this.io.tell(message);
  }
}

/** What is true of a process whose dump is complete at the far side. */
const ENDED = 'has ended here';

const size = (bytes: number): string => prettyBytes(bytes, { binary: true });

const seconds3 = (milliseconds: number): number => Math.round(milliseconds) / 1000;
