/**
 * What a command is. Each is an object with a name, a help text, flags and `run`. It touches the process only through
 * {@link Io}, so tests run it in their own process. `run` checks its arguments first, then opens the source, then the
 * sink, and lets `pump` do the work. Results go to stdout, everything else to stderr. A failure is thrown: `cli.ts` turns it
 * into a message and an exit code.
 */
import { UsageError } from '../errors.js';
import { oneLine } from '../printable.js';

/** A flag as meow takes it. */
export interface Flag {
  type: 'string' | 'boolean' | 'number';
  /** One letter: `i` for `-i`. */
  shortFlag?: string;
  isMultiple?: boolean;
}

export interface Arguments {
  input: string[];
  /** By name in camelCase. */
  flags: Record<string, unknown>;
}

/** All that a command may use of the process. */
export interface Io {
  stdinFd: number;
  stdoutFd: number;
  stdinIsTerminal: boolean;
  stdoutIsTerminal: boolean;
  stderrIsTerminal: boolean;
  out(text: string): void;
  err(text: string): void;
  /** Aborted when the user interrupts a command whose {@link Command.cleansUp} is set. */
  signal: AbortSignal;
  /** Parses words as the flags and inputs of a command. Throws {@link UsageError}. */
  parse(command: Command, words: readonly string[]): Arguments;
}

export interface Command {
  name: string;
  /** The text of `--help`. */
  help: string;
  flags: Record<string, Flag>;
  /** Whether it has something to remove when it is interrupted. If not, a signal simply ends the process. */
  cleansUp?: boolean;
  run(args: Arguments, io: Io): Promise<void>;
}

/** The inputs of a command, by name. Throws {@link UsageError} if there are too few or too many. */
export function inputs(args: Arguments, ...names: string[]): string[] {
  const missing = names[args.input.length];
  if (missing !== undefined) throw new UsageError(`expected ${missing}, found nothing`);
  const extra = args.input[names.length];
  if (extra !== undefined)
    throw new UsageError(`expected ${names.join(' and ') || 'no arguments'}, found one more: ${extra}`);
  return args.input;
}

/** The value of a flag that takes one of several words. Throws {@link UsageError} for another one. */
export function choice<T extends string>(args: Arguments, name: string, choices: readonly T[], fallback: T): T {
  const value = args.flags[name];
  if (value === undefined) return fallback;
  const found = choices.find((word) => word === value);
  if (found === undefined)
    throw new UsageError(`--${name}: expected ${choices.join(', ')}, found ${JSON.stringify(value)}`);
  return found;
}

/** A flag that was called --force once: that name is accepted until 1.0. */
export function flagOrForce(args: Arguments, name: 'incomplete' | 'unsafePolicy', io: Io): boolean {
  if (args.flags[name] === true) return true;
  if (args.flags['force'] !== true) return false;
  const option = { incomplete: '--incomplete', unsafePolicy: '--unsafe-policy' }[name];
  io.err(`pagepipe: note: --force is called ${option} here, and will not be accepted from 1.0 on\n`);
  return true;
}

/** Prints warnings. */
export const warningsTo =
  (io: Io) =>
  (message: string): void =>
    io.err(`pagepipe: warning: ${oneLine(message)}\n`);

/** Where a warning of a partial dump goes, if `--incomplete` accepts such a dump. */
export const partialFlag = (args: Arguments, io: Io): ReturnType<typeof warningsTo> | undefined =>
  args.flags['incomplete'] === true ? warningsTo(io) : undefined;

/** The page size in bytes, if it is given. Throws {@link UsageError} for one that no machine has. */
export function pageSizeFlag(args: Arguments, sizes: readonly number[]): { pageSize?: number } {
  const { pageSize } = args.flags;
  if (pageSize === undefined) return {};
  if (!sizes.includes(pageSize as number)) {
    throw new UsageError(`--page-size: expected ${sizes.join(', ')}, found ${pageSize}`);
  }
  return { pageSize: pageSize as number };
}

/** Throws {@link UsageError} where binary data would come from or go to a terminal. */
export function refuseTerminals(io: Io, { stdin = false, stdout = false }): void {
  if (stdin && io.stdinIsTerminal) {
    throw new UsageError('stdin is a terminal; pipe a page stream into it, such as that of pagepipe read DUMP');
  }
  if (stdout && io.stdoutIsTerminal) {
    throw new UsageError('refusing to write binary data to a terminal; pipe it, or send it to a file');
  }
}
