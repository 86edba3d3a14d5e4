/** The command line. No other file uses the process or meow. */
import { fstatSync, readFileSync } from 'node:fs';
import { constants } from 'node:os';
import type { Arguments, Command, Io } from './commands/command.js';
import { DumpError, InternalError, invariant, isErrno, UsageError } from './errors.js';
import { FdWriter } from './io/fd.js';
import { ERASE_LINE, oneLine, printable } from './printable.js';
import { sourceStack } from './source-stack.js';

/** A command is loaded only when it is used, so that `--help` is fast. */
const COMMANDS: Record<string, { summary: string; load(): Promise<Command> }> = {
  'make-lazy': {
    summary: 'copy a dump without the pages that can be restored lazily',
    load: async () => (await import('./commands/make-lazy.js')).command,
  },
  read: { summary: 'turn a dump into a page stream', load: async () => (await import('./commands/read.js')).command },
  classify: {
    summary: 'mark the pages of a stream as lazy or eager and with their kind',
    load: async () => (await import('./commands/stages.js')).classifyCommand,
  },
  filter: {
    summary: 'take pages out of a stream: by class, process, kind or address',
    load: async () => (await import('./commands/stages.js')).filterCommand,
  },
  rebuild: {
    summary: 'turn page runs back into pagemap entries',
    load: async () => (await import('./commands/stages.js')).rebuildCommand,
  },
  write: { summary: 'turn a page stream into a dump', load: async () => (await import('./commands/write.js')).command },
  copy: {
    summary: 'copy a dump into another container, unchanged',
    load: async () => (await import('./commands/copy.js')).command,
  },
  decode: { summary: 'turn an image into JSON', load: async () => (await import('./commands/decode.js')).command },
  encode: { summary: 'turn JSON into an image', load: async () => (await import('./commands/encode.js')).command },
  info: {
    summary: 'print the type of an image and its number of entries',
    load: async () => (await import('./commands/info.js')).command,
  },
  show: {
    summary: 'print an image as JSON for reading',
    load: async () => (await import('./commands/show.js')).command,
  },
  edit: { summary: 'change fields of an image', load: async () => (await import('./commands/edit.js')).command },
  x: { summary: 'explore a dump: ps, fds, mems, rss', load: async () => (await import('./commands/x.js')).command },
  serve: { summary: 'serve pages to lazy restores', load: async () => (await import('./commands/serve.js')).command },
  receive: {
    summary: 'receive what criu dump --page-server sends',
    load: async () => (await import('./commands/receive.js')).command,
  },
  connect: {
    summary: 'open a local port for a page server reached by ssh or the like',
    load: async () => (await import('./commands/connect.js')).command,
  },
  send: {
    summary: 'send a dump to another machine through ssh',
    load: async () => (await import('./commands/send.js')).command,
  },
  accept: {
    summary: 'run at the far end of send, which starts it',
    load: async () => (await import('./commands/accept.js')).command,
  },
  verify: { summary: 'check a dump', load: async () => (await import('./commands/verify.js')).command },
  split: {
    summary: 'divide a dump into what starts at once and the lazy pages',
    load: async () => (await import('./commands/split.js')).command,
  },
  merge: {
    summary: 'merge the two halves of a split dump',
    load: async () => (await import('./commands/merge.js')).command,
  },
  run: { summary: 'run several stages in one process', load: async () => (await import('./commands/run.js')).command },
};

const HELP = `pagepipe: a stream-transform toolkit for CRIU dumps

Usage
  pagepipe COMMAND [arguments]

Commands
${Object.entries(COMMANDS)
  .map(([name, { summary }]) => `  ${name.padEnd(10)} ${summary}`)
  .join('\n')}

  pagepipe COMMAND --help   more about a command
  pagepipe --version        the version

Exit codes: 0 done, 1 bad input or a system error, 2 wrong usage, 70 a bug,
128 + the signal's number when interrupted
`;

const EXIT = { FAILED: 1, USAGE: 2, BUG: 70, SIGNAL: 128 };

/** Why a command was aborted. */
class Interrupted extends Error {
  constructor(readonly signal: 'SIGINT' | 'SIGTERM' | 'SIGHUP') {
    super(signal);
  }
}

