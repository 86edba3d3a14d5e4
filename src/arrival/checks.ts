/**
 * Checks on every file of an incoming dump, whatever it is turned into: each comes once, links stay inside, images have the
 * magic of their name, each pagemap matches its pages file, and at the end nothing is missing. Names are checked where they
 * are read.
 */
import { concatBytes } from '../bytes.js';
import { checkIsFile } from '../dump/dump.js';
import type { FileBegin, FileEvent } from '../dump/events.js';
import { requireImage } from '../dump/files.js';
import { Images } from '../dump/images.js';
import { isOfAProcess, isOfNobody, leftoverPagemaps } from '../dump/leftovers.js';
import { checkLink, isPagemapName, isPagesName, isTaskImage, mmName, OUTSIDE } from '../dump/names.js';
import { hasSeveralPageSizes, MIN_PAGE_BYTES, machineOf } from '../dump/page-size.js';
import { marchOf, readTasks, type Task } from '../dump/tasks.js';
import { DumpError } from '../errors.js';
import { checkMagic, magicBytes } from '../image/framing.js';
import { headerBytes, type ImageType, typeOfName } from '../image/magic.js';
import { checkHoles } from '../io/holes.js';
import { PAGE_SIZES, type RunBatch } from '../memory/runs.js';
import { counted } from '../printable.js';
import { isMetadataName, MetadataCache } from './metadata-cache.js';
import { ArrivingPagemap } from './pagemap.js';
import { ArrivingSums } from './sums.js';

export interface ArrivalOptions {
  /** Name of the source, for errors. */
  name: string;
  /** Bytes. Only needed for machines with several page sizes. */
  pageSize?: number;
  /** Whether images that only a restore needs may be missing. */
  incomplete?: boolean;
  /** Whether the page size is needed at the end at the earliest: then it is found by the sizes of pages files. */
  findsPageSize?: boolean;
  /** Whether pages are on their way to their pagemap already: no other one can have them then. */
  areTaken?: (pages: string) => boolean;
  /** Told of files that were not compared with the sums of the dump. */
  warn?: ((message: string) => void) | undefined;
  /** Called with the runs of each pagemap as they arrive. */
  onRuns?: (pagemap: string, runs: RunBatch) => void;
}

/** Files that an earlier dump has left. */
export interface Leftovers {
  pagemaps: readonly string[];
  /** Pages of these pagemaps, and of no others. */
  pages: readonly string[];
  /** Pages that no pagemap refers to. */
  unused: readonly string[];
}

/**
 * Takes every event before anybody else does, and throws for a bad one. {@link ArrivalChecks.finish} throws if the dump is
 * incomplete.
 */
export class ArrivalChecks {
  /** Bytes; the smallest until it is found. */
  pageSize: number;
  /** Images that are needed while others arrive. */
  readonly metadata = new MetadataCache();
  /** Pagemaps by name. */
  readonly pagemaps = new Map<string, ArrivingPagemap>();
  /** Of the blocks of all files, where the dump has them. */
  readonly sums = new ArrivingSums();
  /** Known at the end. */
  tasks: readonly Task[] = [];
  /** `core_entry.mtype`, once a core image has come. */
  march: number | undefined;
  /** Bytes of all files of the dump that have come. */
  bytes = 0;
  private readonly names = new Set<string>();
  private waitingHoleBytes = 0;
  /** Images of which only a part of their magic has come. */
  private readonly starts = new Map<string, { type: ImageType; bytes: Uint8Array }>();
  /** Images of processes without the right magic. Which processes there are is known at the end. */
  private readonly damaged = new Map<string, DumpError>();
  private readonly pages = new Map<string, { bytes: number; ended: boolean }>();
  /** Pagemaps by the name of their pages file. If there are several, all but one are from an earlier dump. */
  private readonly owners = new Map<string, Set<ArrivingPagemap>>();

  constructor(private readonly options: ArrivalOptions) {
    this.pageSize = options.pageSize ?? MIN_PAGE_BYTES;
  }

  /**
   * Takes the next event.
   * @returns whether it is of a file of the dump, and not of its sums
   * @throws {DumpError} BAD_NAME, UNSUPPORTED, WRONG_MAGIC, WRONG_SUM, PAGES_ID_TWICE, PAGES_SIZE, or for images that cannot be
   *   read
   */
  take(event: FileEvent): boolean {
    if (!this.sums.take(event)) return false;
    if (event.type === 'file') this.begin(event);
    else if (event.type === 'data') this.data(event.name, event.bytes);
    else this.end(event.name);
    return true;
  }

