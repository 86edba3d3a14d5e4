/**
 * `--if-absent`: work that was done before is not done again. A scheduler may run a job twice, on another machine or after a
 * node has died, so a command that finds its complete output says so and succeeds at once, before it opens its input.
 *
 * Every output of pagepipe appears complete or not at all. What counts as complete also holds for a copy by other programs,
 * which may have been cut off: a directory or a prefix has its inventory, a file has the kind that would be written, and a plain archive
 * has its end.
 */
import { closeSync, openSync, readdirSync, readSync, type Stats, statSync } from 'node:fs';
import { join } from 'node:path';
import type { OptionName } from '../command-line/options.js';
import { isS3Name } from '../containers/s3/address.js';
import type { S3Settings } from '../containers/s3/protocol.js';
import { isThereInS3 } from '../containers/s3/write.js';
import { BLOCK, isTarHeader } from '../containers/tar/block.js';
import { INVENTORY, isOriginalName, isPagemapName, isPagesName, MIGRATION, UNDELIVERED } from '../dump/names.js';
import { DumpError, isErrno, onFile, UsageError } from '../errors.js';
import { compressionOf } from '../io/compression.js';
import type { Arguments, Command, Io, Output } from './command.js';
import { s3Settings } from './s3-settings.js';
import { targetsOf } from './sink.js';

/** The dumps that a command writes, by the places of their names among its arguments. */
export const dumpOutputs =
  (...places: number[]) =>
  (args: Arguments): Output[] => {
    const names = places.map((place) => args.input[place]).filter((name) => name !== undefined);
    if (names.length === 0 || names.includes('-')) return [];
    return targetsOf(args, names).map(({ place: out, kind, compression }) => ({ out, kind, compression }));
  };

/** The directory that a command writes. */
export const directoryOutput =
  (place: number) =>
  ({ input }: Arguments): Output[] => {
    const out = input[place];
    return out === undefined ? [] : [{ out, kind: 'directory' }];
  };

/** The files of options such as `-o`. */
export const fileOutputs =
  (...names: OptionName[]) =>
  ({ flags }: Arguments): Output[] =>
    names.flatMap((name) => (typeof flags[name] === 'string' ? [{ out: flags[name], kind: 'file' }] : []));

/**
 * Runs a command, unless all that it writes is there. If only a part of it is there, it is made
 * again together with the rest, because they belong together.
 * @throws {UsageError} or what the command throws
 */
export async function runIfAbsent(command: Command, args: Arguments, io: Io): Promise<void> {
  if (args.flags['force'] === true) throw new UsageError('--if-absent and --force: expected one of them, found both');
  const outputs = command.outputs?.(args) ?? [];
  if (outputs.length === 0 || outputs.some(({ out }) => out.split(',').includes('-'))) {
    throw new UsageError('--if-absent: expected the name of an output, found stdout or none');
  }
  const s3 = s3Settings(args);
  const areComplete = () => outputs.flatMap((output) => namesOf(output).map((name) => isComplete(name, output, s3)));
  const isThere = areComplete();
  if (isThere.every((is) => is)) {
    sayThere(outputs, args, io);
    return;
  }
  const isPart = isThere.includes(true);
  if (isPart) io.note('a part of the output is there; it is made again with the rest');
  try {
    await command.run(isPart ? { ...args, flags: { ...args.flags, force: true } } : args, io);
  } catch (error) {
    // Another run of the same job was faster.
    if (!isTaken(error) || !areComplete().every((is) => is)) throw error;
    sayThere(outputs, args, io);
  }
}

/** Several shards are separated by commas. */
const namesOf = ({ out, kind }: Output): string[] => (kind === 'shards' ? out.split(',') : [out]);

const isTaken = (error: unknown): boolean =>
  error instanceof DumpError &&
  (error.code === 'OUTPUT_EXISTS' || isErrno(error.cause, 'ENOTEMPTY') || isErrno(error.cause, 'EEXIST'));

function sayThere(outputs: readonly Output[], args: Arguments, io: Io): void {
  if (args.flags['json'] === true) {
    const places = outputs.map(({ out, kind }) => ({ out, kind }));
    io.out(`${JSON.stringify({ alreadyThere: true, outputs: places }, undefined, 2)}\n`);
  } else io.tell(`${outputs.map(({ out }) => out).join(' and ')}: already there`);
}

/**
 * Whether an output is there and complete; false if there is nothing.
 * @throws {DumpError} OUTPUT_EXISTS for anything else
 */
function isComplete(name: string, output: Output, s3: S3Settings): boolean {
  if (isS3Name(name)) return isThereInS3(name, output.kind === 'directory', s3);
  return onFile(name, () => {
    const stats = statSync(name, { throwIfNoEntry: false });
    // Pipes and devices are written as they are.
    if (!stats || !(stats.isFile() || stats.isDirectory())) return false;
    const isFolder = output.kind === 'directory' || output.kind === 'cores';
    if (isFolder && stats.isDirectory()) {
      const names = readdirSync(name);
      if (names.length === 0) return false;
      if (output.kind === 'cores' ? names.some((core) => /^core\.\d+$/.test(core)) : isWhole(name, names)) return true;
    } else if (!isFolder && stats.isFile() && stats.size > 0 && isWholeFile(name, stats, output)) return true;
    throw new DumpError('OUTPUT_EXISTS', 'something is there, but not the complete output', {
      file: name,
      hint: 'remove it, if nothing of it is needed',
    });
  });
}

/** Whether a directory is a dump, the cold half of one, or what a page server has received. */
function isWhole(path: string, names: readonly string[]): boolean {
  if (names.includes(UNDELIVERED) || names.includes(MIGRATION)) return false;
  if (names.includes(INVENTORY)) return (statSync(join(path, INVENTORY), { throwIfNoEntry: false })?.size ?? 0) > 0;
  return names.some(isOriginalName) || names.every((one) => isPagemapName(one) || isPagesName(one) || one === 'parent');
}

function isWholeFile(path: string, { size }: Stats, { kind, compression }: Output): boolean {
  if (kind !== 'tar' && kind !== 'oci') return true;
  const fd = openSync(path, 'r');
  try {
    const at = (position: number, bytes: number) => {
      const buffer = new Uint8Array(bytes);
      return buffer.subarray(0, readSync(fd, buffer, 0, bytes, Math.max(0, position)));
    };
    const start = at(0, BLOCK);
    // In an image the layer is compressed, and not the archive.
    if (kind === 'tar' && compression !== undefined) return compressionOf(start) === compression;
    return size % BLOCK === 0 && isTarHeader(start) && at(size - 2 * BLOCK, 2 * BLOCK).every((byte) => byte === 0);
  } finally {
    closeSync(fd);
  }
}
