/** A criu that dumps or restores for a migration: in a session of its own, so that Ctrl-C reaches only pagepipe, and with a log. */
import { type ChildProcess, type StdioOptions, spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, openSync, readFileSync } from 'node:fs';
import { DumpError, onFile, systemReason } from '../errors.js';

/** What a version of criu is called. */
const VERSION = /^Version: (\d+(?:\.\d+)*)/m;
/** Dumps hold secrets, and messages name what is in them. */
const LOG_MODE = 0o600;

/** How a program has ended. */
export interface ProgramEnd {
  code: number | null;
  signal: NodeJS.Signals | null;
}

export class CriuRun {
  readonly ended: Promise<ProgramEnd>;

  private constructor(
    child: ChildProcess,
    private readonly log: string,
  ) {
    this.ended = once(child, 'exit').then(([code, signal]) => ({ code, signal }));
  }

  /**
   * Starts criu. What it says before it opens its log goes to a file with the suffix .err.
   * @param log path of its log
   * @param hasSocket whether it gets, as its descriptor 3, a socket at which there is nothing but the end
   * @throws {DumpError} SYSTEM if it cannot be run
   */
  static async start(program: string, words: readonly string[], log: string, hasSocket = false): Promise<CriuRun> {
    const errors = onFile(log, () => openSync(`${log}.err`, 'w', LOG_MODE));
    try {
      const stdio: StdioOptions = ['ignore', errors, errors];
      if (hasSocket) stdio.push('pipe');
      const child = spawn(program, [...words, '-o', log], { stdio, detached: true });
      child.stdio[3]?.on('error', () => {}).destroy();
      const run = new CriuRun(child, log);
      await Promise.race([once(child, 'spawn'), run.ended]);
      return run;
    } catch (error) {
      throw cannotRun(program, error);
    } finally {
      closeSync(errors);
    }
  }

  /** The first error in the log, from which the others follow; empty if there is none. Criu does without higher limits. */
  reason(): string {
    const error = readLines(this.log).find((line) => /\bError \((?!.*\brlimit:)/.test(line));
    const line = error ?? readLines(`${this.log}.err`).at(-1) ?? '';
    return line.replace(/^\([\d.]+\)\s*/, '').trim();
  }
}

/** How a program has ended, in words. */
export const endText = ({ code, signal }: ProgramEnd): string =>
  signal === null ? `exit code ${code}` : `the signal ${signal}`;

/** The version of a criu. Throws {@link DumpError} SYSTEM if it cannot be run. */
export async function criuVersion(program: string): Promise<string> {
  const { code, output } = await runQuietly(program, ['--version']);
  const version = VERSION.exec(output)?.[1];
  if (code === 0 && version !== undefined) return version;
  throw new DumpError('SYSTEM', `${program} --version says no version of criu`);
}

/** Throws {@link DumpError} SYSTEM if a criu finds that its kernel will not do, or that it may not restore. */
export async function checkCriu(program: string): Promise<void> {
  const { code, output } = await runQuietly(program, ['check']);
  if (code === 0) return;
  const reason = output.split('\n').filter((line) => /\bError\b/.test(line))[0] ?? output.trim().split('\n').at(-1);
  throw new DumpError('SYSTEM', `${program} check has failed: ${reason?.trim()}`);
}

/** Whether a version is older than another one, by its first two numbers. */
export function isOlder(version: string, other: string): boolean {
  const [[major, minor], [otherMajor, otherMinor]] = [version, other].map((text) => {
    const [first = 0, second = 0] = text.split('.').map(Number);
    return [first, second] as const;
  }) as [readonly [number, number], readonly [number, number]];
  return major < otherMajor || (major === otherMajor && minor < otherMinor);
}

async function runQuietly(program: string, words: readonly string[]): Promise<{ code: number | null; output: string }> {
  const child = spawn(program, words, { stdio: ['ignore', 'pipe', 'pipe'] });
  let output = '';
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding('utf8').on('data', (text: string) => {
      output += text;
    });
  }
  try {
    const [code] = (await once(child, 'close')) as [number | null];
    return { code, output };
  } catch (error) {
    throw cannotRun(program, error);
  }
}

const cannotRun = (program: string, error: unknown): DumpError =>
  new DumpError('SYSTEM', `${program} cannot be run: ${systemReason(error)}`);

function readLines(path: string): string[] {
  try {
    return readFileSync(path, 'utf8')
      .split('\n')
      .filter((line) => line.trim() !== '');
  } catch {
    return [];
  }
}
