import prettyBytes from 'pretty-bytes';
import { pagesOfProcess } from '../core-dump/wanted-pages.js';
import { dumpPlaces } from '../dump/files.js';
import { Images } from '../dump/images.js';
import { UsageError } from '../errors.js';
import { type CoreReport, coreProcesses, type WriteCoreOptions, writeCore, writeCores } from '../library/core.js';
import { checkOutputFile } from '../library/sinks.js';
import { PAGE_SIZES } from '../memory/runs.js';
import { counted } from '../printable.js';
import {
  type Arguments,
  type Command,
  type Io,
  inputs,
  pageSizeFlag,
  refuseOptions,
  refuseTerminals,
} from './command.js';
import { fileOutputs } from './if-absent.js';
import { Progress } from './progress.js';
import { inputPlaces, openCommandFiles } from './source.js';
import { printJson } from './written.js';

export const command: Command = {
  cleansUp: true,
  outputs: (args) =>
    fileOutputs('out')(args).map((output) => (args.flags['all'] === true ? { ...output, kind: 'cores' } : output)),
  async run(args, io) {
    const [path] = inputs(args, 'DUMP') as [string];
    const { all, out = '-' } = args.flags as { all?: boolean; out?: string };
    const given = pidFlag(args);
    if (all && given !== undefined) throw new UsageError('--all and --pid: expected one of them, found both');
    if (all && out === '-') throw new UsageError('--all: expected a directory for the cores, as -o DIR');
    if (args.flags['files'] !== true) refuseOptions(args, ['root'], ' is for --files');
    const places = inputPlaces(path, args, io);
    if (out === '-') refuseTerminals(io, { stdout: true });
    // A dump that arrives is read to its end first.
    else if (!all) checkOutputFile(out, places, args.flags['force'] === true);
    const progress = new Progress(io, () => 0);
    const pages = given === undefined ? 'hold' : pagesOfProcess(given);
    const files = await openCommandFiles(path, args, io, { pages });
    try {
      const options: WriteCoreOptions = {
        ...coreOptions(args, io),
        sources: [...places, ...dumpPlaces(files)],
        progress: progress.add,
      };
      const cores = all
        ? await writeCores(files, out, options)
        : [await writeCore(files, given ?? onlyProcess(new Images(files)), out === '-' ? io.stdoutFd : out, options)];
      progress.done();
      report(path, out, cores, args, io);
    } finally {
      progress.done();
      files.close();
    }
  },
};

/** The process of `--pid`. Throws {@link UsageError} for several. */
function pidFlag({ flags }: Arguments): number | undefined {
  const pids = (flags['pid'] as number[] | undefined) ?? [];
  if (pids.length > 1) throw new UsageError('--pid: expected one process, found several; --all is for all of them');
  return pids[0];
}

/** The process of a dump that has only one. */
function onlyProcess(images: Images): number {
  const pids = coreProcesses(images);
  const [only, ...more] = pids;
  if (only !== undefined && more.length === 0) return only;
  throw new UsageError(`--pid: expected one of the ${pids.length} processes of the dump, or --all -o DIR`);
}

function coreOptions({ flags, ...args }: Arguments, io: Io): WriteCoreOptions {
  const { root = '/' } = flags as { root?: string };
  return {
    ...pageSizeFlag({ flags, ...args }, PAGE_SIZES),
    ...(flags['files'] === true ? { root } : {}),
    force: flags['force'] === true,
    incomplete: flags['incomplete'] === true,
    warn: io.warn,
    signal: io.signal,
  };
}

function report(dump: string, out: string, cores: readonly CoreReport[], args: Arguments, io: Io): void {
  if (args.flags['json'] === true) {
    printJson({ dump, out, cores }, [out], io);
    return;
  }
  for (const { pid, machine, threads, bytes } of cores) {
    const size = prettyBytes(bytes, { binary: true });
    io.tell(`process ${pid} (${machine}): ${counted(threads, 'thread')}, ${size}`);
  }
}
