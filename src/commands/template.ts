import { realpathSync } from 'node:fs';
import { isAbsolute, join, resolve } from 'node:path';
import { DirectorySink } from '../containers/directory/write.js';
import { passPageStream } from '../containers/page-stream/pass.js';
import { StreamSink } from '../containers/page-stream/stream.js';
import { Dump } from '../dump/dump.js';
import { dumpPlaces } from '../dump/files.js';
import { MEMORY_FOLDER } from '../dump/names.js';
import { pump, type RecordSink } from '../dump/pump.js';
import { SizeSink } from '../dump/size.js';
import { DumpError, onFile, UsageError } from '../errors.js';
import { areApart } from '../io/apart.js';
import { MIN_AREA_BYTES, placeName, pumpTemplate, withFolder } from '../library/template.js';
import { PAGE_SIZES } from '../memory/runs.js';
import { counted } from '../printable.js';
import { DryFolder } from '../template/dry-folder.js';
import { placesInDump } from '../template/in-place.js';
import { MappedMemory } from '../template/mapped-memory.js';
import { MemoryFolder, type MemoryFolderOptions, SUMS } from '../template/memory-folder.js';
import { moveTemplate } from '../template/move.js';
import { programCheck } from '../template/programs.js';
import { type TemplateOptions, template } from '../template/stage.js';
import {
  type Arguments,
  type Command,
  choice,
  type Io,
  inputs,
  pageSizeFlag,
  partialFlag,
  refuseOptions,
  refuseTerminals,
} from './command.js';
import { directoryOutput } from './if-absent.js';
import { Progress } from './progress.js';
import { inputPlaces, openCommandFiles } from './source.js';
import { formatTemplate, type TemplateReport, templateReport } from './template-report.js';
import { printJson } from './written.js';

export const command: Command = {
  cleansUp: true,
  outputs: directoryOutput(1),
  async run(args, io) {
    if (args.flags['move'] === true) move(args, io);
    else if (args.input.length === 0) await runStage(args, io);
    else await makeTemplate(args, io);
  },
};

/** Options of making a template. */
const OF_MAKING = ['minSize', 'kind', 'pid', 'sums', 'inPlace', 'allowDontneed', 'root', 'dryRun', 'force'] as const;

function move(args: Arguments, io: Io): void {
  refuseOptions(args, OF_MAKING, ' does not go with --move');
  const [out] = inputs(args, 'OUT') as [string];
  const folder = args.flags['memory'] as string | undefined;
  const path = folder ?? join(out, MEMORY_FOLDER);
  const files = moveTemplate(out, path, memoryName(args, path));
  if (args.flags['json'] === true) printJson({ out, memory: path, files }, [out], io);
  else io.tell(`${out}: ${counted(files, 'name')} of mapped files written`);
}

async function runStage(args: Arguments, io: Io): Promise<void> {
  const path = args.flags['memory'] as string | undefined;
  if (path === undefined)
    throw new UsageError('expected DUMP and OUT, or --memory DIR for a page stream; found neither');
  refuseOptions(args, ['inPlace', 'dryRun'], ' needs DUMP and OUT, not a page stream');
  refuseTerminals(io, { stdin: true, stdout: true });
  const folder = openFolder(path, path, { sources: [io.stdinFd] }, args);
  const stdout = new StreamSink(io.stdoutFd);
  const { stage } = template({ ...planOptions(args), folder, signal: io.signal });
  await pump(passPageStream(io.stdinFd, io.stdoutFd), [stage], withFolder(stdout, folder), io.signal);
}

async function makeTemplate(args: Arguments, io: Io): Promise<void> {
  const [path, out] = inputs(args, 'DUMP', 'OUT') as [string, string];
  const report = await writeTemplate(path, out, args, io);
  if (args.flags['json'] === true) printJson(report, [out], io);
  else io.print(formatTemplate(report));
}

