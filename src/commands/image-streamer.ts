/** What `capture` and `provide` share with the command line of criu-image-streamer, so that its scripts change little. */
import { fstatSync, writeSync } from 'node:fs';
import { checkFileName } from '../dump/names.js';
import { onFile, UsageError } from '../errors.js';
import type { Arguments } from './command.js';

/** The lines that it writes for programs. */
export class ProgressLines {
  private readonly fd: number | undefined;
  private since = Date.now();

  constructor({ flags }: Arguments) {
    this.fd = (flags as { progressFd?: number }).progressFd;
  }

  /** CRIU can start. */
  ready(): void {
    this.say('socket-init');
  }

  /** The tasks are frozen. */
  frozen(): void {
    this.since = Date.now();
    this.say('checkpoint-start');
  }

  /** All bytes have been taken, since the tasks were frozen or else since the beginning. */
  taken(bytes: number): void {
    const shard = { size: bytes, transfer_duration_millis: Date.now() - this.since };
    this.say(JSON.stringify({ shards: [shard] }));
  }

  private say(line: string): void {
    if (this.fd === undefined) return;
    onFile('the descriptor of --progress-fd', () => writeSync(this.fd as number, `${line}\n`));
  }
}

/**
 * The pipes of `--ext-file-fds`, by the name of the file that goes through them.
 * @throws {UsageError}
 */
export function externalFiles({ flags }: Arguments): Map<string, number> {
  const files = new Map<string, number>();
  const text = flags['extFileFds'] as string | undefined;
  for (const pair of text?.split(',') ?? []) {
    const [, name, fd] = /^([^/:]+):(\d+)$/.exec(pair) ?? [];
    if (name === undefined) throw new UsageError(`--ext-file-fds: expected NAME:FD, found ${JSON.stringify(pair)}`);
    checkFileName(name, '--ext-file-fds');
    if (files.has(name)) throw new UsageError(`--ext-file-fds: expected each name once, found ${name} twice`);
    const isPipe = onFile(`descriptor ${fd}`, () => fstatSync(Number(fd)).isFIFO());
    if (!isPipe) throw new UsageError(`--ext-file-fds: expected a pipe, found something else at descriptor ${fd}`);
    files.set(name, Number(fd));
  }
  return files;
}
