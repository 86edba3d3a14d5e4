/** The zstd program, where Node has no zstd of its own (before 22.15), or one that takes cut input for whole. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { Duplex, Readable, type Writable } from 'node:stream';
import { DumpError } from '../errors.js';

interface Program {
  child: ChildProcess;
  /** Resolves when it is done; throws unless it went well. */
  exit(): Promise<void>;
  /** Rejects as soon as it has not gone well. */
  failed: Promise<never>;
}

/** A stream that unpacks what is written to it, or with no words compresses it. */
export function throughZstd(...words: string[]): Duplex {
  const program = start('pipe', ...words);
  const { stdin } = program.child;
  const stream = Duplex.from({ writable: stdin as Writable, readable: Readable.from(outputOf(program)) });
  // Also when nobody has begun to read.
  stream.on('close', () => program.child.kill());
  // Before a write that fails says less.
  program.failed.catch((error) => stream.destroy(error));
  return stream;
}

/** Unpacks a file from where its descriptor is: the program reads it itself. */
export const unzstdFile = (fd: number): AsyncIterable<Uint8Array> => outputOf(start(fd, '-d'));

async function* outputOf({ child, exit }: Program): AsyncGenerator<Uint8Array> {
  for await (const chunk of child.stdout as Readable) yield chunk as Buffer;
  await exit();
}

/** Throws {@link DumpError} UNSUPPORTED if there is none. */
function start(stdin: number | 'pipe', ...words: string[]): Program {
  const child = spawn('zstd', ['-q', '-c', ...words], { stdio: [stdin, 'pipe', 'ignore'] });
  child.on('error', () => {});
  if (child.pid === undefined) {
    throw new DumpError('UNSUPPORTED', 'expected the zstd program, found none that can be run', {
      hint: 'install it, or use Node.js 24 or later, which can do without',
    });
  }
  const failed = new Promise<never>((_, reject) => {
    child.on('exit', (code, signal) => {
      if (code !== 0) reject(new Error(`zstd ended with ${code ?? signal}`));
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
