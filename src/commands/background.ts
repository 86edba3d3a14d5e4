/** `--daemon`: starts the same command again in the background, and returns when it says that it is ready. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, constants, openSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Readable } from 'node:stream';
import { DumpError, invariant, onFile } from '../errors.js';
import { checkApart, type Place } from '../io/apart.js';
import { EX_TEMPFAIL } from '../temporary.js';
import type { Arguments, Io } from './command.js';
import { shardFds } from './source.js';

/** Set for the command in the background: the descriptor on which it says that it is ready. */
const READY_FD = 'PAGEPIPE_READY_FD';
/** Dumps hold secrets, and messages name what is in them. */
const LOG_MODE = 0o600;
const LOG_NAME = 'lazy-pages.log';

/** The descriptor on which this command says that it is ready; undefined if it is not in the background. */
export function readyFd(): number | undefined {
  const text = process.env[READY_FD];
  return text === undefined ? undefined : Number(text);
}

/**
 * Runs this command line in the background.
 * @param inputs what is read, which the log must be apart from
 * @throws {DumpError} with its error, if it ends before it is ready
 */
export async function goToBackground(
  args: Arguments,
  io: Io,
  directory: string,
  inputs: readonly Place[],
): Promise<void> {
  const { statusFd, logFile } = args.flags as { statusFd?: number; logFile?: string };
  const log = logFile ?? join(directory, LOG_NAME);
  if (logFile !== undefined) checkApart(logFile, inputs);
  invariant(io.self, 'the program knows how it was started');
  const [program, ...words] = io.self as [string, ...string[]];
  const ready = statusFd === 3 ? 4 : 3;
  const passed = [io.stdinFd, ...(shardFds(args) ?? []), ...(statusFd === undefined ? [] : [statusFd])];
  // The name in a work directory may be a link that somebody else has put there.
  const flags =
    constants.O_WRONLY | constants.O_CREAT | constants.O_TRUNC | (logFile === undefined ? constants.O_NOFOLLOW : 0);
  const logFd = onFile(log, () => openSync(log, flags, LOG_MODE));
  const stdio = Array.from({ length: Math.max(ready, ...passed) + 1 }, (_, fd) =>
    passed.includes(fd) ? fd : 'ignore',
  );
  stdio[2] = logFd;
  stdio[ready] = 'pipe' as 'ignore';
  const child = spawn(program, words, { stdio, detached: true, env: { ...process.env, [READY_FD]: String(ready) } });
  closeSync(logFd);
  const channel = child.stdio[ready] as Readable;
  const ended = once(child, 'exit').then(([code]) => code as number | null);
  const end = await Promise.race([once(channel, 'data').then(() => 'ready' as const), ended]);
  channel.destroy();
  child.unref();
  if (end === 'ready') return;
  const [message, hint] = ['error', 'hint'].map(
    (kind) => new RegExp(`^pagepipe: ${kind}: (.*)$`, 'm').exec(readFileSync(log, 'utf8'))?.[1],
  );
  throw new DumpError('SYSTEM', message ?? `the daemon ended before it listened; see ${log}`, {
    ...(hint ? { hint } : {}),
    temporary: end === EX_TEMPFAIL,
  });
}
