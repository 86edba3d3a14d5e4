/**
 * A dump with random access, as records. Opening it reads the metadata that everything else depends on: the tasks, the pages
 * file of each pagemap, and the page size. Areas and pagemaps are read later, one task at a time. Pages are never read
 * here: records refer to them.
 */
import { DumpError, invariant } from '../errors.js';
import { checkMagic } from '../image/framing.js';
import { headerBytes, typeOfName } from '../image/magic.js';
import { decodeAreas } from '../image/mm.js';
import { PagemapDecoder } from '../image/pagemap.js';
import type { AddressSpace } from '../memory/space.js';
import type { AreaTable } from '../memory/vma.js';
import { type DumpEntry, type DumpFiles, payloadFile, readAll, requireImage, sizeOf } from './files.js';
import { Images } from './images.js';
import { isOfNobody, leftOut, leftoverPagemaps, pagesLeftOut } from './leftovers.js';
import { isPagemapName, isPagesName, isTaskImage, mmName, OUTSIDE, pagesName, spaceIdentity } from './names.js';
import { findPageSize, MIN_PAGE_BYTES } from './page-size.js';
import { openAddressSpace, readPagemap } from './pagemap.js';
import type { DumpRecord, FileRecord, PayloadFile, Space } from './records.js';
import { sumsMark } from './sums.js';
import { readTasks, type Task } from './tasks.js';

/** An mm image is read whole; the largest known is a few MiB. */
export const MAX_MM_BYTES = 64 * 1024 * 1024;

/** More than a pagemap needs up to its first entry, in bytes. */
const HEAD_BYTES = 4096;

export interface DumpOptions {
  /** Bytes. Found in the dump if it is not given. */
  pageSize?: number;
  /** Whether images that only a restore needs may be missing. */
  incomplete?: boolean;
  /** Told of what an earlier dump has left there. */
  warn?: ((message: string) => void) | undefined;
}

/** An open dump. The owner calls {@link Dump.close}. */
export class Dump {
  readonly tasks: readonly Task[];
  readonly spaces: readonly Space[];
  /** Bytes. */
  readonly pageSize: number;
  /** `core_entry.mtype`. */
  readonly march: number | undefined;
  /** Bytes of all files of the dump: without the pages files, and of these. */
  readonly otherBytes: number;
  readonly payloadBytes: number;
  private readonly entries = new Map<string, DumpEntry>();
  private readonly ids: ReadonlySet<number>;

  /**
   * Reads the metadata of a dump, and takes over the files: they are closed with the dump.
   * @throws {DumpError} if it is not a valid dump; the files are closed then
   */
  static async open(files: DumpFiles, options: DumpOptions = {}): Promise<Dump> {
    try {
      return new Dump(files, options);
    } catch (error) {
      files.close();
      throw error;
    }
  }

  private constructor(
    readonly files: DumpFiles,
    { pageSize, incomplete, warn }: DumpOptions,
  ) {
    for (const entry of files.entries()) this.entries.set(entry.name, entry);
    this.checkParent();
    ({
      tasks: this.tasks,
      ids: this.ids,
      march: this.march,
    } = readTasks(new Images(files), files.path, this.entries.keys(), incomplete));
    const left = this.leaveLeftovers(warn);
    this.spaces = this.readSpaces();
    this.pageSize = pageSize ?? findPageSize(files, this.march ?? 0);
    const pages = new Set(this.spaces.map(pagesName));
    for (const name of left) if (!pages.has(name)) this.entries.delete(name);
    for (const name of [...this.entries.keys()].filter(isPagesName)) {
      if (!pages.has(name) && this.entries.delete(name)) warn?.(pagesLeftOut(name));
    }
    this.payloadBytes = this.sumOfSizes((name) => pages.has(name));
    this.otherBytes = this.sumOfSizes((name) => !pages.has(name) && !name.startsWith(OUTSIDE));
  }

  /** Of all files of the dump. */
  get bytes(): number {
    return this.otherBytes + this.payloadBytes;
  }

  get path(): string {
    return this.files.path;
  }

  /** Closes all files. */
  close(): void {
    this.files.close();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.close();
  }

  /** Whether the dump has a parent: the previous dump of an incremental chain. */
  get hasParent(): boolean {
    return this.entries.has('parent');
  }

