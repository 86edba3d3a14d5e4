/** The input and output of decode, encode, info, show and edit: files, or stdin and stdout. */
import { closeSync, fstatSync, openSync } from 'node:fs';
import { basename, dirname, resolve } from 'node:path';
import type { Emit } from '../bytes.js';
import { DumpError, onFile, UsageError } from '../errors.js';
import { type ImageType, typeOfName } from '../image/magic.js';
import { rawKind } from '../image/raw.js';
import { AtomicFile } from '../io/atomic-file.js';
import { Breather } from '../io/breathe.js';
import { FdReader, FdWriter } from '../io/fd.js';
import { checkHoles, storedBytesOf } from '../io/holes.js';
import { reachOf } from '../io/mode.js';
import { type Arguments, type Flag, type Io, inputs } from './command.js';

export const IN_OUT_FLAGS: Record<string, Flag> = {
  in: { type: 'string', shortFlag: 'i' },
  out: { type: 'string', shortFlag: 'o' },
};

export interface Input {
  /** For errors. */
  name: string;
  fd: number;
  /** Permission bits, of a regular file. */
  mode: number | undefined;
}

/** Opens a file, or stdin for `-` or nothing. The caller closes it with {@link closeInput}. */
export function openInput(path: string | undefined, io: Io): Input {
  if (path === undefined || path === '-') return { name: 'stdin', fd: io.stdinFd, mode: undefined };
  const fd = onFile(path, () => openSync(path, 'r'));
  try {
    const stats = onFile(path, () => fstatSync(fd));
    if (stats.isFile()) checkHoles(path, stats.size, storedBytesOf(stats));
    return { name: path, fd, mode: stats.isFile() ? stats.mode & 0o777 : undefined };
  } catch (error) {
    closeSync(fd);
    throw error;
  }
}

export function closeInput(input: Input, io: Io): void {
  if (input.fd !== io.stdinFd) closeSync(input.fd);
}

/** Opens an image. Its type must be that of its name, and files that are no images are refused by name. */
export function openImage(path: string | undefined, io: Io): Input & { type: ImageType | undefined } {
  if (path === undefined || path === '-') {
    if (io.stdinIsTerminal) throw new UsageError('stdin is a terminal; name an image with -i');
  }
  const input = openInput(path, io);
  if (input.fd === io.stdinFd) return { ...input, type: undefined };
  const name = basename(input.name);
  const raw = rawKind(name);
  if (raw) {
    closeInput(input, io);
    throw new DumpError('NOT_AN_IMAGE', `expected an image, found ${raw.what}`, { file: input.name, hint: raw.hint });
  }
  return { ...input, type: typeOfName(name) };
}

/** Passes on the chunks of an input; signals are handled in between. */
export async function readChunks(input: Input, io: Io, take: Emit): Promise<void> {
  const breather = new Breather();
  for await (const chunk of new FdReader(input.fd, io.signal, input.name).chunks()) {
    take(chunk);
    await breather.due();
    io.signal.throwIfAborted();
  }
}

/**
 * Where the result goes: a file that appears as a whole, or stdout. It may be the file that is read: that is replaced when
 * all of it has been read.
 */
export async function withOutput(
  path: string | undefined,
  input: Pick<Input, 'mode' | 'name'>,
  io: Io,
  write: (emit: Emit, isStdout: boolean) => Promise<void>,
): Promise<void> {
  if (path === undefined || path === '-') {
    const writer = new FdWriter(io.stdoutFd);
    await write(writer.write, true);
    writer.flush();
    return;
  }
  const { mode, name } = input;
  const reach = () => onFile(path, () => reachOf(name, dirname(resolve(path))));
  const file = new AtomicFile(path, { mode: mode && mode & reach() });
  try {
    await write(file.write, false);
    file.commit();
  } finally {
    file.discard();
  }
}

/** The values of -i and -o. There are no other arguments, as with crit. */
export function inOut(args: Arguments): { in?: string; out?: string } {
  inputs(args);
  return args.flags as { in?: string; out?: string };
}
