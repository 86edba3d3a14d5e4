/**
 * The zstd program, where Node has no zstd of its own (before 22.15), or one that takes cut input for whole. What it unpacks
 * of a file comes through a named pipe: Node would give it a socket, and take a new buffer for each 64 KiB of that, at half
 * the rate.
 */
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { closeSync, constants, openSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Duplex, Readable, type Writable } from 'node:stream';
import { onFile } from '../errors.js';
import { FdReader } from '../stream/fd.js';

type StdinAndStdout = [number | 'pipe', number | 'pipe'];

interface Program {
  child: ChildProcess;
  /** Resolves when it is done; throws unless it went well. */
  exit(): Promise<void>;
}

/** A stream that unpacks what is written to it, or with no words compresses it. */
export function throughZstd(...words: string[]): Duplex {
  const program = start(['pipe', 'pipe'], words);
  const { stdin } = program.child;
  const stream = Duplex.from({ writable: stdin as Writable, readable: Readable.from(outputOf(program)) });
  // Also when nobody has begun to read.
  stream.on('close', () => program.child.kill());
  return stream;
}

/**
 * Unpacks a file from where its descriptor is. Each chunk is overwritten by the next. It is waited for as such: a file
 * does not keep the program waiting.
 */
export async function* unzstdFile(fd: number): AsyncGenerator<Uint8Array> {
  const pipe = openPipe();
  if (!pipe) {
    yield* outputOf(start([fd, 'pipe'], ['-d']));
    return;
  }
  try {
    const { exit } = start([fd, pipe.write], ['-d']);
    closeSync(pipe.write);
    yield* new FdReader(pipe.read, undefined, 'zstd').chunks();
    await exit();
  } finally {
    closeSync(pipe.read);
  }
}

async function* outputOf({ child, exit }: Program): AsyncGenerator<Uint8Array> {
  for await (const chunk of child.stdout as Readable) yield chunk as Buffer;
  await exit();
}

function start(stdio: StdinAndStdout, words: readonly string[]): Program {
  const child = spawn('zstd', ['-q', '-c', ...words], { stdio: [...stdio, 'ignore'] });
  const failed = new Promise<never>((_, reject) => {
    child.on('error', () => reject(new Error('there is no zstd program, and this Node cannot do without')));
    child.on('exit', (code) => {
      if (code !== 0) reject(new Error(`zstd ended with ${code}`));
    });
  });
  failed.catch(() => {});
  child.stdin?.on('error', () => {});
  const exit = async () => {
    if (child.exitCode === null) await Promise.race([once(child, 'exit'), failed]);
    if (child.exitCode !== 0) await failed;
  };
  return { child, exit };
}

/** A pipe, which Node does not give: a named one, without its name. Undefined where none can be made. */
function openPipe(): { read: number; write: number } | undefined {
  const path = join(tmpdir(), `.pagepipe-${process.pid}-${randomBytes(4).toString('hex')}`);
  if (spawnSync('mkfifo', ['-m', '600', path], { stdio: 'ignore' }).status !== 0) return undefined;
  return onFile(path, () => {
    // A reader that waits for no writer, so that both can be opened here.
    const first = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
    try {
      return { write: openSync(path, 'w'), read: openSync(path, 'r') };
    } finally {
      closeSync(first);
      rmSync(path, { force: true });
    }
  });
}
