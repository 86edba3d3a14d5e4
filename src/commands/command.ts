/** What a command is, and the world it runs in. */
import { UsageError } from '../errors.js';

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

/** Everything a command may touch of the process. */
export interface Io {
  stdinFd: number;
  stdoutFd: number;
  stdinIsTerminal: boolean;
  stdoutIsTerminal: boolean;
  stderrIsTerminal: boolean;
  out(text: string): void;
  err(text: string): void;
  /** Aborted when the user interrupts a command that {@link Command.cleansUp}. */
  signal: AbortSignal;
  /** Parses words as the flags and inputs of a command. Throws {@link UsageError}. */
  parse(command: Command, words: readonly string[]): Arguments;
}

export interface Command {
  name: string;
  /** The text of `--help`. */
  help: string;
  flags: Record<string, Flag>;
  /** Whether it has something to remove when it is interrupted; else a signal simply ends it. */
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

/** A flag that takes one of some words. */
export function choice<T extends string>(args: Arguments, name: string, choices: readonly T[], fallback: T): T {
  const value = args.flags[name];
  if (value === undefined) return fallback;
  const found = choices.find((word) => word === value);
  if (found === undefined)
    throw new UsageError(`--${name}: expected ${choices.join(', ')}, found ${JSON.stringify(value)}`);
  return found;
}

/** A page size in bytes, if it is given. */
export function pageSizeFlag(args: Arguments, sizes: readonly number[]): { pageSize?: number } {
  const { pageSize } = args.flags;
  if (pageSize === undefined) return {};
  if (!sizes.includes(pageSize as number)) {
    throw new UsageError(`--page-size: expected ${sizes.join(', ')}, found ${pageSize}`);
  }
  return { pageSize: pageSize as number };
}

/** Binary data is not for terminals. */
export function refuseTerminals(io: Io, { stdin = false, stdout = false }): void {
  if (stdin && io.stdinIsTerminal) {
    throw new UsageError('expected a page stream on stdin, found a terminal; pagepipe read DUMP makes one');
  }
  if (stdout && io.stdoutIsTerminal) {
    throw new UsageError('refusing to write binary data to a terminal; pipe it, or send it to a file');
  }
}