  /**
   * The records of the dump: all metadata before the first page, except that an archive keeps its order. Payload is by
   * reference, valid until {@link Dump.close}.
   */
  *records(): Generator<DumpRecord> {
    if (this.files.kind === 'tar') {
      yield* this.start();
      yield* this.inOrder();
    } else {
      yield* this.metadata();
      for (const space of this.spaces) yield* this.runsOf(space);
    }
    yield { type: 'end' };
  }

  /** The header, all files, and the areas of all spaces. */
  *metadata(): Generator<DumpRecord> {
    yield* this.start();
    const ownFiles = new Set(this.spaces.flatMap((space) => [space.pagemap, pagesName(space)]));
    for (const entry of this.entries.values()) if (!ownFiles.has(entry.name)) yield* this.fileRecords(entry);
    for (const space of this.spaces) yield* this.spaceRecords(space);
  }

  /** The runs of a space, with their payload. */
  *runsOf(space: Space): Generator<DumpRecord> {
    const pages = pagesName(space);
    const file = payloadFile(this.files, pages, sizeOf(this.files, pages));
    for (const { runs, extents } of readPagemap(this.files, space.pagemap, this.pageSize, this.hasParent)) {
      yield { type: 'runs', space, runs, checked: false };
      if (extents.length > 0) yield { type: 'extents', file, extents };
    }
  }

  /** The areas of a task. */
  areasOf(space: Space): AreaTable {
    const file = mmName(space.pid);
    requireImage(this.files, file, space.pagemap);
    return decodeAreas(readAll(this.files, file, MAX_MM_BYTES), this.pageSize, file);
  }

  /** The memory of a space, including the pages in parent dumps. */
  addressSpace(space: Space): AddressSpace {
    return openAddressSpace(this.files, space.pagemap, this.pageSize);
  }

  private *start(): Generator<DumpRecord> {
    yield this.header();
    if (this.files.summed) yield sumsMark();
  }

  private header(): DumpRecord {
    return {
      type: 'header',
      pageSize: this.pageSize,
      directoryMode: this.files.mode,
      payloadBytes: this.payloadBytes,
      ...(this.march === undefined ? {} : { march: this.march }),
    };
  }

  /** A space comes where the second of its two files is. */
  private *inOrder(): Generator<DumpRecord> {
    const spaces = new Map(this.spaces.flatMap((space) => [space.pagemap, pagesName(space)].map((n) => [n, space])));
    const begun = new Set<Space>();
    for (const entry of this.entries.values()) {
      const space = spaces.get(entry.name);
      if (!space) {
        yield* this.fileRecords(entry);
      } else if (begun.has(space)) {
        yield* this.spaceRecords(space);
        yield* this.runsOf(space);
      } else {
        begun.add(space);
      }
    }
  }

  private *spaceRecords(space: Space): Generator<DumpRecord> {
    yield { type: 'space', space };
    if (space.kind === 'task') yield { type: 'areas', space, areas: this.areasOf(space) };
  }

  private fileRecords(entry: DumpEntry): DumpRecord[] {
    const { name, kind, mode, size, target, header } = this.withoutLink(entry);
    const outside = name.startsWith(OUTSIDE);
    const file = payloadFile(this.files, name, size);
    if (kind === 'regular' && !outside) this.checkNamedType(file);
    const plain: FileRecord = { type: 'file', kind, name, mode, size, checked: false };
    // Most files have none of these, so most records are not copied.
    const record =
      target || outside || header
        ? { ...plain, ...(target ? { target } : {}), ...(outside ? { outside } : {}), ...(header ? { header } : {}) }
        : plain;
    return size > 0 ? [record, { type: 'extents', file, extents: Float64Array.of(0, size) }] : [record];
  }

  /** A link in the place of an image becomes a copy of the file: a dump that arrives must have such an image as a file. */
  private withoutLink(entry: DumpEntry): DumpEntry {
    const stat = entry.kind === 'link' && isTaskImage(entry.name) ? this.files.stat(entry.name) : undefined;
    return stat ? { name: entry.name, kind: 'regular', mode: stat.mode, size: stat.size } : entry;
  }

