/** `--slice K/N`: which part of a dump a command looks at, and the line that says so at the end of its report. */
import { createHash } from 'node:crypto';
import type { DumpFiles } from '../dump/files.js';
import { fingerprintOf, MAX_SLICES, type Slice } from '../dump/slice.js';
import { DumpError, UsageError } from '../errors.js';
import { type Arguments, type Io, refuseOptions } from './command.js';
import { openBeforehand } from './source.js';

/** Commands whose work can be cut. */
export const SLICED = ['verify', 'search', 'map'] as const;
export type SlicedCommand = (typeof SLICED)[number];

/** The last line of the report of a slice. */
export interface SliceLine {
  event: 'slice';
  command: SlicedCommand;
  slice: number;
  of: number;
  /** As on the command line. */
  path: string;
  /** The fingerprint of the dump, and that of what was asked. */
  dump: string;
  asked: string;
}

/** The slice of the command line. Throws {@link UsageError}. */
export function sliceFlag(args: Arguments): Slice | undefined {
  const { slice: text } = args.flags as { slice?: string };
  if (text === undefined) return undefined;
  const [, number = 0, of = 0] = (/^(\d{1,5})\/(\d{1,5})$/.exec(text) ?? []).map(Number);
  if (number < 1 || number > of || of > MAX_SLICES) {
    throw new UsageError(`--slice: expected K/N, such as 1/8, found ${JSON.stringify(text)}`);
  }
  if (args.flags['json'] !== true)
    throw new UsageError('--slice needs --json: its report is for pagepipe merge-report');
  refuseOptions(args, ['shardFds'], ' does not go with --slice');
  return { number, of };
}

/** The files of a dump that is read at random: of any other every slice would read all. Throws {@link DumpError} UNSUPPORTED. */
export async function openForSlice(path: string, args: Arguments, io: Io): Promise<DumpFiles> {
  const files = path === '-' ? undefined : await openBeforehand(path, args, io);
  if (files) return files;
  throw new DumpError(
    'UNSUPPORTED',
    'expected a directory or a plain archive for a slice, found what is read in sequence',
    {
      file: path,
    },
  );
}

/** Options that do not change what is found. */
const SAME_RESULT = [
  'slice',
  'json',
  'quiet',
  'progress',
  'from',
  'buffer',
  'spillDir',
  'maxBytes',
  'shardFds',
  'endpointUrl',
];

const ASKED_DIGITS = 16;

export function sliceLine(command: SlicedCommand, slice: Slice, files: DumpFiles, args: Arguments): SliceLine {
  const [path = '', ...words] = args.input;
  const flags = Object.entries(args.flags)
    .filter(([name, value]) => value !== undefined && !SAME_RESULT.includes(name))
    .sort(([a], [b]) => (a < b ? -1 : 1));
  const asked = createHash('sha256')
    .update(JSON.stringify([words, flags]))
    .digest('hex')
    .slice(0, ASKED_DIGITS);
  return {
    event: 'slice',
    command,
    slice: slice.number,
    of: slice.of,
    path,
    dump: fingerprintOf(files),
    asked,
  };
}
