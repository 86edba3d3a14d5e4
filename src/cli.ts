/** The command line. No other file uses the process. */
import { fstatSync, readFileSync } from 'node:fs';
import { constants } from 'node:os';
import { isatty } from 'node:tty';
import { COMMANDS, type CommandName, optionsOf, specOf } from './command-line/commands.js';
import { helpOf, overview } from './command-line/help.js';
import { parse, suggestion } from './command-line/parse.js';
import {
  AnswerIsNo,
  type Arguments,
  type Command,
  DEFAULT_SCREEN,
  type Io,
  type ProcessIo,
  ProgramFailed,
  type Screen,
} from './commands/command.js';
import { Messages } from './commands/messages.js';
import { s3UsageTeller } from './commands/s3-usage.js';
import { DumpError, isErrno, UsageError } from './errors.js';
import { FdWriter } from './io/fd.js';
import { terminalColumns } from './io/linux.js';
import { printable } from './printable.js';
import { EX_TEMPFAIL, isTemporary } from './temporary.js';

/** A command is loaded only when it is used, so that `--help` is fast. */
const LOADERS: Record<CommandName, () => Promise<Command>> = {
  ls: async () => (await import('./commands/ls.js')).command,
  x: async () => (await import('./commands/x.js')).command,
  core: async () => (await import('./commands/core.js')).command,
  map: async () => (await import('./commands/map.js')).command,
  inspect: async () => (await import('./commands/inspect.js')).command,
  search: async () => (await import('./commands/search.js')).command,
  diff: async () => (await import('./commands/diff.js')).command,
  extract: async () => (await import('./commands/extract.js')).command,
  show: async () => (await import('./commands/show.js')).command,
  info: async () => (await import('./commands/info.js')).command,
  decode: async () => (await import('./commands/decode.js')).command,
  verify: async () => (await import('./commands/verify.js')).command,
  'merge-report': async () => (await import('./commands/merge-report.js')).command,
  edit: async () => (await import('./commands/edit.js')).command,
  encode: async () => (await import('./commands/encode.js')).command,
  'make-lazy': async () => (await import('./commands/make-lazy.js')).command,
  split: async () => (await import('./commands/split.js')).command,
  merge: async () => (await import('./commands/merge.js')).command,
  serve: async () => (await import('./commands/serve.js')).command,
  'lazy-pages': async () => (await import('./commands/lazy-pages.js')).command,
  template: async () => (await import('./commands/template.js')).command,
  untemplate: async () => (await import('./commands/untemplate.js')).command,
  restore: async () => (await import('./commands/restore.js')).command,
  copy: async () => (await import('./commands/copy.js')).command,
  send: async () => (await import('./commands/send.js')).command,
  migrate: async () => (await import('./commands/migrate.js')).command,
  receive: async () => (await import('./commands/receive.js')).command,
  connect: async () => (await import('./commands/connect.js')).command,
  capture: async () => (await import('./commands/capture.js')).command,
  'capture-wait': async () => (await import('./commands/capture-wait.js')).command,
  provide: async () => (await import('./commands/provide.js')).command,
  adopt: async () => (await import('./commands/adopt.js')).command,
  accept: async () => (await import('./commands/accept.js')).command,
  read: async () => (await import('./commands/read.js')).command,
  classify: async () => (await import('./commands/stages.js')).classifyCommand,
  filter: async () => (await import('./commands/stages.js')).filterCommand,
  rebuild: async () => (await import('./commands/stages.js')).rebuildCommand,
  write: async () => (await import('./commands/write.js')).command,
  run: async () => (await import('./commands/run.js')).command,
  completion: async () => (await import('./commands/completion.js')).command,
};

/** The device number of /dev/null. */
const NULL_DEVICE = 0x103;

const EXIT = { NO: 1, FAILED: 1, USAGE: 2, BUG: 70, SIGNAL: 128 };

/** Why a command was aborted. */
class Interrupted extends Error {
  constructor(readonly signal: 'SIGINT' | 'SIGTERM' | 'SIGHUP') {
    super(signal);
  }
}

/** Runs a command line; returns the exit code. */
export async function main(words: readonly string[], io: ProcessIo, interrupts: InterruptSource): Promise<number> {
  const [first, ...rest] = words;
  const name = first !== undefined && Object.hasOwn(COMMANDS, first) ? (first as CommandName) : undefined;
  const spec = name && specOf(name);
  const options = rest.includes('--') ? rest.slice(0, rest.indexOf('--')) : rest;
  const messages = new Messages(io.err, {
    prefix: spec?.group === 'stages' ? `pagepipe ${name}` : 'pagepipe',
    json: spec !== undefined && optionsOf(spec).includes('json') && options.includes('--json'),
    quiet: options.includes('--quiet') || options.includes('-q'),
  });
  let command: Command | undefined;
  try {
    if (name === undefined || spec === undefined) {
      io.out(answerTo(first, rest[0]));
      return 0;
    }
    if (options.includes('--help') || options.includes('-h')) {
      io.out(helpOf(name));
      return 0;
    }
    const args = await parse(spec, rest);
    command = await LOADERS[name]();
    if (command.cleansUp) interrupts.listen(command.endsTwice === true);
    const tellUsage = s3UsageTeller(messages);
    if (args.flags['ifAbsent'] === true) await runIfAbsent(command, args, commandIo(io, messages, args));
    else await command.run(args, commandIo(io, messages, args));
    tellUsage();
    return 0;
  } catch (error) {
    if (command?.cleansUp) await pendingSignals();
    return report(reasonOf(error, io.signal), name, messages);
  }
}

