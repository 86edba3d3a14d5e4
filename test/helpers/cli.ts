/** Runs the command line: in this process, or as a process of its own. */
import { type SpawnOptions, spawn } from 'node:child_process';
import { closeSync, openSync } from 'node:fs';
import { join } from 'node:path';
import { main } from '../../src/cli.js';
import type { ProcessIo } from '../../src/commands/command.js';
import { ROOT } from './temp.js';

export interface Outcome {
  code: number;
  stdout: string;
  stderr: string;
}

export interface InProcessOptions extends Partial<ProcessIo> {
  /** File that is stdin. */
  stdin?: string;
  /** File that binary output goes to. */
  stdout?: string;
}

/** Runs a command line in this process. */
export async function cli(words: readonly string[], options: InProcessOptions = {}): Promise<Outcome> {
  const { stdin, stdout, ...io } = options;
  const outcome = { code: -1, stdout: '', stderr: '' };
  const stdinFd = openSync(stdin ?? '/dev/null', 'r');
  const stdoutFd = openSync(stdout ?? '/dev/null', 'w');
  try {
    outcome.code = await main(
      words,
      {
        stdinFd,
        stdoutFd,
        stdinIsTerminal: false,
        stdoutIsTerminal: false,
        stderrIsTerminal: false,
        out: (text) => {
          outcome.stdout += text;
        },
        err: (text) => {
          outcome.stderr += text;
        },
        signal: new AbortController().signal,
        ...io,
      },
      { listen() {} },
    );
  } finally {
    closeSync(stdinFd);
    closeSync(stdoutFd);
  }
  return outcome;
}

export const BIN = join(ROOT, 'bin/pagepipe.js');

/** Runs the command line as a process; stdin is empty unless `input` is given. */
export function pagepipe(
  words: readonly string[],
  options: SpawnOptions & { input?: Uint8Array | string } = {},
): Promise<Outcome & { bytes: Buffer; signal: NodeJS.Signals | null }> {
  return runProcess(process.execPath, [BIN, ...words], options);
}

/** Runs a program to its end. */
export function runProcess(
  program: string,
  words: readonly string[],
  { input, ...options }: SpawnOptions & { input?: Uint8Array | string } = {},
): Promise<Outcome & { bytes: Buffer; signal: NodeJS.Signals | null }> {
  return new Promise((resolve, reject) => {
    const child = spawn(program, words, { ...options, stdio: 'pipe' });
    const out: Buffer[] = [];
    let stderr = '';
    child.stdout?.on('data', (chunk: Buffer) => out.push(chunk));
    child.stderr?.setEncoding('utf8').on('data', (text: string) => {
      stderr += text;
    });
    // A program that fails early leaves its input unread.
    child.stdin?.on('error', () => {});
    child.stdin?.end(input ?? '');
    child.on('error', reject);
    child.on('close', (code, signal) => {
      const bytes = Buffer.concat(out);
      resolve({ code: code ?? -1, signal, bytes, stdout: bytes.toString(), stderr });
    });
  });
}
