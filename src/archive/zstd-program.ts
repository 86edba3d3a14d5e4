/** The zstd program, where Node has no zstd of its own (before 22.15), or one that takes cut input for whole. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { Duplex, Readable, type Writable } from 'node:stream';

interface Program {
  child: ChildProcess;
  /** Resolves when it is done; throws unless it went well. */
  exit(): Promise<void>;
}

/** A stream that unpacks what is written to it, or with no words compresses it. */
export function throughZstd(...words: string[]): Duplex {
  const program = start('pipe', ...words);
  const { stdin } = program.child;
  const stream = Duplex.from({ writable: stdin as Writable, readable: Readable.from(outputOf(program)) });
  // Also when nobody has begun to read.
  stream.on('close', () => program.child.kill());
  return stream;
}

/** Unpacks a file from where its descriptor is: the program reads it itself. */
export const unzstdFile = (fd: number): AsyncIterable<Uint8Array> => outputOf(start(fd, '-d'));

async function* outputOf({ child, exit }: Program): AsyncGenerator<Uint8Array> {
  for await (const chunk of child.stdout as Readable) yield chunk as Buffer;
  await exit();
}

function start(stdin: number | 'pipe', ...words: string[]): Program {
  const child = spawn('zstd', ['-q', '-c', ...words], { stdio: [stdin, 'pipe', 'ignore'] });
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