const runIfAbsent = async (command: Command, args: Arguments, io: Io): Promise<void> =>
  (await import('./commands/if-absent.js')).runIfAbsent(command, args, io);

/** Names from a dump must not command the terminal. */
function commandIo(io: ProcessIo, { print, record, warn, note, tell, finding }: Messages, { flags }: Arguments): Io {
  const { err, ...rest } = io;
  return {
    ...rest,
    out: (text) => io.out(printable(text)),
    logsProgress: flags['progress'] === true,
    print,
    record,
    warn,
    note,
    tell,
    finding,
  };
}

/** What is printed for words that are no command. Throws {@link UsageError} for those that are nothing at all. */
function answerTo(word: string | undefined, topic: string | undefined): string {
  switch (word) {
    case undefined:
      throw new UsageError(`expected a command\n\n${overview()}`);
    case '--help':
    case '-h':
    case 'help':
      if (topic === undefined) return overview();
      if (!Object.hasOwn(COMMANDS, topic)) throw unknownCommand(topic);
      return helpOf(topic as CommandName);
    case '--version':
    case '-V':
    case '-v':
    case 'version':
      return `${version()}\n`;
    default:
      throw unknownCommand(word);
  }
}

const unknownCommand = (word: string): UsageError =>
  new UsageError(
    `unknown command ${JSON.stringify(word)}${suggestion(word, [...Object.keys(COMMANDS), 'version']) || '; pagepipe help lists them'}`,
  );

/**
 * Ctrl-C ends all programs of a pipe, so the end of the input may be seen before the signal. The signal is the reason then. But
 * a failure of the system or of a client while a command stops is reported as an error.
 */
function reasonOf(error: unknown, { aborted, reason }: AbortSignal): unknown {
  const isOwn = error instanceof DumpError && (error.code === 'SYSTEM' || error.code === 'PROTOCOL');
  return aborted && reason instanceof Interrupted && !isOwn ? reason : error;
}

/** Resolves when pending signals have been handled. The first turn of the event loop may skip them, the second does not. */
async function pendingSignals(): Promise<void> {
  for (let turn = 0; turn < 2; turn++) await new Promise((resolve) => setImmediate(resolve));
}

/** Reports an error; returns the exit code. */
function report(error: unknown, name: CommandName | undefined, messages: Messages): number {
  // The reader of a pipe has seen enough.
  if (isErrno(error, 'EPIPE')) return 0;
  if (error instanceof AnswerIsNo) return EXIT.NO;
  if (error instanceof Interrupted) return EXIT.SIGNAL + constants.signals[error.signal];
  if (error instanceof ProgramFailed) {
    messages.warn(error.message);
    return error.exitCode;
  }
  messages.error(error, name && `pagepipe ${name} --help`);
  if (error instanceof UsageError) return EXIT.USAGE;
  if (!(error instanceof DumpError) && !isErrno(error)) return EXIT.BUG;
  return isTemporary(error) ? EX_TEMPFAIL : EXIT.FAILED;
}

const version = (): string =>
  (JSON.parse(readFileSync(new URL('../package.json', import.meta.url), 'utf8')) as { version: string }).version;

/** Turns signals into an abort, for commands that have something to clean up. */
export interface InterruptSource {
  /** @param twice whether a second signal is for the command, too. Otherwise it ends the process. */
  listen(twice: boolean): void;
}

function processInterrupts(first: AbortController, second: AbortController): InterruptSource {
  return {
    listen(twice) {
      for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
        const take = () => {
          const { aborted } = first.signal;
          (aborted ? second : first).abort(new Interrupted(signal));
        };
        if (twice) process.on(signal, take);
        else process.once(signal, take);
      }
    },
  };
}

/** Runs the command line of this process. */
export async function runProcess(): Promise<void> {
  const first = new AbortController();
  const second = new AbortController();
  const io: ProcessIo = {
    stdinFd: 0,
    stdoutFd: 1,
    stdinIsTerminal: isTerminal(0),
    stdoutIsTerminal: isTerminal(1),
    stderrIsTerminal: isTerminal(2),
    out: (text) => writeText(1, text),
    err: (text) => writeText(2, text),
    signal: first.signal,
    secondSignal: second.signal,
    screen: () => screenOf(1),
    self: [process.execPath, ...process.execArgv, ...process.argv.slice(1)],
  };
  process.exitCode = await main(process.argv.slice(2), io, processInterrupts(first, second));
}

/** node:tty is loaded only for what may be a terminal: it loads the network modules. */
function isTerminal(fd: number): boolean {
  try {
    const stats = fstatSync(fd);
    return stats.isCharacterDevice() && stats.rdev !== NULL_DEVICE && isatty(fd);
  } catch {
    return false; // Closed.
  }
}

/** What a picture may have there. See no-color.org. */
function screenOf(fd: number): Screen {
  const { COLUMNS, NO_COLOR, TERM } = process.env;
  const isScreen = isTerminal(fd);
  const columns = Number(COLUMNS) || (isScreen && terminalColumns(fd)) || DEFAULT_SCREEN.columns;
  return { columns, hasColors: isScreen && !NO_COLOR && TERM !== 'dumb' };
}

/** Not through process.stdout: that would make the descriptor non-blocking, and pages go through it. */
function writeText(fd: number, text: string): void {
  const writer = new FdWriter(fd);
  writer.write(Buffer.from(text));
  writer.flush();
}