/** Makes a template of a dump in any container. Throws {@link UsageError} or DumpError. */
export async function writeTemplate(path: string, out: string, args: Arguments, io: Io): Promise<TemplateReport> {
  const plan = planOptions(args);
  const dryRun = args.flags['dryRun'] === true;
  const files = await openCommandFiles(path, args, io, { pages: 'hold' });
  let totalBytes = 0;
  const progress = new Progress(io, () => totalBytes);
  let memory: MappedMemory | undefined;
  try {
    const incomplete = args.flags['incomplete'] === true;
    const dump = await Dump.open(files, { ...pageSizeFlag(args, PAGE_SIZES), incomplete, warn: io.warn });
    memory = mappedMemory(dump);
    totalBytes = dump.bytes;
    const sources = [...inputPlaces(path, args, io), ...dumpPlaces(files), ...(memory ? [memory.folder] : [])];
    const sink = dryRun
      ? new SizeSink()
      : new DirectorySink(out, { force: args.flags['force'] === true, sources, progress: progress.add });
    const place = (args.flags['memory'] as string | undefined) ?? join(out, MEMORY_FOLDER);
    const folder = await orDiscard(sink, () =>
      sink instanceof SizeSink
        ? new DryFolder(memoryName(args, place))
        : openFolderFor(place, sink, out, { sources, progress: progress.add }, args),
    );
    const inPlace = args.flags['inPlace'] === true ? { inPlace: placesInDump(dump, memory !== undefined) } : {};
    const options = { ...plan, folder, ...inPlace, signal: io.signal };
    const plans = await pumpTemplate(dump, memory, options, sink, partialFlag(args, io));
    const bytes = sink instanceof SizeSink ? sink.bytes : sink.written.bytes;
    return templateReport({ dump: path, out, memory: place, folder, dryRun, bytes }, dump, plans);
  } finally {
    progress.done();
    memory?.close();
    files.close();
  }
}

/** The mapped memory of a dump that depends on a template itself. */
function mappedMemory({ files, march }: Dump): MappedMemory | undefined {
  try {
    const memory = MappedMemory.open(files, march);
    memory?.check();
    return memory;
  } catch (error) {
    if (!(error instanceof DumpError) || error.code !== 'MISSING_IMAGE') throw error;
    // Here --memory is the new folder.
    throw new DumpError(error.code, error.message, {
      hint: `pagepipe untemplate ${files.path} FULL --memory DIR makes an ordinary dump, where DIR is that folder`,
      cause: error,
    });
  }
}

/** What becomes the folder of the mapped files: inside OUT, or elsewhere. */
function openFolderFor(
  place: string,
  sink: DirectorySink,
  out: string,
  options: FolderOptions,
  args: Arguments,
): MemoryFolder {
  if (args.flags['memory'] === undefined) {
    return openFolder(join(sink.temporary, MEMORY_FOLDER), place, { ...options, sources: [] }, args);
  }
  if (!areApart(place, out))
    throw new UsageError('--memory and OUT must be two places, neither of them inside the other');
  return openFolder(place, place, options, args);
}

type FolderOptions = Pick<MemoryFolderOptions, 'sources' | 'progress'>;

/** @param place where it is when it is complete */
function openFolder(path: string, place: string, options: FolderOptions, args: Arguments): MemoryFolder {
  return new MemoryFolder(path, {
    ...options,
    force: args.flags['force'] === true,
    name: memoryName(args, place),
    sums: choice(args, 'sums', SUMS, 'copied'),
  });
}

/** The name of a folder for the tasks. Throws {@link UsageError} for one that is relative. */
function memoryName(args: Arguments, place: string): string {
  const name = args.flags['memoryName'] as string | undefined;
  if (name !== undefined && !isAbsolute(name))
    throw new UsageError(`--memory-name: expected an absolute path, found ${name}`);
  if (name !== undefined) return resolve(name);
  return placeName(place);
}

async function orDiscard<T>(sink: RecordSink, action: () => T): Promise<T> {
  try {
    return action();
  } catch (error) {
    await sink.discard();
    throw error;
  }
}

function planOptions(args: Arguments): Omit<TemplateOptions, 'folder'> {
  const {
    minSize = MIN_AREA_BYTES,
    pid,
    kind = [],
    allowDontneed = [],
    root = '/',
  } = args.flags as {
    minSize?: number;
    pid?: number[];
    kind?: string[];
    allowDontneed?: string[];
    root?: string;
  };
  if (!Number.isSafeInteger(minSize) || minSize < 0)
    throw new UsageError(`--min-size: expected a size, found ${minSize}`);
  const other = kind.find((word) => word !== 'anon');
  if (other !== undefined)
    throw new UsageError(`--kind: expected anon, the only kind that can be mapped, found ${other}`);
  const bad = allowDontneed.find((word) => word !== 'all' && !/^[1-9]\d*$/.test(word));
  if (bad !== undefined) throw new UsageError(`--allow-dontneed: expected a process id or all, found ${bad}`);
  return {
    minBytes: minSize,
    pids: pid,
    allowDontneed: allowDontneed.includes('all') ? 'all' : allowDontneed.map(Number),
    check: programCheck(onFile(root, () => realpathSync(root))),
  };
}
