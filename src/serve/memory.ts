/** The memory of a dump, by pid: what a page server answers from. Spaces are opened on demand. */
import { GUARD_MS, openRandom } from '../arrival/open.js';
import { type DumpFiles, dumpPlaces } from '../dump/files.js';
import { isPagemapName, PARTIAL, spaceIdentity } from '../dump/names.js';
import { findPageSize } from '../dump/page-size.js';
import { MAX_CHAIN, openAddressSpace } from '../dump/pagemap.js';
import { DumpError } from '../errors.js';
import type { AddressSpace, PageSpan } from '../memory/space.js';

export interface DumpMemoryOptions {
  /** Bytes; by default found in the dump. */
  pageSize?: number;
}

export class DumpMemory {
  /** Bytes. */
  readonly pageSize: number;
  private readonly pagemaps = new Map<number, string>();
  private readonly spaces = new Map<number, AddressSpace>();

  /**
   * @param files of a dump, or any with pagemaps and their pages; closed with the memory
   * @throws {DumpError} NOT_A_DUMP if there is no pagemap
   */
  constructor(
    private readonly files: DumpFiles,
    { pageSize }: DumpMemoryOptions = {},
  ) {
    for (const { name } of files.entries()) {
      const { pid } = isPagemapName(name) ? spaceIdentity(name) : {};
      if (pid !== undefined) this.pagemaps.set(pid, name);
    }
    if (this.pagemaps.size === 0) {
      throw new DumpError('NOT_A_DUMP', 'expected a dump, found no pagemap of a task', { file: files.path });
    }
    this.pageSize = pageSize ?? findPageSize(files);
    // All dumps of the chain are opened now: what is replaced later is another dump.
    let parent = files.parent();
    for (let i = 1; parent && i < MAX_CHAIN; i++) parent = parent.parent();
  }

  /** The dump, and those that it builds on. */
  get places(): string[] {
    return dumpPlaces(this.files);
  }

  /** Pids that have memory. */
  get pids(): number[] {
    return [...this.pagemaps.keys()];
  }

  /** Whether pages were taken out of the dump that no lazy restore can fetch. */
  get isPartial(): boolean {
    return this.files.stat(PARTIAL) !== undefined;
  }

  has(pid: number): boolean {
    return this.pagemaps.has(pid);
  }

  /** The memory of a task. Throws {@link DumpError} if its images cannot be read. */
  space(pid: number): AddressSpace | undefined {
    const known = this.spaces.get(pid);
    const pagemap = this.pagemaps.get(pid);
    if (known || pagemap === undefined) return known;
    const space = openAddressSpace(this.files, pagemap, this.pageSize);
    this.spaces.set(pid, space);
    return space;
  }

  /** The consecutive stored pages at the start of a range. */
  storedAt(pid: number, pageNumber: number, most: number): PageSpan[] {
    const stored: PageSpan[] = [];
    for (const segment of this.space(pid)?.locate(pageNumber, most) ?? []) {
      if (segment.state !== 'stored') break;
      stored.push(segment);
    }
    return stored;
  }

  close(): void {
    this.files.close();
  }
}

/**
 * The memory of a directory or a plain archive, which must not change while it is open.
 * @throws {DumpError} UNSUPPORTED for what can only be read in sequence, NOT_A_DUMP, SYSTEM
 */
export async function openMemory(path: string, options: DumpMemoryOptions = {}): Promise<DumpMemory> {
  const files = await openRandom(path, { guard: true, guardEveryMs: GUARD_MS });
  if (!files) {
    throw new DumpError('UNSUPPORTED', 'expected a directory or a plain tar archive, found another file', {
      file: path,
      hint: 'what is compressed or in shards is not open to random access: pagepipe copy DUMP OUT',
    });
  }
  try {
    return new DumpMemory(files, options);
  } catch (error) {
    files.close();
    throw error;
  }
}
