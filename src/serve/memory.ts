/** The memory of a dump, by pid: what a page server answers from. Spaces are opened when somebody asks for them. */
import { readdirSync } from 'node:fs';
import type { ImageIndex } from '../archive/image-index.js';
import { DumpError, onFile } from '../errors.js';
import type { AddressSpace, PageSpan } from '../memory/space.js';
import { isPagemapName, spaceIdentity } from '../records.js';
import { Dump } from '../source/directory.js';
import { FilePool, type FileStates, lookAt } from '../source/files.js';
import { MAX_CHAIN, openAddressSpace, parentOf } from '../source/pagemap.js';
import { marchOf, VARIABLE_PAGE_SIZE } from '../source/tasks.js';

/** Page size of a directory that does not say which machine it is from. */
const USUAL_PAGE_BYTES = 4096;
/** Registers of a thread, and some more. */
const MAX_CORE_BYTES = 16 * 1024 * 1024;

export interface DumpMemoryOptions {
  /** Bytes; found out from the dump if it is not given. */
  pageSize?: number;
  /** Of an archive that the dump is in; closed with it. */
  index?: ImageIndex;
}

export class DumpMemory {
  /** Bytes. */
  readonly pageSize: number;
  private readonly pagemaps = new Map<number, string>();
  private readonly spaces = new Map<number, AddressSpace>();
  private readonly files: FilePool;
  private readonly index: ImageIndex | undefined;

  /**
   * @param path a dump, or any directory with pagemaps and their pages
   * @throws {DumpError} NOT_A_DUMP if it has none
   */
  constructor(
    readonly path: string,
    { pageSize, index }: DumpMemoryOptions = {},
  ) {
    this.index = index;
    const names = index ? index.names : memoryFiles(path);
    for (const name of names) {
      const { pid } = isPagemapName(name) ? spaceIdentity(name) : {};
      if (pid !== undefined) this.pagemaps.set(pid, name);
    }
    if (this.pagemaps.size === 0) {
      throw new DumpError('NOT_A_DUMP', 'expected a dump, found no pagemap of a task', { file: path });
    }
    this.pageSize = pageSize ?? (index ? pageSizeIn(index, path) : pageSizeOf(path));
    if (index) {
      this.files = new FilePool(path, { index });
      return;
    }
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
  storedAt(pid: number, pageNumber: number, most: number): PageSpan[] {
    const stored: PageSpan[] = [];
    for (const segment of this.space(pid)?.locate(pageNumber, most) ?? []) {
      if (segment.state !== 'stored') break;
      stored.push(segment);
    }
    return stored;
  }

  close(): void {
    for (const space of this.spaces.values()) space.close();
    this.files.close();
    this.index?.close();
  }
}

/** Names of the pagemaps and pages in a directory. */
const memoryFiles = (directory: string): string[] =>
  onFile(directory, () => readdirSync(directory)).filter((name) => isPagemapName(name) || name.startsWith('pages-'));

/** Of an archive; machines with several page sizes must be told. */
function pageSizeIn(index: ImageIndex, path: string): number {
  const core = index.names.find((name) => /^core-\d+\.img$/.test(name));
  if (core === undefined) return USUAL_PAGE_BYTES;
  const march = marchOf(new FilePool(path, { index }).readAll(core, MAX_CORE_BYTES), core) ?? 0;
  if (!VARIABLE_PAGE_SIZE.includes(march)) return USUAL_PAGE_BYTES;
  throw new DumpError('UNSUPPORTED', 'expected a machine with one page size, found one with several', {
    file: path,
    hint: 'say which it was with --page-size',
  });
}

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
