/**
 * Files that arrive in any order, straight into a directory. Nothing waits: several files may be open at a time. At the end it
 * is known whether the dump is complete, and only then does the directory appear.
 */

import { DumpDirectory } from '../containers/directory/dump-directory.js';
import type { DirectorySinkOptions } from '../containers/directory/write.js';
import type { Written } from '../containers/written.js';
import type { FileBegin, FileEvent, FileEvents } from '../dump/events.js';
import { leftOut, pagesLeftOut } from '../dump/leftovers.js';
import { mmName, OUTSIDE, SUMS } from '../dump/names.js';
import { SUMS_MODE } from '../dump/sums.js';
import { decodeAreas } from '../image/mm.js';
import { Breather } from '../io/breathe.js';
import type { OutputFile } from '../io/output-file.js';
import { countHolePages, type RunBatch } from '../memory/runs.js';
import { ArrivalChecks, type Leftovers } from './checks.js';
import { DIRECTORY_MODE } from './sequential.js';

export interface ExtractOptions extends DirectorySinkOptions {
  /** Name of the source, for errors. */
  name: string;
  /** Bytes. Only needed for machines with several page sizes. */
  pageSize?: number;
  signal?: AbortSignal;
  /** Told of what an earlier dump has left. */
  warn?: (message: string) => void;
  /** Whether the dump gets sums of its blocks, even if the source has none. */
  sums?: boolean;
}

/**
 * Fills a new directory. Files outside the dump in its archive are left out.
 * @throws {DumpError} if the dump is incomplete; then nothing is left behind
 */
export async function extract(events: FileEvents, out: string, options: ExtractOptions): Promise<Written> {
  const directory = new DumpDirectory(out, options);
  try {
    const extraction = new Extraction(directory, options);
    for await (const event of events) {
      // An await without need would cost more than writing 64 KiB.
      const taken = extraction.take(event);
      if (taken) await taken;
    }
    extraction.check();
    await extraction.addSums();
    await directory.commit(DIRECTORY_MODE);
    return directory.written;
  } catch (error) {
    await directory.discard();
    throw error;
  }
}

class Extraction {
  private readonly checks: ArrivalChecks;
  private readonly files = new Map<string, OutputFile>();
  private readonly removed = new Set<string>();
  private readonly breather = new Breather();
  /** Pages that are lazy and in no file, by pagemap. */
  private readonly holePages = new Map<string, number>();

  constructor(
    private readonly directory: DumpDirectory,
    private readonly options: ExtractOptions,
  ) {
    const countHoles = (pagemap: string, runs: RunBatch) =>
      void this.holePages.set(pagemap, (this.holePages.get(pagemap) ?? 0) + countHolePages(runs));
    this.checks = new ArrivalChecks({ ...options, findsPageSize: true, onRuns: countHoles });
    if (options.sums) this.checks.sums.makeAll();
  }

  take(event: FileEvent): Promise<void> | undefined {
    if (!this.checks.take(event)) return this.pause();
    if (event.type === 'fileEnd') return this.end(event.name);
    if (event.type === 'file') this.begin(event);
    else this.write(event);
    return this.pause();
  }

  /** Throws {@link DumpError} if the dump is incomplete, or its areas cannot be read. */
  check(): void {
    this.leaveOut(this.checks.finish());
    const { pagemaps, metadata, pageSize } = this.checks;
    for (const { name, space } of pagemaps.values()) {
      this.directory.written.holePages += this.holePages.get(name) ?? 0;
      if (space?.kind === 'task') decodeAreas(metadata.read(mmName(space.pid)), pageSize, mmName(space.pid));
    }
  }

  /** The files are those that came, and so are their sums. */
  async addSums(): Promise<void> {
    const bytes = this.checks.sums.made(this.removed);
    if (!bytes) return;
    const file = this.directory.addFile(SUMS, SUMS_MODE);
    file.write(bytes);
    await this.directory.finishFile(file);
  }

  private leaveOut({ pagemaps, pages, unused }: Leftovers): void {
    const { warn = () => {} } = this.options;
    for (const name of pagemaps) warn(leftOut(name));
    for (const name of unused) warn(pagesLeftOut(name));
    for (const name of [...pagemaps, ...pages, ...unused]) {
      this.directory.removeFile(name);
      this.removed.add(name);
    }
  }

  private begin({ name, kind, mode, target }: FileBegin): void {
    if (name.startsWith(OUTSIDE)) return;
    if (kind === 'directory') this.directory.addFolder(name, mode);
    else if (kind === 'link') this.directory.addLink(name, target ?? new Uint8Array(0));
    else this.files.set(name, this.directory.addFile(name, mode));
  }

  /** Files outside the dump are left out. */
  private write({ name, bytes, waiting }: FileEvent & { type: 'data' }): void {
    const file = this.files.get(name);
    if (!file) return;
    file.write(bytes);
    const moved = waiting && !this.options.sums ? file.writeWaiting(waiting) : 0;
    this.checks.takeUnseen(name, moved);
    this.options.progress?.(bytes.length + moved);
  }

  private end(name: string): Promise<void> | undefined {
    const file = this.files.get(name);
    this.files.delete(name);
    return (file && this.directory.finishFile(file)) ?? this.pause();
  }

  /** Lets signals and finished syncs be handled. */
  private pause(): Promise<void> | undefined {
    this.options.signal?.throwIfAborted();
    return this.breather.due();
  }
}