/** Runs a command line; returns the exit code. */
export async function main(words: readonly string[], own: Io, interrupts: InterruptSource): Promise<number> {
  const io = forPeople(own);
  let command: Command | undefined;
  try {
    const [name, ...rest] = words;
    if (name === undefined) throw new UsageError(`expected a command\n\n${HELP}`);
    if (name === '--help' || name === '-h' || name === 'help') {
      if (rest[0] === undefined) io.out(HELP);
      else io.out((await findCommand(rest[0])).help);
      return 0;
    }
    if (name === '--version' || name === '-V') {
      io.out(`${version()}\n`);
      return 0;
    }
    command = await findCommand(name);
    const options = rest.includes('--') ? rest.slice(0, rest.indexOf('--')) : rest;
    if (options.includes('--help') || options.includes('-h')) {
      io.out(command.help);
      return 0;
    }
    await loadMeow();
    if (command.cleansUp) interrupts.listen();
    await command.run(io.parse(command, rest), io);
    return 0;
  } catch (error) {
    if (command?.cleansUp) await pendingSignals();
    return report(reasonOf(error, io.signal), command, io);
  }
}

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

async function findCommand(name: string): Promise<Command> {
  const found = Object.hasOwn(COMMANDS, name) ? COMMANDS[name] : undefined;
  if (found) return found.load();
  const { closestMatch } = await import('leven');
  const close = closestMatch(name, Object.keys(COMMANDS), { maxDistance: 3 });
  throw new UsageError(`unknown command ${JSON.stringify(name)}${close ? `; did you mean ${close}?` : ''}`);
}

/** Names from a dump must not command the terminal. Of our own text, only progress does: it begins by erasing its line. */
function forPeople(io: Io): Io {
  const err = (text: string): void => {
    const own = text.startsWith(ERASE_LINE) ? ERASE_LINE : '';
    io.err(own + printable(text.slice(own.length)));
  };
  return { ...io, out: (text) => io.out(printable(text)), err };
}

/** Reports an error; returns the exit code. */
function report(error: unknown, command: Command | undefined, io: Io): number {
  // The reader of a pipe has seen enough.
  if (isErrno(error, 'EPIPE')) return 0;
  if (error instanceof Interrupted) return EXIT.SIGNAL + constants.signals[error.signal];
  if (error instanceof UsageError) {
    io.err(`pagepipe: ${error.message}\n`);
    if (command) io.err(`pagepipe: hint: pagepipe ${command.name} --help\n`);
    return EXIT.USAGE;
  }
  if (error instanceof DumpError) {
    io.err(`pagepipe: error: ${oneLine(error.message)}\n`);
    if (error.hint) io.err(`pagepipe: hint: ${oneLine(error.hint)}\n`);
    return EXIT.FAILED;
  }
  if (isErrno(error)) {
    io.err(`pagepipe: error: ${oneLine(error.message)}\n`);
    return EXIT.FAILED;
  }
  const what =
    error instanceof InternalError
      ? error.message
      : error instanceof Error
        ? sourceStack(error.stack ?? '')
        : String(error);
  io.err(`pagepipe: bug: ${what}\n`);
  return EXIT.BUG;
}

/**
 * Loads meow without opening the standard streams. It imports node:process as a module, which makes Node read all properties
 * of `process`. Reading process.stdout makes its pipe non-blocking for all processes that share it, and large writes would
 * become short.
 */
async function loadMeow(): Promise<void> {
  if (meow) return;
  const streams = (['stdin', 'stdout', 'stderr'] as const).map((name) => {
    const own = Object.getOwnPropertyDescriptor(process, name) as PropertyDescriptor;
    Object.defineProperty(process, name, { value: {}, configurable: true, enumerable: true });
    return () => Object.defineProperty(process, name, own);
  });
  try {
    meow = (await import('meow')).default;
  } finally {
    for (const restore of streams) restore();
  }
}

let meow: typeof import('meow').default | undefined;

/** Parses with meow. Throws {@link UsageError} where meow would end the process. */
export function parse(command: Command, words: readonly string[]): Arguments {
  invariant(meow, 'main has loaded meow');
  const end = words.includes('--') ? words.indexOf('--') : words.length;
  const options = words.slice(0, end).flatMap((word) => splitShortOption(command, word));
  const argv = [...joinDashes(command, options), ...words.slice(end)];
  checkOptions(command, argv);
  const { input, flags } = meow({
    importMeta: { url: import.meta.url } as ImportMeta,
    pkg: {},
    argv,
    flags: command.flags as never,
    autoHelp: false,
    autoVersion: false,
    inferType: false,
  });
  const values = flags as Record<string, unknown>;
  for (const [name, { type }] of Object.entries(command.flags)) {
    const numbers = ([values[name]] as unknown[]).flat();
    if (type === 'number' && numbers.some(Number.isNaN)) throw new UsageError(`${optionName(name)}: expected a number`);
  }
  return { input: input as string[], flags: values };
}

