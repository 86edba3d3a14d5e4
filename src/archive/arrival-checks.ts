/**
 * What must hold of the files of a dump that arrives, whatever becomes of them: each comes once, links stay inside, images
 * have the magic of their name, each pagemap has the pages that it speaks of, and in the end nothing is missing. Names are
 * checked where they are read ({@link checkMemberName}).
 */
import { concatBytes } from '../bytes.js';
import { DumpError } from '../errors.js';
import { checkMagic } from '../image/framing.js';
import { headerBytes, type ImageType, typeOfName } from '../image/magic.js';
import type { RunBatch } from '../memory/runs.js';
import { checkLink, isPagemapName, isPagesName } from '../records.js';
import { MIN_PAGE_BYTES, marchOf, readTasks, requireImage, type Task, VARIABLE_PAGE_SIZE } from '../source/tasks.js';
import { ExtentReader, extentOf, FILE_PIECE_BYTES } from '../stream/extents.js';
import { ArrivingPagemap } from './arriving-pagemap.js';
import { isKeptName, KeptImages } from './kept-images.js';
import { type Member, type MemberEvent, OUTSIDE } from './members.js';

export interface ArrivalOptions {
  /** Of the source, for errors. */
  name: string;
  /** Bytes; of machines that have but one page size it need not be given. */
  pageSize?: number;
  /** Told of the runs of each pagemap as they come. */
  onRuns?: (pagemap: string, runs: RunBatch) => void;
}

const KIND_NAMES = { link: 'link', directory: 'folder' } as const;

/** More than the magic of any image, in bytes. */
const START_BYTES = 8;

/**
 * Told of every event in turn, it throws before anything is made of one that must not be; {@link ArrivalChecks.finish} says
 * whether all was a whole dump.
 */
export class ArrivalChecks {
  /** Bytes. */
  readonly pageSize: number;
  /** Images that are looked into. */
  readonly kept = new KeptImages();
  /** Pagemaps by name. */
  readonly pagemaps = new Map<string, ArrivingPagemap>();
  /** Known at the end. */
  tasks: Task[] = [];
  /** `core_entry.march`, once a core image has come. */
  march: number | undefined;
  /** Bytes of all files of the dump that have come. */
  bytes = 0;
  private readonly names = new Set<string>();
  /** Images of which no more has come than a part of their magic. */
  private readonly starts = new Map<string, { type: ImageType; bytes: Uint8Array }>();
  private readonly pages = new Map<string, { bytes: number; ended: boolean }>();
  /** Pagemaps by the name of their pages file. */
  private readonly owners = new Map<string, ArrivingPagemap>();
  private readonly extents = new ExtentReader(FILE_PIECE_BYTES);

  constructor(private readonly options: ArrivalOptions) {
    this.pageSize = options.pageSize ?? MIN_PAGE_BYTES;
  }

  /**
   * Takes the next event.
   * @throws {DumpError} BAD_NAME, UNSUPPORTED, WRONG_MAGIC, PAGES_ID_TWICE, PAGES_SIZE, or for images that cannot be read
   */
  take(event: MemberEvent): void {
    if (event.type === 'member') this.begin(event);
    else if (event.type === 'data') this.data(event.name, event.bytes);
    else if (event.type === 'extent') this.extent(event);
    else this.end(event.name);
  }

  /**
   * Says whether all was a whole dump.
   * @throws {DumpError} NOT_A_DUMP, MISSING_IMAGE, NO_PARENT, MALFORMED, TRUNCATED
   */
  finish(): void {
    const images = { has: (name: string) => this.names.has(name), read: (name: string) => this.kept.read(name) };
    ({ tasks: this.tasks } = readTasks(images, this.options.name));
    for (const { name, space, pages } of this.pagemaps.values()) {
      if (pages !== undefined) requireImage(images, pages, name);
      if (space?.kind === 'task') requireImage(images, `mm-${space.pid}.img`, name);
    }
    for (const file of this.pages.keys()) {
      if (this.owners.has(file)) continue;
      throw new DumpError('MISSING_IMAGE', 'expected a pagemap for these pages, found none', { file });
    }
    const child = [...this.pagemaps.values()].find(({ hasParentPages }) => hasParentPages);
    if (!child || this.names.has('parent')) return;
    throw new DumpError('NO_PARENT', 'expected a parent dump, which has pages of this one, found no parent link', {
      file: child.name,
    });
  }

  private begin({ name, kind, size = 0, target, outside }: Member): void {
    if (this.names.has(name)) {
      throw new DumpError('BAD_NAME', 'expected each file once, found it twice', { file: name });
    }
    // Names that are no UTF-8 may look alike; only what is beside the dump has such.
    if (!name.includes('\uFFFD')) this.names.add(name);
    if (kind !== 'regular' && size > 0) {
      throw new DumpError('MALFORMED', `expected a ${KIND_NAMES[kind]} without bytes, found ${size}`, { file: name });
    }
    if (outside) return;
    if (kind === 'link') checkLink(name, target ?? '');
    if (kind !== 'regular') {
      checkIsFile(name, kind);
      return;
    }
    const type = typeOfName(name);
    if (type) this.starts.set(name, { type, bytes: new Uint8Array(0) });
    if (isPagemapName(name)) this.pagemaps.set(name, new ArrivingPagemap(name, this.pageSize));
    else if (isPagesName(name)) this.pages.set(name, { bytes: 0, ended: false });
  }

