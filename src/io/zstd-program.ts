/** The zstd program, for a Node without zstd (before 22.15), or with one that accepts truncated input as complete. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { Duplex, Readable, type Writable } from 'node:stream';
import { DumpError } from '../errors.js';

interface Program {
  child: ChildProcess;
  /** Resolves when it has exited; throws if it failed. */
  exit(): Promise<void>;
  /** Rejects as soon as it fails. */
  failed: Promise<never>;
}

/** A stream through the program with these words: `-d` decompresses, without it it compresses. */
export function throughZstd(...words: string[]): Duplex {
  const program = start('pipe', ...words);
  const { stdin } = program.child;
  const stream = Duplex.from({ writable: stdin as Writable, readable: Readable.from(outputOf(program)) });
  // Also if nothing was read from it.
  stream.on('close', () => program.child.kill());
  // This error says more than the failing write does.
  program.failed.catch((error) => stream.destroy(error));
  return stream;
}

/** Decompresses a file from the position of its descriptor. The program reads it itself. */
export const unzstdFile = (fd: number): AsyncIterable<Uint8Array> => outputOf(start(fd, '-d'));

async function* outputOf({ child, exit }: Program): AsyncGenerator<Uint8Array> {
  for await (const chunk of child.stdout as Readable) yield chunk as Buffer;
  await exit();
}

/** Throws {@link DumpError} UNSUPPORTED if the program is missing. */
function start(stdin: number | 'pipe', ...words: string[]): Program {
  const child = spawn('zstd', ['-q', '-c', ...words], { stdio: [stdin, 'pipe', 'ignore'] });
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