  /** An image whose name promises a type must begin with its magic. */
  private checkNamedType(file: PayloadFile): void {
    const type = typeOfName(file.name);
    if (!type || isOfNobody(file.name, this.ids)) return;
    const start = new Uint8Array(Math.min(headerBytes(type), file.size));
    file.read(start, 0);
    checkMagic(start, type, file.name);
  }

  /** Throws {@link DumpError} NO_PARENT if the parent of a directory is missing. */
  private checkParent(): void {
    const parent = this.entries.get('parent');
    if (!parent || (this.files.kind !== 'directory' && this.files.kind !== 's3')) return;
    const isLink = parent.kind === 'link';
    if (isLink && this.files.parent()) return;
    const found = isLink
      ? `a link to ${Buffer.from(parent.target ?? [])}, which leads to no directory`
      : 'something else';
    throw new DumpError('NO_PARENT', `expected a link to the directory of the parent dump, found ${found}`, {
      file: 'parent',
    });
  }

  /** Leaves out the pagemaps of an earlier dump. @returns their pages files, which may be those of this dump as well */
  private leaveLeftovers(warn: DumpOptions['warn']): string[] {
    const pids = new Set(this.tasks.map(({ pid }) => pid));
    const pages: string[] = [];
    for (const [name, file] of leftoverPagemaps({
      images: new Images(this.files),
      names: [...this.entries.keys()],
      pids,
    })) {
      this.entries.delete(name);
      if (file !== undefined) pages.push(file);
      warn?.(leftOut(name));
    }
    return pages;
  }

  /** In the order in which their runs come: where the order is that of an archive, that of the second file of each. */
  private readSpaces(): Space[] {
    const spaces = [...this.entries.values()]
      .filter(({ name }) => isPagemapName(name))
      .map((entry) => this.spaceOf(entry));
    checkOwners(spaces);
    if (this.files.kind === 'tar') {
      const places = new Map([...this.entries.keys()].map((name, i) => [name, i]));
      const placeOf = (space: Space) =>
        Math.max(places.get(space.pagemap) as number, places.get(pagesName(space)) as number);
      spaces.sort((a, b) => placeOf(a) - placeOf(b));
    }
    return spaces.map((space, index) => ({ ...space, index }));
  }

  private spaceOf({ name, kind, mode, size, header }: DumpEntry): Space {
    checkIsFile(name, kind);
    const decoder = new PagemapDecoder(MIN_PAGE_BYTES, name);
    const start = new Uint8Array(Math.min(size, HEAD_BYTES));
    payloadFile(this.files, name, size).read(start, 0);
    decoder.pushHead(start);
    if (!decoder.head) {
      decoder.end();
      invariant(false, 'a pagemap without a head does not end well');
    }
    const pagesFile = pagesName(decoder);
    requireImage(this.files, pagesFile, name);
    const pages = this.entries.get(pagesFile) as DumpEntry;
    checkIsFile(pagesFile, pages.kind);
    return {
      index: 0,
      ...spaceIdentity(name),
      pagemap: name,
      pagesId: decoder.pagesId,
      head: decoder.head,
      ...(decoder.oneMagic ? { oneMagic: true } : {}),
      pagemapMode: mode,
      pagesMode: pages.mode,
      ...(header && pages.header ? { headers: { pagemap: header, pages: pages.header } } : {}),
    };
  }

  private sumOfSizes(counts: (name: string) => boolean): number {
    let bytes = 0;
    for (const { name, size } of this.entries.values()) if (counts(name)) bytes += size;
    return bytes;
  }
}

function checkOwners(spaces: readonly Space[]): void {
  const owners = new Map<number, string>();
  for (const { pagemap: file, pagesId } of spaces) {
    const other = owners.get(pagesId);
    if (other !== undefined) {
      throw new DumpError('PAGES_ID_TWICE', `expected a pages_id of its own, found ${pagesId}, that of ${other}`, {
        file,
        offset: headerBytes('PAGEMAP'),
      });
    }
    owners.set(pagesId, file);
  }
}

/** Throws {@link DumpError} UNSUPPORTED for a link or a folder with the name of an image. */
export function checkIsFile(name: string, kind: DumpEntry['kind']): void {
  if (kind === 'regular') return;
  throw new DumpError('UNSUPPORTED', `expected an image, found a ${kind === 'link' ? 'link' : 'folder'}`, {
    file: name,
  });
}
