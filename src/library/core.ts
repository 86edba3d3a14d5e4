/** ELF cores of the processes of a dump, for debuggers. */
import { realpathSync } from 'node:fs';
import { Core } from '../core-dump/core.js';
import { MappedFiles } from '../core-dump/mapped-files.js';
import { writeCore as write } from '../core-dump/write.js';
import { type DumpFiles, dumpPlaces } from '../dump/files.js';
import { Images } from '../dump/images.js';
import { PARTIAL } from '../dump/names.js';
import { isDead } from '../dump/tasks.js';
import { onFile } from '../errors.js';
import { coreOf, processesOf } from '../explore/processes.js';
import { TaskMemories } from '../explore/task-memory.js';
import { checkApart } from '../io/apart.js';
import { AtomicDirectory } from '../io/atomic-directory.js';
import type { BytePlace } from '../io/byte-output.js';
import { OutputFile } from '../io/output-file.js';
import { refusePartial } from '../stages/not-partial.js';
import { fileOutput, type PlaceOptions } from './sinks.js';

export interface WriteCoreOptions extends PlaceOptions {
  /** Bytes; by default found in the dump. */
  pageSize?: number;
  /**
   * Folder of the dumped processes on this machine, `/` if they ran here: the files that they have mapped are read from there
   * and become part of the core. Without it a debugger looks for these files.
   */
  root?: string | undefined;
  /** Whether pages may be missing that are not in the dump. */
  incomplete?: boolean;
  /** Told of mapped files that are left out, and of memory that is nowhere in the dump. */
  warn?: ((message: string) => void) | undefined;
  signal?: AbortSignal;
}

/** A core that was written. Amounts are in bytes. */
export interface CoreReport {
  pid: number;
  machine: string;
  threads: number;
  /** Ranges of memory, each with a program header. */
  segments: number;
  /** Of the file. */
  bytes: number;
  /** Memory in the file. */
  stored: number;
  /** Memory that reads as zeros, or from the mapped files. */
  holes: number;
  /** Memory that is not in the dump, and that a debugger cannot read. */
  missing: number;
}

/**
 * The processes of a dump that have a core: all but zombies.
 * @throws {DumpError} MISSING_IMAGE, or for images that cannot be read
 */
export const coreProcesses = (images: Images): number[] =>
  processesOf(images)
    .map(({ pid }) => pid)
    .filter((pid) => !isDead(coreOf(images, pid)));

/**
 * Writes the core of one process, with 0600 for its mode.
 * @param files of the dump, with its pages
 * @param place a path, a descriptor that stays open, or a stream of Node, which ends with the core
 * @throws {DumpError} MISSING_IMAGE for an id that is not in the dump, UNSUPPORTED for a zombie, or for a machine other than
 *   x86-64, i386 and aarch64; PARTIAL_DUMP for pages that are not in the dump; OUTPUT_EXISTS, OUTPUT_INSIDE_DUMP, SYSTEM
 */
export async function writeCore(
  files: DumpFiles,
  pid: number,
  place: BytePlace,
  options: WriteCoreOptions = {},
): Promise<CoreReport> {
  const { sources = dumpPlaces(files), signal, progress } = options;
  const cores = new Cores(files, options);
  try {
    const core = cores.of(pid);
    const output = fileOutput(place, { ...options, sources: [...sources, ...cores.mappedPaths] }, undefined);
    try {
      await write(core, output, { signal, progress });
      await output.commit();
    } finally {
      await output.discard();
    }
    return reportOf(core);
  } finally {
    cores.close();
  }
}

/**
 * Writes a core for each process that is no zombie: `core.PID` in a directory, which appears when all are complete.
 * @throws {DumpError} as {@link writeCore} does
 */
export async function writeCores(
  files: DumpFiles,
  directory: string,
  options: WriteCoreOptions = {},
): Promise<CoreReport[]> {
  const { sources = dumpPlaces(files), force = false, signal, progress } = options;
  const cores = new Cores(files, options);
  const output = new AtomicDirectory(directory, { force, sources, foreign: notCores, replaces: ['cores', 'cores'] });
  const reports: CoreReport[] = [];
  let file: OutputFile | undefined;
  try {
    const spare: Uint8Array[] = [];
    for (const pid of coreProcesses(cores.images)) {
      const core = cores.of(pid);
      checkApart(directory, cores.mappedPaths);
      file = new OutputFile(output, `core.${pid}`, 0o600, spare);
      await write(core, file, { signal, progress });
      await file.finish();
      reports.push(reportOf(core));
    }
    await output.commit(0o700);
    return reports;
  } finally {
    await file?.abandon();
    await output.discard();
    cores.close();
  }
}

/** Of the names in a directory, those that are no cores. */
const notCores = (names: readonly string[]): string[] => names.filter((name) => !/^core\.\d+$/.test(name));

/** Lays out the cores of one dump. */
class Cores {
  readonly images: Images;
  private readonly memories: TaskMemories;
  private readonly mappedFiles: MappedFiles | undefined;

  constructor(
    files: DumpFiles,
    private readonly options: WriteCoreOptions,
  ) {
    const { pageSize, root, incomplete, warn = () => {} } = options;
    if (files.stat(PARTIAL)) refusePartial(incomplete ? warn : undefined);
    this.images = new Images(files);
    this.memories = new TaskMemories(files, pageSize === undefined ? {} : { pageSize });
    if (root === undefined) return;
    this.mappedFiles = new MappedFiles(
      this.images,
      onFile(root, () => realpathSync(root)),
      warn,
    );
  }

  of(pid: number): Core {
    const { incomplete = false, warn } = this.options;
    const core = new Core(this.images, this.memories, pid, { mappedFiles: this.mappedFiles, incomplete });
    const { missing, unknown } = core.amounts;
    if (missing + unknown > 0) {
      const pages = (missing + unknown) / this.memories.pageSize;
      warn?.(`process ${pid}: ${pages} pages are not in the dump, so a debugger cannot read them`);
    }
    return core;
  }

  /** Of the mapped files that are read. */
  get mappedPaths(): string[] {
    return this.mappedFiles?.paths ?? [];
  }

  close(): void {
    this.mappedFiles?.close();
  }
}

const reportOf = ({ pid, machine, threads, segmentCount, bytes, amounts }: Core): CoreReport => ({
  pid,
  machine,
  threads,
  segments: segmentCount,
  bytes,
  stored: amounts.stored,
  holes: amounts.holes,
  missing: amounts.missing + amounts.unknown,
});
