/** The memory of a dump, by pid: what a page server answers from. Spaces are opened when somebody asks for them. */
import { readdirSync } from 'node:fs';
import { DumpError, onFile } from '../errors.js';
import type { AddressSpace, Segment } from '../memory/space.js';
import { isPagemapName, spaceIdentity } from '../records.js';
import { Dump } from '../source/directory.js';
import { FilePool, type FileStates, lookAt } from '../source/files.js';
import { MAX_CHAIN, openAddressSpace, parentOf } from '../source/pagemap.js';

/** Page size of a directory that does not say which machine it is from. */
const USUAL_PAGE_BYTES = 4096;

export interface DumpMemoryOptions {
  /** Bytes; found out from the dump if it is not given. */
  pageSize?: number;
}

export class DumpMemory {
  /** Bytes. */
  readonly pageSize: number;
  private readonly pagemaps = new Map<number, string>();
  private readonly spaces = new Map<number, AddressSpace>();
  private readonly files: FilePool;

  /**
   * @param path a dump, or any directory with pagemaps and their pages
   * @throws {DumpError} NOT_A_DUMP if it has none
   */
  constructor(
    readonly path: string,
    { pageSize }: DumpMemoryOptions = {},
  ) {
    const names = memoryFiles(path);
    for (const name of names) {
      const { pid } = isPagemapName(name) ? spaceIdentity(name) : {};
      if (pid !== undefined) this.pagemaps.set(pid, name);
    }
    if (this.pagemaps.size === 0) {
      throw new DumpError('NOT_A_DUMP', 'expected a dump, found no pagemap of a task', { file: path });
    }
    this.pageSize = pageSize ?? pageSizeOf(path);
    // Before the first of them is opened: what comes later is another dump.
    const states: FileStates = new Map();
    lookAt(path, names, states);
    let parent = parentOf(path);
    for (let i = 0; parent !== undefined && i < MAX_CHAIN; i++, parent = parentOf(parent)) {
      lookAt(parent, memoryFiles(parent), states);
    }
    this.files = new FilePool(path, { states });
  }

  /** Pids that have memory. */
  get pids(): number[] {
    return [...this.pagemaps.keys()];
  }

  has(pid: number): boolean {
    return this.pagemaps.has(pid);
  }

  /** The memory of a task. Throws {@link DumpError} if its images cannot be read. */
  space(pid: number): AddressSpace | undefined {
    const known = this.spaces.get(pid);
    const pagemap = this.pagemaps.get(pid);
    if (known || pagemap === undefined) return known;
    const space = openAddressSpace(this.path, pagemap, this.pageSize, { files: this.files });
    this.spaces.set(pid, space);
    return space;
  }

  /** The stored pages that stand at the beginning of a range, one behind the other. */
  storedAt(pid: number, pageNumber: number, most: number): Segment[] {
    const stored: Segment[] = [];
    for (const segment of this.space(pid)?.locate(pageNumber, most) ?? []) {
      if (segment.state !== 'stored') break;
      stored.push(segment);
    }
    return stored;
  }

  close(): void {
    for (const space of this.spaces.values()) space.close();
    this.files.close();
  }
}

/** Names of the pagemaps and pages in a directory. */
const memoryFiles = (directory: string): string[] =>
  onFile(directory, () => readdirSync(directory)).filter((name) => isPagemapName(name) || name.startsWith('pages-'));

/** A directory with pages alone is no dump that could be opened as one; most machines have but one page size. */
function pageSizeOf(path: string): number {
  try {
    const dump = new Dump(path);
    dump.close();
    return dump.pageSize;
  } catch (error) {
    if (error instanceof DumpError && (error.code === 'NOT_A_DUMP' || error.code === 'MISSING_IMAGE')) {
      return USUAL_PAGE_BYTES;
    }
    throw error;
  }
}