/** Turns `-iFILE` into `-i FILE`. */
function splitShortOption(command: Command, word: string): string[] {
  const letter = /^-([a-z])./.exec(word)?.[1];
  const takesValue = Object.values(command.flags).some(
    ({ type, shortFlag }) => type !== 'boolean' && shortFlag !== undefined && shortFlag === letter,
  );
  return takesValue ? [word.slice(0, 2), word.slice(2).replace(/^=/, '')] : [word];
}

/** Turns `--out -` into `--out=-`, because meow takes a single dash for an input. */
function joinDashes(command: Command, words: readonly string[]): string[] {
  const takesValue = (word: string | undefined) =>
    Object.entries(command.flags).some(([name, { type }]) => type !== 'boolean' && optionName(name) === word);
  return words.flatMap((word, i) => {
    if (word === '-' && takesValue(words[i - 1])) return [];
    return words[i + 1] === '-' && takesValue(word) ? [`${word}=-`] : [word];
  });
}

/** Throws {@link UsageError} for unknown options, and for options given twice or without a value: meow would ignore these or exit. */
function checkOptions(command: Command, words: readonly string[]): void {
  const seen = new Set<string>();
  const end = words.indexOf('--');
  const options = end < 0 ? words : words.slice(0, end);
  options.forEach((word, i) => {
    if (!word.startsWith('-') || word === '-' || /^-\d/.test(word)) return;
    const [option, value] = word.split(/=(.*)/s) as [string, string | undefined];
    const [name, flag] =
      Object.entries(command.flags).find(([key, { shortFlag }]) =>
        [optionName(key), ...(shortFlag === undefined ? [] : [`-${shortFlag}`])].includes(option),
      ) ?? [];
    if (!flag || name === undefined) throw new UsageError(`unknown option ${option}`);
    if (seen.has(name) && !flag.isMultiple) throw new UsageError(`${option}: expected once`);
    seen.add(name);
    const next = options[i + 1];
    if (
      flag.type !== 'boolean' &&
      (value === '' || (value === undefined && (next === undefined || /^--?[a-z]/.test(next))))
    ) {
      throw new UsageError(`${option}: expected a ${flag.type === 'number' ? 'number' : 'value'}`);
    }
  });
}

/** The option of a flag: `--page-size` for `pageSize`. */
const optionName = (name: string): string => `--${name.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)}`;

const version = (): string =>
  (JSON.parse(readFileSync(new URL('../package.json', import.meta.url), 'utf8')) as { version: string }).version;

/** Turns signals into an abort, for commands that have something to clean up. */
export interface InterruptSource {
  listen(): void;
}

function processInterrupts(controller: AbortController): InterruptSource {
  return {
    listen() {
      for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
        process.once(signal, () => controller.abort(new Interrupted(signal)));
      }
    },
  };
}

/** Runs the command line of this process. */
export async function runProcess(): Promise<void> {
  const controller = new AbortController();
  const io: Io = {
    stdinFd: 0,
    stdoutFd: 1,
    stdinIsTerminal: isTerminal(0),
    stdoutIsTerminal: isTerminal(1),
    stderrIsTerminal: isTerminal(2),
    out: (text) => writeText(1, text),
    err: (text) => writeText(2, text),
    signal: controller.signal,
    parse,
  };
  process.exitCode = await main(process.argv.slice(2), io, processInterrupts(controller));
}

/** node:tty is loaded only for what may be a terminal: it loads the network modules. */
function isTerminal(fd: number): boolean {
  try {
    return fstatSync(fd).isCharacterDevice() && process.getBuiltinModule('node:tty').isatty(fd);
  } catch {
    return false; // Closed.
  }
}

/** Not through process.stdout: that would make the descriptor non-blocking, and pages go through it. */
function writeText(fd: number, text: string): void {
  const writer = new FdWriter(fd);
  writer.write(Buffer.from(text));
  writer.flush();
}
