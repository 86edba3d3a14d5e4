/**
 * What a command is: an object with `run`. Everything else is in the table (`command-line/commands.ts`). A command touches
 * the process only through {@link Io}, so tests run it in their own process. `run` checks its arguments first, then opens the
 * source, then the sink, and lets `pump` do the work. Results go to stdout, everything else to stderr. A failure is thrown:
 * `cli.ts` turns it into a message and an exit code.
 */
import type { OptionName } from '../command-line/options.js';
import { dashed } from '../command-line/options.js';
import type { Arguments } from '../command-line/parse.js';
import { UsageError } from '../errors.js';
import { KINDS, type Kind } from '../memory/vma.js';
import type { Messages } from './messages.js';

export type { Arguments } from '../command-line/parse.js';

/** All that the command line uses of the process. */
export interface ProcessIo {
  stdinFd: number;
  stdoutFd: number;
  stdinIsTerminal: boolean;
  stdoutIsTerminal: boolean;
  stderrIsTerminal: boolean;
  out(text: string): void;
  err(text: string): void;
  /** Aborted when the user interrupts a command whose {@link Command.cleansUp} is set. */
  signal: AbortSignal;
  /** Aborted at a second signal, for a command whose {@link Command.endsTwice} is set. */
  secondSignal?: AbortSignal;
  /** How stdout shows pictures; by default {@link DEFAULT_SCREEN}. */
  screen?: () => Screen;
  /** The words that started this program. */
  self?: readonly string[];
}

export interface Screen {
  columns: number;
  hasColors: boolean;
}

/** Where nothing else is known, such as a file. */
export const DEFAULT_SCREEN: Screen = { columns: 80, hasColors: false };

/** All that a command may use of the process. */
export interface Io
  extends Omit<ProcessIo, 'err'>,
    Pick<Messages, 'print' | 'record' | 'warn' | 'note' | 'tell' | 'finding'> {
  /** Whether progress goes to a log, a line a minute: `--progress`. */
  logsProgress?: boolean;
}

/** Something that a command writes. */
export interface Output {
  /** As on the command line. */
  out: string;
  /** `cores` is a directory with an ELF core for each process, `file` any other file. */
  kind: 'directory' | 'tar' | 'oci' | 'shards' | 'cores' | 'file';
  compression?: string | undefined;
}

export interface Command {
  /** Whether it has something to remove when it is interrupted. If not, a signal simply ends the process. */
  cleansUp?: boolean;
  /** Whether the first signal asks it to come to an end, and a second one to end at once. */
  endsTwice?: boolean;
  run(args: Arguments, io: Io): Promise<void>;
  /** All that it writes, for `--if-absent`. */
  outputs?(args: Arguments): readonly Output[];
}

/** A program that a command runs has failed, and has said why. Its exit code becomes that of the command. */
export class ProgramFailed extends Error {
  override readonly name = 'ProgramFailed';

  constructor(
    program: string,
    readonly exitCode: number,
  ) {
    super(`${program} ended with exit code ${exitCode}`);
  }
}

/** A question of which the answer is no: nothing was found, or two dumps differ. That is all, and the exit code is 1. */
export class AnswerIsNo extends Error {
  override readonly name = 'AnswerIsNo';
}

/** The inputs of a command, by name. Throws {@link UsageError} if there are too few or too many. */
export function inputs(args: Arguments, ...names: string[]): string[] {
  const missing = names[args.input.length];
  if (missing !== undefined) throw new UsageError(`expected ${missing}, found nothing`);
  const extra = args.input[names.length];
  if (extra !== undefined)
    throw new UsageError(`expected ${names.join(' and ') || 'no arguments'}, found one more: ${extra}`);
  // As of a variable of a script that is not set. Made absolute, it would be the current directory.
  const empty = names[args.input.indexOf('')];
  if (empty !== undefined) throw new UsageError(`expected ${empty}, found an empty argument`);
  return args.input;
}

/** The value of a flag that takes one of several words. Throws {@link UsageError} for another one. */
export function choice<T extends string>(args: Arguments, name: OptionName, choices: readonly T[], fallback: T): T {
  const value = args.flags[name];
  if (value === undefined) return fallback;
  const found = choices.find((word) => word === value);
  if (found === undefined)
    throw new UsageError(`${dashed(name)}: expected ${choices.join(', ')}, found ${JSON.stringify(value)}`);
  return found;
}

/** The processes and kinds of memory of `--pid` and `--kind`, where they are given. Throws {@link UsageError}. */
export function selected(args: Arguments): { pids?: number[]; kinds?: Kind[] } {
  const { pid: pids = [], kind: kinds = [] } = args.flags as { pid?: number[]; kind?: string[] };
  if (pids.some((pid) => !Number.isSafeInteger(pid) || pid < 1)) throw new UsageError('--pid: expected a process id');
  const unknown = kinds.find((kind) => !(KINDS as readonly string[]).includes(kind));
  if (unknown !== undefined) {
    throw new UsageError(`--kind: expected one of ${KINDS.slice(1).join(', ')}, found ${JSON.stringify(unknown)}`);
  }
  return { ...(pids.length > 0 ? { pids } : {}), ...(kinds.length > 0 ? { kinds: kinds as Kind[] } : {}) };
}

/** A flag whose old name, --force, is accepted until 1.0. */
export function flagOrForce(args: Arguments, name: 'incomplete' | 'unsafePolicy', io: Io): boolean {
  if (args.flags[name] === true) return true;
  if (args.flags['force'] !== true) return false;
  io.note(`--force is called ${dashed(name)} here, and will not be accepted from 1.0 on`);
  return true;
}

/** Where a warning of a partial dump goes, if `--incomplete` accepts such a dump. */
export const partialFlag = (args: Arguments, io: Io): Io['warn'] | undefined =>
  args.flags['incomplete'] === true ? io.warn : undefined;

/** The page size in bytes, if it is given. Throws {@link UsageError} for one that no machine has. */
export function pageSizeFlag(args: Arguments, sizes: readonly number[]): { pageSize?: number } {
  const { pageSize } = args.flags;
  if (pageSize === undefined) return {};
  if (!sizes.includes(pageSize as number)) {
    throw new UsageError(`--page-size: expected ${sizes.join(', ')}, found ${pageSize}`);
  }
  return { pageSize: pageSize as number };
}

/** Throws {@link UsageError} for options that do not go with the rest of the command line. */
export function refuseOptions(args: Arguments, names: readonly OptionName[], why: string): void {
  const found = names.find((name) => args.flags[name] !== undefined);
  if (found) throw new UsageError(`${dashed(found)}${why}`);
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