  /**
   * Called after the last event; throws if the dump is incomplete.
   * @returns the files that an earlier dump has left
   * @throws {DumpError} NOT_A_DUMP, MISSING_IMAGE, NO_PARENT, MALFORMED, TRUNCATED, WRONG_SUM, PAGES_ID_TWICE, PAGES_SIZE
   */
  finish(): Leftovers {
    this.sums.finish(this.options.warn);
    const { metadata } = this;
    const { name, incomplete } = this.options;
    const { tasks, ids } = readTasks(new Images(metadata), name, this.names, incomplete);
    this.tasks = tasks;
    for (const [name, error] of this.damaged) if (!isOfNobody(name, ids)) throw error;
    const left = this.leavePagemaps();
    this.findPageSize();
    for (const { name, space, pages } of this.pagemaps.values()) {
      if (pages !== undefined) {
        requireImage(metadata, pages, name);
        this.checkPages(pages);
      }
      if (space?.kind === 'task') requireImage(metadata, mmName(space.pid), name);
    }
    const unused = [...this.pages.keys()].filter((file) => !this.owners.has(file));
    const child = [...this.pagemaps.values()].find(({ hasParentPages }) => hasParentPages);
    if (!child || this.names.has('parent')) return { ...left, unused };
    throw new DumpError('NO_PARENT', 'expected a parent dump, which has pages of this one, found no parent link', {
      file: child.name,
    });
  }

  /** Leaves out the pagemaps of an earlier dump, with the pages that no other one has. */
  private leavePagemaps(): Pick<Leftovers, 'pagemaps' | 'pages'> {
    const left = leftoverPagemaps({
      images: new Images(this.metadata),
      names: [...this.names],
      pids: new Set(this.tasks.map(({ pid }) => pid)),
      pagesOf: (pagemap) => this.pagemaps.get(pagemap)?.pages,
    });
    for (const name of left.keys()) this.pagemaps.delete(name);
    const pages: string[] = [];
    for (const [file, owners] of this.owners) {
      for (const owner of owners) if (left.has(owner.name)) owners.delete(owner);
      const [first, second] = owners;
      if (first && second) throw pagesIdTwice(second, first);
      if (!first && this.pages.delete(file)) pages.push(file);
    }
    return { pagemaps: [...left.keys()], pages };
  }

  /** Whether it is not known yet to which of several pagemaps these pages belong. */
  isContested(pages: string): boolean {
    return (this.owners.get(pages)?.size ?? 0) > 1;
  }

  private begin({ name, kind, size, target, header }: FileBegin): void {
    if (this.names.has(name)) {
      throw new DumpError('BAD_NAME', 'the name occurs twice', { file: name });
    }
    // Names that are not UTF-8 may look the same. They are all outside the dump.
    if (!name.includes('\uFFFD')) this.names.add(name);
    if (name.startsWith(OUTSIDE)) return;
    this.metadata.note(name);
    if (kind === 'link') checkLink(name, Buffer.from(target ?? []).toString());
    if (isPagemapName(name) || isPagesName(name) || isTaskImage(name)) checkIsFile(name, kind);
    if (kind !== 'regular') return;
    const type = typeOfName(name);
    if (type) this.starts.set(name, { type, bytes: new Uint8Array(0) });
    if (isPagemapName(name)) this.pagemaps.set(name, new ArrivingPagemap(name, this.pageSize));
    else if (isPagesName(name)) {
      this.pages.set(name, { bytes: 0, ended: false });
      // What a sparse file claims is compared before any of it is made.
      if (size !== undefined) {
        this.checkSize(name, size);
        if (this.options.areTaken && !this.owners.has(name)) this.addHoles(name, size - (header?.storedBytes ?? size));
      }
    }
  }

  /** Pages whose pagemap has not come have to wait, byte by byte. */
  private addHoles(name: string, bytes: number): void {
    this.waitingHoleBytes += bytes;
    checkHoles(name, this.waitingHoleBytes, 0, 'put the pagemaps in front of their pages: tar --sort=name');
  }

  /** Takes bytes of a file that are not looked at: of pages, or of what is no image. */
  takeUnseen(name: string, bytes: number): void {
    this.bytes += bytes;
    const pages = this.pages.get(name);
    if (pages) pages.bytes += bytes;
  }

  private data(name: string, bytes: Uint8Array): void {
    if (name.startsWith(OUTSIDE)) return;
    if (this.pages.has(name)) {
      this.takeUnseen(name, bytes.length);
      return;
    }
    this.bytes += bytes.length;
    this.checkStart(name, bytes);
    const pagemap = this.pagemaps.get(name);
    if (pagemap) this.addRuns(pagemap, bytes);
    else if (isMetadataName(name)) this.metadata.push(name, bytes);
  }

  private addRuns(pagemap: ArrivingPagemap, bytes: Uint8Array): void {
    const runs = pagemap.push(bytes);
    if (pagemap.pages !== undefined) this.claimPages(pagemap.pages, pagemap);
    if (runs) this.options.onRuns?.(pagemap.name, runs);
  }

  private claimPages(pages: string, pagemap: ArrivingPagemap): void {
    const owners = this.owners.get(pages) ?? new Set();
    if (owners.has(pagemap)) return;
    const [other] = owners;
    if (other && this.options.areTaken?.(pages)) throw pagesIdTwice(pagemap, other, IN_ANY_ORDER);
    this.owners.set(pages, owners.add(pagemap));
  }

  /** An image whose name promises a type must begin with its magic. */
  private checkStart(name: string, more: Uint8Array): void {
    const start = this.starts.get(name);
    if (!start) return;
    start.bytes = concatBytes([start.bytes, more.subarray(0, headerBytes(start.type) - start.bytes.length)]);
    if (start.bytes.length < magicBytes(start.bytes, start.type)) return;
    this.checkMagic(name, start);
    this.starts.delete(name);
  }

