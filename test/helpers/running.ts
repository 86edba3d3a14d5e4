/** Command lines that go on until they are stopped: in this process, and as processes of their own. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { onTestFinished } from 'vitest';
import type { Io } from '../../src/commands/command.js';
import { BIN, cli, type Outcome } from './cli.js';

/** A command line that goes on until it is stopped, and what it prints. */
export class Running {
  out = '';
  err = '';
  private readonly watchers = new Set<() => void>();
  private readonly controller = new AbortController();
  readonly outcome: Promise<Outcome>;

  constructor(words: readonly string[], options: Partial<Io> = {}) {
    const hear = (name: 'out' | 'err') => (text: string) => {
      this[name] += text;
      for (const watcher of this.watchers) watcher();
    };
    this.outcome = cli(words, { signal: this.controller.signal, out: hear('out'), err: hear('err'), ...options });
    onTestFinished(async () => {
      this.stop();
      await this.outcome;
    });
  }

  /** Resolves when something was printed; rejects if the command ends without it. */
  prints(what: RegExp, name: 'out' | 'err' = 'err'): Promise<RegExpExecArray> {
    return new Promise((resolve, reject) => {
      const check = () => {
        const found = what.exec(this[name]);
        if (!found) return;
        this.watchers.delete(check);
        resolve(found);
      };
      this.watchers.add(check);
      check();
      this.outcome.then(({ code }) => reject(neverPrinted(what, code, this[name])), reject);
    });
  }

  async port(): Promise<number> {
    return Number((await this.prints(/(?:serving|listening) at [\d.]+:(\d+)\n/))[1]);
  }

  stop(): void {
    this.controller.abort(new Error('stopped by the test'));
  }

  async code(): Promise<number> {
    return (await this.outcome).code;
  }
}

/** `pagepipe` as a process, with what it says on stderr. */
export function start(words: readonly string[]) {
  const child = spawn(process.execPath, [BIN, ...words], { stdio: ['pipe', 'pipe', 'pipe'] });
  onTestFinished(() => {
    child.kill('SIGKILL');
  });
  const stderr = { text: '' };
  const watchers = new Set<() => void>();
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    stderr.text += text;
    for (const watcher of watchers) watcher();
  });
  child.stdin.on('error', () => {});
  const prints = (what: RegExp): Promise<RegExpExecArray> =>
    new Promise((resolve, reject) => {
      const check = () => {
        const found = what.exec(stderr.text);
        if (found) resolve(found);
      };
      watchers.add(check);
      check();
      exitOf(child).then((code) => reject(neverPrinted(what, code, stderr.text)), reject);
    });
  return { child, stderr, prints };
}

/**
 * The exit code of a process, or the signal that ended it; all that it printed has been read then. So have ended the processes that
 * it left its stderr to.
 */
export const exitOf = async (child: ChildProcess): Promise<number | string | null> => {
  const isOver = (child.exitCode ?? child.signalCode) !== null && child.stdout?.closed && child.stderr?.closed;
  if (!isOver) await once(child, 'close');
  return child.exitCode ?? child.signalCode;
};

const neverPrinted = (what: RegExp, code: number | string | null, text: string): Error =>
  new Error(`${what} was not printed before the exit with ${code}, but ${JSON.stringify(text)}`);
