/** Runs criu for a command. */
import { type StdioOptions, spawn } from 'node:child_process';
import { once } from 'node:events';
import { DumpError, systemReason } from '../errors.js';
import type { Arguments } from './command.js';

/**
 * Runs the criu of `--criu`; resolves to its exit code.
 * @throws {DumpError} SYSTEM if it cannot be run
 */
export async function runCriu(
  words: readonly string[],
  { flags }: Arguments,
  stdio: StdioOptions = 'inherit',
): Promise<number> {
  const program = (flags['criu'] as string | undefined) ?? 'criu';
  const child = spawn(program, words, { stdio });
  const ended = once(child, 'exit') as Promise<[code: number | null, signal: NodeJS.Signals | null]>;
  try {
    const [code] = await ended;
    return code ?? 1;
  } catch (error) {
    throw new DumpError('SYSTEM', `${program} cannot be run: ${systemReason(error)}`, {
      hint: 'install criu, or say with --criu where it is',
    });
  }
}