  private checkMagic(name: string, { bytes, type }: { bytes: Uint8Array; type: ImageType }): void {
    try {
      checkMagic(bytes, type, name);
    } catch (error) {
      if (!(error instanceof DumpError) || !isOfAProcess(name)) throw error;
      this.damaged.set(name, error);
    }
  }

  private end(name: string): void {
    const start = this.starts.get(name);
    if (start) this.checkMagic(name, start);
    const pagemap = this.pagemaps.get(name);
    const pages = this.pages.get(name);
    if (pagemap) {
      pagemap.end();
      this.checkTaken(pagemap.pages as string);
    } else if (pages) {
      pages.ended = true;
      this.checkTaken(name);
    } else if (isMetadataName(name)) {
      this.metadata.end(name);
      if (name.startsWith('core-')) this.noteMachine(name);
    }
  }

  /** Pages that are passed on must have the right size at once; others may belong to a pagemap that has yet to come. */
  private checkTaken(file: string): void {
    if (this.options.areTaken?.(file)) this.checkPages(file);
  }

  /** Compares the size of a pages file with its pagemap, once both have arrived. */
  private checkPages(file: string): void {
    const pages = this.pages.get(file);
    if (pages?.ended) this.checkSize(file, pages.bytes);
  }

  private checkSize(file: string, bytes: number): void {
    const [pagemap, other] = this.owners.get(file) ?? [];
    if (other || !pagemap?.ended || bytes === pagemap.pagesBytes) return;
    if (this.maySizeVary && PAGE_SIZES.includes((MIN_PAGE_BYTES * bytes) / pagemap.pagesBytes)) return;
    throw this.wrongSize(file, bytes - pagemap.pagesBytes, pagemap);
  }

  /** Whether pages may have another size than the smallest, as far as is known. */
  private get maySizeVary(): boolean {
    const { findsPageSize, pageSize } = this.options;
    if (!findsPageSize || pageSize !== undefined) return false;
    return this.march === undefined || hasSeveralPageSizes(this.march);
  }

  /** When all pages files are there: the pages of each have the same size. */
  private findPageSize(): void {
    if (!this.options.findsPageSize || this.options.pageSize !== undefined) return;
    let found: number | undefined;
    for (const [file, { bytes }] of this.pages) {
      const [pagemap] = this.owners.get(file) ?? [];
      if (!pagemap || pagemap.pagesBytes === 0) continue;
      found ??= this.maySizeVary ? (MIN_PAGE_BYTES * bytes) / pagemap.pagesBytes : MIN_PAGE_BYTES;
      const expected = (pagemap.pagesBytes * found) / MIN_PAGE_BYTES;
      if (bytes !== expected) throw this.wrongSize(file, bytes - expected, pagemap);
    }
    this.pageSize = found ?? MIN_PAGE_BYTES;
  }

  private wrongSize(file: string, excess: number, pagemap: ArrivingPagemap): DumpError {
    const difference = `${counted(Math.abs(excess), 'byte')} ${excess < 0 ? 'fewer' : 'more'}`;
    return new DumpError('PAGES_SIZE', `the file has ${difference} than ${pagemap.name} says`, {
      file,
      ...(this.isPageSizeKnown
        ? {}
        : { hint: 'if such machines have several page sizes, give the right one with --page-size' }),
    });
  }

  private get isPageSizeKnown(): boolean {
    return this.options.pageSize !== undefined || (this.march !== undefined && !this.maySizeVary);
  }

  /** Undefined for a core that cannot be read: if a process has it, that is an error at the end. */
  private marchOf(core: string): number | undefined {
    try {
      return marchOf(new Images(this.metadata), core);
    } catch (error) {
      if (error instanceof DumpError) return undefined;
      throw error;
    }
  }

  private noteMachine(core: string): void {
    if (this.march === undefined) this.march = this.marchOf(core);
    const { pageSize, findsPageSize, name } = this.options;
    if (pageSize !== undefined || findsPageSize || !hasSeveralPageSizes(this.march)) return;
    const { machine, usual } = machineOf(this.march);
    throw new DumpError('UNSUPPORTED', `${machine} machines have several page sizes`, {
      file: name,
      hint: `give the page size with --page-size${usual === undefined ? '' : `; ${usual} is usual`}`,
    });
  }
}

/** The pages have been passed on with the other pagemap. In an archive by tar of a sorted folder, all pagemaps come first. */
const IN_ANY_ORDER = 'if an earlier dump has left one of the two, make a directory first: pagepipe copy DUMP OUT';

const pagesIdTwice = ({ name: file, space }: ArrivingPagemap, other: ArrivingPagemap, hint?: string): DumpError =>
  new DumpError('PAGES_ID_TWICE', `expected a pages_id of its own, found ${space?.pagesId}, that of ${other.name}`, {
    file,
    offset: headerBytes('PAGEMAP'),
    ...(hint === undefined ? {} : { hint }),
  });
