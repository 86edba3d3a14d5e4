/** The input and output of decode, encode, info, show and edit: files, or stdin and stdout. */
import { closeSync, fstatSync, openSync, readSync } from 'node:fs';
import { basename, dirname, resolve } from 'node:path';
import type { Emit } from '../bytes.js';
import { sumsOfImage } from '../containers/directory/sums.js';
import { BLOCK, isTarHeader } from '../containers/tar/block.js';
import { type DumpFiles, missingImage, pieces } from '../dump/files.js';
import { DumpError, onFile, UsageError } from '../errors.js';
import { type ImageType, typeOfName } from '../image/magic.js';
import { rawKind } from '../image/raw.js';
import { isRemote } from '../io/apart.js';
import { AtomicFile } from '../io/atomic-file.js';
import { Breather } from '../io/breathe.js';
import { FdReader, FdWriter } from '../io/fd.js';
import { checkHoles, storedBytesOf } from '../io/holes.js';
import { reachOf } from '../io/mode.js';
import { openDumpFiles } from '../library/open-dump.js';
import { type Arguments, type Io, inputs } from './command.js';

export interface Input {
  /** For errors. */
  name: string;
  fd: number;
  /** Permission bits, of a regular file. */
  mode: number | undefined;
  /** The image in a dump, instead of the descriptor. */
  within?: { files: DumpFiles; image: string };
}

/** Opens a file, or stdin for `-` or nothing. The caller closes it with {@link closeInput}. */
export function openInput(path: string | undefined, io: Io): Input {
  if (path === undefined || path === '-') return { name: 'stdin', fd: io.stdinFd, mode: undefined };
  if (isRemote(path)) {
    throw new UsageError(
      `${path}: single images are read from files only; pagepipe copy puts a whole dump into a directory`,
    );
  }
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
  if (input.within) input.within.files.close();
  else if (input.fd !== io.stdinFd) closeSync(input.fd);
}

/** The file and, if it is a dump in any container, the image in it. Throws {@link UsageError}. */
export function imageAndMember(args: Arguments): [path: string, member: string | undefined] {
  const [path, member] = args.input.length > 1 ? inputs(args, 'DUMP', 'IMAGE') : inputs(args, 'IMAGE');
  return [path as string, member];
}

/** Opens an image, or with `member` the image of that name in a dump. An archive may have it in a folder. */
export async function openImageIn(
  path: string | undefined,
  member: string | undefined,
  io: Io,
): Promise<Input & { type: ImageType | undefined }> {
  if (member === undefined) return openImage(path, io);
  checkIsImage(member);
  const files = await openDumpFiles(path ?? '-', { stdinFd: io.stdinFd, signal: io.signal });
  const image = [member, basename(member)].find((name) => files.stat(name));
  if (image === undefined) {
    files.close();
    throw missingImage(member);
  }
  return { name: image, fd: -1, mode: undefined, within: { files, image }, type: typeOfName(image) };
}

/** Opens an image. Its type must be that of its name, and files that are no images are refused by name. */
export function openImage(path: string | undefined, io: Io): Input & { type: ImageType | undefined } {
  if (path === undefined || path === '-') {
    if (io.stdinIsTerminal) throw new UsageError('stdin is a terminal; name an image with -i');
  }
  const input = openInput(path, io);
  if (input.fd === io.stdinFd) return { ...input, type: undefined };
  try {
    checkIsImage(input.name);
    checkIsNoDump(input.name, input.fd);
  } catch (error) {
    closeInput(input, io);
    throw error;
  }
  return { ...input, type: typeOfName(basename(input.name)) };
}

/** Throws {@link DumpError} NOT_AN_IMAGE for the name of a file that is not an image. */
function checkIsImage(file: string): void {
  const raw = rawKind(basename(file));
  if (raw) throw new DumpError('NOT_AN_IMAGE', `expected an image, found ${raw.what}`, { file, hint: raw.hint });
}

/** Throws {@link DumpError} for a whole dump, of which one image must be named. */
function checkIsNoDump(file: string, fd: number): void {
  const stats = onFile(file, () => fstatSync(fd));
  const hint = 'name an image in it, such as inventory.img';
  if (stats.isDirectory()) throw new DumpError('SYSTEM', 'is a directory (EISDIR)', { file, hint });
  if (!stats.isFile()) return;
  const start = Buffer.alloc(BLOCK);
  onFile(file, () => readSync(fd, start, 0, BLOCK, 0));
  if (isTarHeader(start)) throw new DumpError('NOT_AN_IMAGE', 'expected an image, found a tar archive', { file, hint });
}

/** Passes on the chunks of an input; signals are handled in between. */
export async function readChunks(input: Input, io: Io, take: Emit): Promise<void> {
  const breather = new Breather();
  for await (const chunk of chunksOf(input, io)) {
    take(chunk);
    await breather.due();
    io.signal.throwIfAborted();
  }
}

function chunksOf({ within, fd, name }: Input, io: Io): AsyncIterable<Uint8Array> | Iterable<Uint8Array> {
  return within ? pieces(within.files, within.image, PIECE_BYTES) : new FdReader(fd, io.signal, name).chunks();
}

const PIECE_BYTES = 64 * 1024;

/**
 * Where the result goes: a file that appears as a whole, or stdout. It may be the input itself, which is replaced once all
 * of it has been read.
 */
export async function withOutput<T>(
  path: string | undefined,
  input: Pick<Input, 'mode' | 'name'>,
  io: Io,
  write: (emit: Emit, isStdout: boolean) => Promise<T>,
): Promise<T> {
  if (path === undefined || path === '-') {
    const writer = new FdWriter(io.stdoutFd);
    const result = await write(writer.write, true);
    writer.flush();
    return result;
  }
  const { mode, name } = input;
  const renewSums = sumsOfImage(path);
  const reach = () => onFile(path, () => reachOf(name, dirname(resolve(path))));
  const file = new AtomicFile(path, { mode: mode && mode & reach() });
  try {
    const result = await write(file.write, false);
    file.commit();
    renewSums?.();
    return result;
  } finally {
    file.discard();
  }
}

/** The values of -i and -o. A file given without -i is the input. */
export function inOut(args: Arguments): { in?: string; out?: string } {
  const flags = args.flags as { in?: string; out?: string };
  if (args.input.length === 0 || flags.in !== undefined) inputs(args);
  const [file] = args.input.length === 0 ? [] : inputs(args, 'FILE');
  return { ...flags, ...(file === undefined ? {} : { in: file }) };
}
