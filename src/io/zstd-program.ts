/** The zstd program, for a Node without zstd (before 22.15), or with one that accepts truncated input as complete. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, fstatSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { Duplex, Readable, type Writable } from 'node:stream';
import { DumpError, onFile } from '../errors.js';
import { FdReader } from './fd.js';
import { LOAD_AFTER_BYTES, openPipe, type Pipe } from './linux.js';

/** zstd compresses in so many threads. Each takes some 10 MiB. */
export const THREADS = Math.min(availableParallelism(), 4);
/** A compressed file of this size is worth the loading of system calls. */
const LARGE_FILE_BYTES = LOAD_AFTER_BYTES / 8;

export interface Program {
  child: ChildProcess;
  /** Resolves when it has exited; throws if it failed. */
  exit(): Promise<void>;
  /** Rejects as soon as it fails. */
  failed: Promise<never>;
}

/** A stream through the program with these words: `-d` decompresses, without it it compresses. */
export function throughZstd(...words: string[]): Duplex {
  const program = start(['pipe', 'pipe'], ...words);
  const { stdin } = program.child;
  const stream = Duplex.from({ writable: stdin as Writable, readable: Readable.from(outputOf(program)) });
  // Also if nothing was read from it.
  stream.on('close', () => program.child.kill());
  // This error says more than the failing write does.
  program.failed.catch((error) => stream.destroy(error));
  return stream;
}

/** Decompresses a file from the position of its descriptor. The program reads it itself. Chunks may be overwritten by the next. */
export function unzstdFile(name: string, fd: number): AsyncIterable<Uint8Array> {
  const pipe = onFile(name, () => fstatSync(fd)).size >= LARGE_FILE_BYTES ? openPipe() : undefined;
  return pipe ? unzstdThrough(pipe, fd) : outputOf(start([fd, 'pipe'], '-d'));
}

/** The output of a program by plain reads: a stream of Node would take new memory for each chunk. */
async function* unzstdThrough(pipe: Pipe, fd: number): AsyncGenerator<Uint8Array> {
  try {
    const program = startWith(pipe.to, [fd, pipe.to], '-d');
    yield* new FdReader(pipe.from, undefined, 'zstd').chunks();
    await program.exit();
  } finally {
    closeSync(pipe.from);
  }
}

/** Compresses a pipe into a file, which the program writes itself. It gets the descriptor of the pipe, which is closed here. */
export const zstdIntoFile = (pipe: number, file: number): Program => startWith(pipe, [pipe, file], `-T${THREADS}`);

/** Starts the program, and closes a descriptor that only the program needs. */
function startWith(given: number, ...args: Parameters<typeof start>): Program {
  try {
    return start(...args);
  } finally {
    closeSync(given);
  }
}

async function* outputOf({ child, exit }: Program): AsyncGenerator<Uint8Array> {
  for await (const chunk of child.stdout as Readable) yield chunk as Buffer;
  await exit();
}

/** Throws {@link DumpError} UNSUPPORTED if the program is missing. */
function start(stdio: [number | 'pipe', number | 'pipe'], ...words: string[]): Program {
  const child = spawn('zstd', ['-q', '-c', ...words], { stdio: [...stdio, 'ignore'] });
  child.on('error', () => {});
  if (child.pid === undefined) {
    throw new DumpError('UNSUPPORTED', 'the zstd program cannot be run', {
      hint: 'install it, or use Node.js 24 or later, which does not need it',
    });
  }
  const failed = new Promise<never>((_, reject) => {
    child.on('exit', (code, signal) => {
      if (code !== 0) reject(new Error(`zstd ended with ${signal ?? `exit code ${code}`}`));
    });
  });
  failed.catch(() => {});
  child.stdin?.on('error', () => {});
  const exit = async () => {
    if (child.exitCode === null) await Promise.race([once(child, 'exit'), failed]);
    if (child.exitCode !== 0) await failed;
  };
  return { child, exit, failed };
}

/** The failure of a program that ended before its input. It must not look like a reader that has seen enough (EPIPE). */
export const exitedEarly = (why: string, cause?: unknown): DumpError =>
  new DumpError('SYSTEM', `the compressor exited early: ${why}`, { cause });
