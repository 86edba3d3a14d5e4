import { basename, extname } from 'node:path';
import { CountedFiles } from '../dump/counted.js';
import { type DumpFiles, dumpPlaces } from '../dump/files.js';
import type { Slice } from '../dump/slice.js';
import { UsageError } from '../errors.js';
import { TextOutput } from '../explore/output.js';
import { FdWriter } from '../io/fd.js';
import { checkOutputFile } from '../library/sinks.js';
import { mapSlice, memoryMap } from '../map/collect.js';
import { htmlMap } from '../map/html.js';
import type { MemoryMap } from '../map/model.js';
import { svgMap } from '../map/svg.js';
import { terminalMap } from '../map/terminal.js';
import { PAGE_SIZES } from '../memory/runs.js';
import {
  type Arguments,
  type Command,
  DEFAULT_SCREEN,
  type Io,
  inputs,
  pageSizeFlag,
  refuseOptions,
  refuseTerminals,
} from './command.js';
import { fileOutputs } from './if-absent.js';
import { writeMapFile } from './map-file.js';
import { Progress } from './progress.js';
import { openForSlice, sliceFlag, sliceLine } from './slice.js';
import { inputPlaces, openCommandFiles, sourceName } from './source.js';

/** Makes the text of a file of a map. */
type Writer = (map: MemoryMap, title: string) => string;

const html: Writer = (map, title) => htmlMap({ title, maps: [{ name: title, map }] });
const WRITERS: Record<string, Writer> = { '.html': html, '.htm': html, '.svg': svgMap };

export const command: Command = {
  cleansUp: true,
  outputs: fileOutputs('out'),
  async run(args, io) {
    const [path] = inputs(args, 'DUMP') as [string];
    const json = args.flags['json'] === true;
    const out = args.flags['out'] as string | undefined;
    const slice = sliceFlag(args);
    if (slice) {
      refuseOptions(args, ['out'], ' does not go with --slice');
      await writeSlice(path, slice, args, io);
      return;
    }
    const write = out === undefined ? undefined : writerOf(out, json, io);
    const title = `Memory of ${basename(sourceName(path, args))}`;
    const map = await collect(path, out, args, io);
    if (out !== undefined && write) put(out, write(map, title), io);
    if (json) io.out(`${JSON.stringify(map)}\n`);
    else if (out === undefined) draw(map, io);
  },
};

/** Prints the report of a slice. */
async function writeSlice(path: string, slice: Slice, args: Arguments, io: Io): Promise<void> {
  const progress = new Progress(io, () => 0);
  let files: DumpFiles | undefined;
  try {
    files = new CountedFiles(await openForSlice(path, args, io), progress.add);
    const writer = new FdWriter(io.stdoutFd);
    const output = new TextOutput(progress.around(writer.write));
    const put = (line: object) => output.print(`${JSON.stringify(line)}\n`);
    const content = args.flags['content'] === true;
    const totals = await mapSlice(files, slice, put, { ...pageSizeFlag(args, PAGE_SIZES), content, signal: io.signal });
    put({ ...sliceLine('map', slice, files, args), ...totals });
    output.flush();
    writer.flush();
  } finally {
    progress.done();
    files?.close();
  }
}

/** Throws {@link UsageError} for a name that does not say what is to be written. */
function writerOf(out: string, json: boolean, io: Io): Writer {
  if (out === '-') {
    if (json) throw new UsageError('--json and -o - are both stdout');
    refuseTerminals(io, { stdout: true });
    return html;
  }
  const writer = WRITERS[extname(out).toLowerCase()];
  if (writer) return writer;
  throw new UsageError(`-o: expected a name that ends in .html or .svg, found ${JSON.stringify(out)}`);
}

async function collect(path: string, out: string | undefined, args: Arguments, io: Io): Promise<MemoryMap> {
  const content = args.flags['content'] === true;
  const check = (sources: Parameters<typeof checkOutputFile>[1]) => {
    if (out !== undefined && out !== '-') checkOutputFile(out, sources, args.flags['force'] === true);
  };
  check(inputPlaces(path, args, io));
  const progress = new Progress(io, () => 0);
  const pages = content ? 'hold' : 'count';
  try {
    const files = await openCommandFiles(path, args, io, { pages, progress: progress.add });
    try {
      check(dumpPlaces(files));
      return await memoryMap(files, { ...pageSizeFlag(args, PAGE_SIZES), content, signal: io.signal });
    } finally {
      files.close();
    }
  } finally {
    progress.done();
  }
}

function put(out: string, text: string, io: Io): void {
  if (out !== '-') {
    writeMapFile(out, text);
    return;
  }
  const writer = new FdWriter(io.stdoutFd);
  writer.write(Buffer.from(text));
  writer.flush();
}

/** Not through `io.out`, which would escape the colors. The picture has names escaped already. */
function draw(map: MemoryMap, io: Io): void {
  const writer = new FdWriter(io.stdoutFd);
  for (const line of terminalMap(map, io.screen?.() ?? DEFAULT_SCREEN)) writer.write(Buffer.from(`${line}\n`));
  writer.flush();
}
