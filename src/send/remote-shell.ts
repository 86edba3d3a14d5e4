/** A program on another machine, through ssh or something like it. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync } from 'node:fs';
import type { Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import { DumpError, systemReason, UsageError } from '../errors.js';
import { LOAD_AFTER_BYTES, linux, openPipe, type Pipe } from '../io/linux.js';
import { PipeConnection } from '../io/pipe-connection.js';
import { SocketPair } from '../io/socket-pair.js';
import { quoteWord } from '../shell.js';
import { EX_TEMPFAIL } from '../temporary.js';

/** Exit code of ssh when it could not connect. */
const SSH_FAILED = 255;
/** Exit code of shells for a program that does not exist. */
const NOT_FOUND = 127;

/** Where a dump goes. */
export interface Destination {
  /** As ssh takes it: a name of its configuration, or `user@host`. */
  host: string;
  /** Path on that host; a relative one starts at the home directory. */
  out: string;
}

/** Parses `[USER@]HOST:OUT`; an IPv6 address is in brackets. Throws {@link UsageError}. */
export function parseDestination(text: string): Destination {
  const [, user = '', bracketed, plain, path] = /^([^/:@]+@)?(?:\[([^\]/]+)\]|([^/:@[\]]+)):(.+)$/s.exec(text) ?? [];
  const host = bracketed ?? plain;
  if (host === undefined || path === undefined || host.startsWith('-') || user.startsWith('-')) {
    throw new UsageError(`expected HOST:OUT, found ${JSON.stringify(text)}`);
  }
  // ssh starts in the home directory, and no shell would expand a quoted ~.
  return { host: user + host, out: path.replace(/^~\/+(?=.)/, '') };
}

/** A running program, with its stdin and stdout as one stream. */
export class RemoteProgram {
  readonly connection: Duplex;
  private readonly ended: Promise<[code: number | null, signal: NodeJS.Signals | null]>;

  private constructor(
    private readonly child: ChildProcess,
    private readonly shell: string,
    private readonly host: string,
    private readonly program: string,
    pipe: Pipe | undefined,
  ) {
    this.ended = once(child, 'close') as typeof this.ended;
    this.ended.catch(() => {});
    const output = child.stdout as Socket;
    const system = pipe && linux();
    this.connection = system
      ? new PipeConnection(output, pipe.to, system)
      : new SocketPair(output, child.stdin as Socket);
    this.connection.on('error', () => {});
  }

  /**
   * @param shell such as `ssh -p 2222`, in words between spaces
   * @param words of the command on that host, the program first
   * @param bytes that are known to go there. For many, stdin is a pipe, into which the kernel moves them, and not a socket.
   * @throws {DumpError} SYSTEM if the shell cannot be run
   */
  static async start(shell: string, host: string, words: readonly string[], bytes = 0): Promise<RemoteProgram> {
    const [program = 'ssh', ...options] = shell.split(' ').filter((word) => word !== '');
    // As separate words: ssh joins them, other shells run them as they are.
    const args = [...options, host, ...words.map(quoteWord)];
    const pipe = bytes >= LOAD_AFTER_BYTES ? openPipe() : undefined;
    try {
      const child = spawn(program, args, { stdio: [pipe?.from ?? 'pipe', 'pipe', 'inherit'] });
      await once(child, 'spawn');
      return new RemoteProgram(child, program, host, words[0] as string, pipe);
    } catch (cause) {
      if (pipe) closeSync(pipe.to);
      throw new DumpError('SYSTEM', `${program} cannot be run: ${systemReason(cause)}`, { file: host, cause });
    } finally {
      if (pipe) closeSync(pipe.from);
    }
  }

  /** Resolves when the program has exited with 0. Throws {@link DumpError} PROTOCOL if it fails. */
  async end(): Promise<void> {
    const [code, signal] = await this.ended;
    if (code === 0) return;
    const place = { file: this.host };
    if (code === NOT_FOUND) {
      throw new DumpError('PROTOCOL', `${this.program} was not found there`, {
        ...place,
        hint: 'say where it is with --pagepipe-path',
      });
    }
    const temporary = code === SSH_FAILED || code === EX_TEMPFAIL;
    const what =
      code === SSH_FAILED
        ? `${this.shell} could not connect`
        : `the far side ended with ${signal ?? `exit code ${code}`}`;
    throw new DumpError('PROTOCOL', what, { ...place, temporary });
  }

  kill(): void {
    this.child.kill();
  }
}
