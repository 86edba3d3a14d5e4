/** Templates: dumps whose memory is mapped from files, and ordinary dumps of them. */
import { resolve } from 'node:path';
import { Dump, type DumpOptions } from '../dump/dump.js';
import { type DumpFiles, dumpPlaces } from '../dump/files.js';
import { pump, type RecordSink } from '../dump/pump.js';
import { realPlace } from '../io/apart.js';
import { notPartial } from '../stages/not-partial.js';
import { MappedMemory } from '../template/mapped-memory.js';
import { MemoryFolder, type MemoryPlace, type Sums } from '../template/memory-folder.js';
import type { TaskPlan } from '../template/plan.js';
import { programCheck } from '../template/programs.js';
import { type TemplateOptions as StageOptions, template as templateStage } from '../template/stage.js';
import { wholeRecords } from '../template/whole.js';

/** Areas of at least so many bytes are mapped. */
export const MIN_AREA_BYTES = 2 ** 20;

export interface TemplateOptions extends DumpOptions {
  /** The folder of the mapped files: new or empty, or one of such files with `force`. It must be apart from the output. */
  memory: string;
  /** The same as the tasks will see it; by default its path. */
  memoryName?: string;
  /** Areas of at least so many bytes; by default 1 MiB. */
  minBytes?: number;
  /** The processes whose memory is mapped; by default all. */
  pids?: readonly number[];
  /** Processes whose memory is mapped though they may count on zeros behind MADV_DONTNEED. */
  allowDontneed?: readonly number[] | 'all';
  /** The root folder of the dumped tasks, here: their programs are looked at. */
  root?: string;
  /** Which mapped files get a sum of their content; by default `copied`: those that share no blocks with the dump. */
  sums?: Sums;
  force?: boolean;
  signal?: AbortSignal;
}

/** What is mapped of a process. */
export interface TemplateTask {
  pid: number;
  mappedAreas: number;
  mappedPages: number;
  /** Why nothing is. */
  eager?: string;
}

/**
 * Writes the template of a dump: private anonymous memory goes into files that its areas map.
 * @param files with readable pages; closed at the end
 * @param out a directory, as CRIU restores from one
 * @throws {DumpError} PARTIAL_DUMP for a dump whose lazy pages are elsewhere, and as reading and writing do
 */
export async function template(files: DumpFiles, out: RecordSink, options: TemplateOptions): Promise<TemplateTask[]> {
  const { memory: path, minBytes = MIN_AREA_BYTES, allowDontneed = [], root = '/', signal } = options;
  return withDump(files, options, undefined, out, async (dump, memory) => {
    const folder = new MemoryFolder(path, {
      name: options.memoryName ?? placeName(path),
      sources: dumpPlaces(files),
      force: options.force === true,
      sums: options.sums ?? 'copied',
    });
    const plan = { minBytes, pids: options.pids, allowDontneed, check: programCheck(root), folder };
    const plans = await pumpTemplate(dump, memory, { ...plan, ...(signal ? { signal } : {}) }, out);
    return plans.map(({ pid, areas, eager }) => ({
      pid,
      mappedAreas: areas.filter(({ at }) => at).length,
      mappedPages: areas.reduce((sum, { mappedPages }) => sum + mappedPages, 0),
      ...(eager === undefined ? {} : { eager }),
    }));
  });
}

export interface UntemplateOptions extends DumpOptions {
  /** The folder of the mapped files; by default it is found. */
  memory?: string;
  signal?: AbortSignal;
}

/**
 * Writes an ordinary, complete dump of a template, of a dump of what was restored from one, or of the last dump of a chain.
 * @param files with readable pages; closed at the end
 * @throws {DumpError} MISSING_IMAGE, CHANGED for mapped files that are gone or not what they were
 */
export const untemplate = (
  files: DumpFiles,
  out: RecordSink,
  { memory, signal, ...options }: UntemplateOptions = {},
): Promise<void> =>
  withDump(files, options, memory, out, (dump, mapped) =>
    pump(wholeRecords(dump, mapped), [notPartial()], out, signal),
  );

/**
 * Writes the template of an open dump into a sink; the folder appears before it.
 * @param memory that the dump itself maps
 * @param warnOfPartial called for a partial dump, which is refused without it
 * @returns what is mapped of each process
 */
export async function pumpTemplate(
  dump: Dump,
  memory: MappedMemory | undefined,
  options: StageOptions,
  out: RecordSink,
  warnOfPartial?: (message: string) => void,
): Promise<readonly TaskPlan[]> {
  const { stage, plans } = templateStage(options);
  const stages = [notPartial(warnOfPartial), stage];
  await pump(wholeRecords(dump, memory), stages, withFolder(out, options.folder), options.signal);
  return plans;
}

/** The folder appears before the dump that needs it, and goes with it if that fails. */
export const withFolder = (sink: RecordSink, folder: MemoryPlace): RecordSink => ({
  write: (record) => sink.write(record),
  finish: async () => {
    await folder.commit();
    await sink.finish();
  },
  discard: async () => {
    await folder.discard();
    await sink.discard();
  },
});

/** The absolute name of a place, without links: the kernel has names of mapped files so. */
export const placeName = (place: string): string => realPlace(resolve(place));

async function withDump<T>(
  files: DumpFiles,
  options: DumpOptions,
  folder: string | undefined,
  out: RecordSink,
  action: (dump: Dump, memory: MappedMemory | undefined) => Promise<T>,
): Promise<T> {
  let memory: MappedMemory | undefined;
  try {
    const dump = await Dump.open(files, options);
    memory = MappedMemory.open(files, dump.march, folder);
    memory?.check();
    return await action(dump, memory);
  } catch (error) {
    await out.discard();
    throw error;
  } finally {
    memory?.close();
    files.close();
  }
}
