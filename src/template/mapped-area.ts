/**
 * One area of a task that is mapped from a file: where its pages go. It gets a file of its own, or its pages are where they are
 * in the pages file, or it shares the file of a relative that has the same pages. Then only what differs stays in the dump.
 */
import { closeSync, readSync } from 'node:fs';
import { readFully } from '../bytes.js';
import { invariant, onFile } from '../errors.js';
import { openRegular } from '../io/open-files.js';
import { dataRanges } from './data-ranges.js';
import type { MappedOutput } from './memory-folder.js';

/** So many pages at the beginning decide whether an area shares the file of a relative. */
const SAMPLE_PAGES = 16;

/** The file of an area, and where the area begins in it, in bytes. */
export interface AreaFile {
  /** Index in the manifest. */
  file: number;
  offset: number;
  /** Where it can be read when it is complete. */
  path: string;
}

export class MappedArea {
  /** Set when its first page comes. */
  at: AreaFile | undefined;
  /** Of a file of its own, while it is written. */
  output: MappedOutput | undefined;
  /** Of a file that is shared, while pages are compared. */
  shared: SharedPages | undefined;
  isShared = false;
  /** Pages that a restore maps. */
  mappedPages = 0;

  /** `start` and `end` are page numbers. */
  constructor(
    readonly pid: number,
    readonly start: number,
    readonly end: number,
    /** The same area of a relative. */
    readonly relative: MappedArea | undefined,
  ) {}
}

/** Pages that are compared with those of a relative. */
export class SharedPages {
  /** Of a page that has not come as a whole. */
  private readonly partial: Buffer;
  private partialBytes = 0;
  private readonly other: Buffer;
  /** The next page that has not been compared. */
  next: number;

  /** @param pageSize bytes */
  constructor(
    private readonly fd: number,
    private readonly area: MappedArea,
    private readonly file: AreaFile,
    private readonly pageSize: number,
  ) {
    this.partial = Buffer.alloc(pageSize);
    this.other = Buffer.alloc(64 * pageSize);
    this.next = area.start;
  }

  /** Whether at least half of some pages are the same. */
  resembles(pageNumber: number, pages: Uint8Array): boolean {
    const { pageSize } = this;
    const other = this.read(pageNumber, pages.length);
    let same = 0;
    for (let at = 0; at < pages.length; at += pageSize) {
      if (other.subarray(at, at + pageSize).equals(pages.subarray(at, at + pageSize))) same++;
    }
    return 2 * same * pageSize >= pages.length;
  }

  /**
   * Compares the bytes of consecutive pages, which may come in parts of pages.
   * @yields those that differ, with their first page
   */
  *push(pageNumber: number, bytes: Uint8Array): Generator<{ pageNumber: number; bytes: Uint8Array }> {
    const { pageSize } = this;
    let at = 0;
    if (this.partialBytes > 0) {
      at = Math.min(pageSize - this.partialBytes, bytes.length);
      this.partial.set(bytes.subarray(0, at), this.partialBytes);
      this.partialBytes += at;
      if (this.partialBytes < pageSize) return;
      this.partialBytes = 0;
      yield* this.compare(this.next, this.partial);
    } else {
      this.next = pageNumber;
    }
    const whole = bytes.length - ((bytes.length - at) % pageSize);
    for (; at < whole; ) {
      const piece = bytes.subarray(at, Math.min(whole, at + this.other.length));
      yield* this.compare(this.next, piece);
      at += piece.length;
    }
    this.partial.set(bytes.subarray(whole));
    this.partialBytes = bytes.length - whole;
  }

  /** Pages from `next` on, before `end`, that the relative has and this area has not: they are zeros here. */
  *missing(end: number): Generator<{ pageNumber: number; pages: number }> {
    invariant(this.partialBytes === 0, 'pages are whole');
    const from = this.positionOf(this.next);
    for (const { start, end: stop } of dataRanges(this.fd, this.file.path, from, this.positionOf(end), this.pageSize)) {
      yield { pageNumber: this.next + (start - from) / this.pageSize, pages: (stop - start) / this.pageSize };
    }
    this.next = end;
  }

  close(): void {
    closeSync(this.fd);
  }

  /** Pages of the relative, valid until the next call. */
  private read(pageNumber: number, bytes: number): Buffer {
    const { fd, file } = this;
    const other = this.other.subarray(0, bytes);
    const readSome = (part: Uint8Array, at: number) => onFile(file.path, () => readSync(fd, part, 0, part.length, at));
    other.fill(0, readFully(readSome, other, this.positionOf(pageNumber)));
    return other;
  }

  private positionOf(pageNumber: number): number {
    return this.file.offset + (pageNumber - this.area.start) * this.pageSize;
  }

  private *compare(pageNumber: number, pages: Uint8Array): Generator<{ pageNumber: number; bytes: Uint8Array }> {
    const { pageSize } = this;
    const other = this.read(pageNumber, pages.length);
    this.next = pageNumber + pages.length / pageSize;
    let from = 0;
    for (let at = 0; at <= pages.length; at += pageSize) {
      const isSame = at === pages.length || other.subarray(at, at + pageSize).equals(pages.subarray(at, at + pageSize));
      if (!isSame) continue;
      if (at > from) yield { pageNumber: pageNumber + from / pageSize, bytes: pages.subarray(from, at) };
      if (at < pages.length) this.area.mappedPages++;
      from = at + pageSize;
    }
  }
}

/** How many bytes of the first run of an area decide whether it shares a file. */
export const sampleBytes = (pages: number, pageSize: number): number => Math.min(pages, SAMPLE_PAGES) * pageSize;

/** Opens the file of a relative to compare with it. */
export const openShared = ({ path }: AreaFile): number => openRegular(path, path);