  private data(name: string, bytes: Uint8Array): void {
    this.count(name, bytes.length);
    if (this.pages.has(name)) return;
    this.checkStart(name, bytes);
    const pagemap = this.pagemaps.get(name);
    if (pagemap) this.addRuns(pagemap, bytes);
    else if (isKeptName(name)) this.kept.push(name, bytes);
  }

  /** Only what is looked into is read. */
  private extent({ name, file, position, bytes }: MemberEvent & { type: 'extent' }): void {
    if (this.pagemaps.has(name) || isKeptName(name)) {
      for (const piece of this.extents.read(extentOf(file, position, bytes))) this.data(name, piece);
      return;
    }
    this.count(name, bytes);
    if (!this.starts.has(name)) return;
    const start = new Uint8Array(Math.min(bytes, START_BYTES));
    file.read(start, position);
    this.checkStart(name, start);
  }

  private count(name: string, bytes: number): void {
    if (!name.startsWith(OUTSIDE)) this.bytes += bytes;
    const pages = this.pages.get(name);
    if (pages) pages.bytes += bytes;
  }

  private addRuns(pagemap: ArrivingPagemap, bytes: Uint8Array): void {
    const runs = pagemap.push(bytes);
    if (pagemap.pages !== undefined) this.claimPages(pagemap.pages, pagemap);
    if (runs) this.options.onRuns?.(pagemap.name, runs);
  }

  private claimPages(pages: string, pagemap: ArrivingPagemap): void {
    const owner = this.owners.get(pages) ?? pagemap;
    this.owners.set(pages, owner);
    if (owner === pagemap) return;
    const { name: file, space } = pagemap;
    throw new DumpError(
      'PAGES_ID_TWICE',
      `expected a pages_id of its own, found ${space?.pagesId}, that of ${owner.name}`,
      { file },
    );
  }

  /** An image whose name promises a type must begin with its magic. */
  private checkStart(name: string, more: Uint8Array): void {
    const start = this.starts.get(name);
    if (!start) return;
    start.bytes = concatBytes([start.bytes, more.subarray(0, headerBytes(start.type) - start.bytes.length)]);
    if (start.bytes.length < headerBytes(start.type)) return;
    checkMagic(start.bytes, start.type, name);
    this.starts.delete(name);
  }

  private end(name: string): void {
    const start = this.starts.get(name);
    if (start) checkMagic(start.bytes, start.type, name);
    const pagemap = this.pagemaps.get(name);
    const pages = this.pages.get(name);
    if (pagemap) {
      pagemap.end();
      this.checkPages(pagemap.pages as string);
    } else if (pages) {
      pages.ended = true;
      this.checkPages(name);
    } else if (isKeptName(name)) {
      this.kept.end(name);
      if (name.startsWith('core-')) this.meetMachine(name);
    }
  }

  /** A pages file is as long as its pagemap says, once both are there. */
  private checkPages(file: string): void {
    const pages = this.pages.get(file);
    const pagemap = this.owners.get(file);
    if (!pages?.ended || !pagemap?.ended || pages.bytes === pagemap.payloadBytes) return;
    const missing = pagemap.payloadBytes - pages.bytes;
    const difference = missing > 0 ? `${missing} more bytes` : `${-missing} fewer bytes`;
    throw new DumpError('PAGES_SIZE', `expected ${difference} of pages by ${pagemap.name}`, {
      file,
      ...(this.isPageSizeKnown
        ? {}
        : { hint: 'if the machine has several page sizes, say which it was with --page-size' }),
    });
  }

  private get isPageSizeKnown(): boolean {
    return this.options.pageSize !== undefined || this.march !== undefined;
  }

  private meetMachine(core: string): void {
    this.march ??= marchOf(this.kept.read(core), core);
    if (this.options.pageSize !== undefined || !VARIABLE_PAGE_SIZE.includes(this.march ?? 0)) return;
    throw new DumpError('UNSUPPORTED', 'expected a machine with one page size, found one with several', {
      file: this.options.name,
      hint: 'say which it was with --page-size',
    });
  }
}

/** Throws {@link DumpError} UNSUPPORTED for a link or a folder in the place of an image that is looked into. */
function checkIsFile(name: string, kind: 'link' | 'directory'): void {
  if (!isPagemapName(name) && !isPagesName(name) && !isKeptName(name)) return;
  throw new DumpError('UNSUPPORTED', `expected an image, found a ${KIND_NAMES[kind]}`, {
    file: name,
  });
}
