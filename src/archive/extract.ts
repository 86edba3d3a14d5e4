/**
 * The files of a dump that arrive in whatever order, straight into a directory. Nothing waits: each file has a place of its
 * own, and several are open at a time. Whether it is a whole dump shows in the end, and only then does the directory appear.
 */

import { Breather } from '../breathe.js';
import { decodeAreas } from '../image/mm.js';
import type { RunBatch } from '../memory/runs.js';
import { countHolePages } from '../memory/runs.js';
import type { DirectorySinkOptions } from '../sink/directory.js';
import { DumpDirectory, type Written } from '../sink/dump-directory.js';
import type { OutputFile } from '../sink/output-file.js';
import { ExtentReader, extentOf, FILE_PIECE_BYTES } from '../stream/extents.js';
import { ArrivalChecks } from './arrival-checks.js';
import type { Member, MemberEvent, MemberSource } from './members.js';

/** Permission bits of the directory: what a dump holds is private, and archives seldom say otherwise. */
const DIRECTORY_MODE = 0o700;

export interface ExtractOptions extends DirectorySinkOptions {
  /** Of the source, for errors. */
  name: string;
  /** Bytes; of machines that have but one page size it need not be given. */
  pageSize?: number;
  signal?: AbortSignal;
}

/**
 * Fills a new directory. What stands beside the dump in its archive is left out.
 * @throws {DumpError} if what came is no whole dump; nothing is left behind then
 */
export async function extract(members: MemberSource, out: string, options: ExtractOptions): Promise<Written> {
  const directory = new DumpDirectory(out, options);
  try {
    const extraction = new Extraction(directory, options);
    for await (const event of members) {
      // Awaiting what is no promise would cost more than writing 64 KiB.
      const taken = extraction.take(event);
      if (taken) await taken;
    }
    extraction.check();
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
  private readonly extents = new ExtentReader(FILE_PIECE_BYTES);
  private readonly breather = new Breather();

  constructor(
    private readonly directory: DumpDirectory,
    private readonly options: ExtractOptions,
  ) {
    const { written } = directory;
    const countHoles = (_pagemap: string, runs: RunBatch) => {
      written.holePages += countHolePages(runs);
    };
    this.checks = new ArrivalChecks({ ...options, onRuns: countHoles });
  }

  take(event: MemberEvent): Promise<void> | undefined {
    this.checks.take(event);
    if (event.type === 'extent') return this.copy(event);
    if (event.type === 'memberEnd') return this.end(event.name);
    if (event.type === 'member') this.begin(event);
    else this.write(this.files.get(event.name), event.bytes, event.hole);
    return this.pause();
  }

  /** Says whether all was a whole dump, whose areas can be read. Throws {@link DumpError}. */
  check(): void {
    this.checks.finish();
    const { pagemaps, kept, pageSize } = this.checks;
    for (const { space } of pagemaps.values()) {
      if (space?.kind === 'task') decodeAreas(kept.read(`mm-${space.pid}.img`), pageSize, `mm-${space.pid}.img`);
    }
  }

  private begin({ name, kind, mode, target, outside }: Member): void {
    if (outside) return;
    if (kind === 'directory') this.directory.addFolder(name, mode);
    else if (kind === 'link') this.directory.addLink(name, Buffer.from(target ?? ''));
    else this.files.set(name, this.directory.addFile(name, mode));
  }

  /** What is beside the dump has no file. */
  private write(file: OutputFile | undefined, bytes: Uint8Array, isHole = false): void {
    if (!file) return;
    if (isHole) file.skip(bytes.length);
    else file.write(bytes);
    this.options.progress?.(bytes.length);
  }

  private async copy({ name, file: from, position, bytes }: MemberEvent & { type: 'extent' }): Promise<void> {
    const file = this.files.get(name);
    if (!file) return;
    for (const piece of this.extents.read(extentOf(from, position, bytes))) {
      this.write(file, piece);
      await this.pause();
    }
  }

  private end(name: string): Promise<void> | undefined {
    const file = this.files.get(name);
    this.files.delete(name);
    return file && this.directory.finishFile(file);
  }

  /** Gives signals and finished syncs their turn. */
  private pause(): Promise<void> | undefined {
    this.options.signal?.throwIfAborted();
    return this.breather.due();
  }
}
