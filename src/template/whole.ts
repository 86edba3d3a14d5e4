/**
 * A dump with all its pages as records: those of parent dumps, and those that its areas map from the files of a template. The
 * areas that map such files are anonymous again. So the result depends on nothing else.
 */
import { type Dump, MAX_MM_BYTES } from '../dump/dump.js';
import { readAll } from '../dump/files.js';
import { mmName } from '../dump/names.js';
import { readPagemap } from '../dump/pagemap.js';
import type { DumpRecord, PayloadFile, Space } from '../dump/records.js';
import { DumpError } from '../errors.js';
import { decodeAreas } from '../image/mm.js';
import {
  addressHex,
  CONTINUES,
  COUNT_IN_FIELD_2,
  DETAIL,
  detailOf,
  HAS_FLAGS,
  HAS_IN_PARENT,
  IN_PARENT_TRUE,
  PAYLOAD_ALIGNED,
  PE_LAZY,
  PE_PARENT,
  PE_PRESENT,
  RunBuilder,
  type RunDetail,
  SHAPE_MASK,
  storedBytes,
} from '../memory/runs.js';
import type { AddressSpace, PageSpan } from '../memory/space.js';
import { dataRanges } from './data-ranges.js';
import { HeldImages } from './images.js';
import type { FileArea, MappedMemory } from './mapped-memory.js';

/**
 * The records of a dump with random access, all metadata first.
 * @param memory that its areas map, checked by the caller
 * @throws {DumpError} as {@link Dump.records} does, PARTIAL_DUMP for a page that is nowhere, and MALFORMED for a template with
 * pages of another size
 */
export function* wholeRecords(dump: Dump, memory: MappedMemory | undefined): Generator<DumpRecord> {
  memory?.checkPageSize(dump.pageSize);
  const images = new HeldImages();
  let passes = true;
  for (const record of dump.metadata()) {
    if (record.type === 'file') passes = record.name !== 'parent' && !record.name.startsWith('parent/');
    if (!passes || (memory && images.take(record))) continue;
    yield record.type === 'areas' && memory ? { ...record, areas: areasOf(record.space, dump, memory) } : record;
  }
  if (memory) yield* images.records((name, bytes) => memory.change(name, bytes));
  for (const space of dump.spaces) {
    const areas = space.kind === 'task' && memory ? memory.areasOf(mmOf(dump, space), mmName(space.pid)) : [];
    if (areas.length === 0 && !dump.hasParent) yield* dump.runsOf(space);
    else yield* new WholeSpace(dump, space, areas).records();
  }
  yield { type: 'end' };
}

const mmOf = (dump: Dump, { pid }: Space): Uint8Array => readAll(dump.files, mmName(pid), MAX_MM_BYTES);

const areasOf = (space: Space, dump: Dump, memory: MappedMemory) => {
  const name = mmName(space.pid);
  return decodeAreas(memory.change(name, mmOf(dump, space)), dump.pageSize, name);
};

/** A batch is given out when it has so many runs. */
const BATCH_RUNS = 2048;
/** Pages of parents that are compressed are decoded in pieces of so many bytes. */
const PIECE_BYTES = 1024 * 1024;
/** What entries are written as where the pagemap has none to go by. */
const DEFAULT_SHAPE = HAS_FLAGS | COUNT_IN_FIELD_2;

/** The runs of one space, with the pages that are elsewhere in their places. */
class WholeSpace {
  private readonly memory: AddressSpace;
  private readonly pageSize: number;
  private runs: RunBuilder;
  private payload: { file: PayloadFile; extents: number[] }[] = [];
  private shape = DEFAULT_SHAPE;
  /** The first page that has not been looked at, and the index of the area that ends behind it. */
  private next = 0;
  private areaAt = 0;
  /** Where the pages end that were added last, if they are in an area that maps a file. */
  private mappedEnd = Number.NaN;

  constructor(
    private readonly dump: Dump,
    private readonly space: Space,
    /** That map files, ascending. */
    private readonly areas: readonly FileArea[],
  ) {
    ({ pageSize: this.pageSize } = dump);
    this.memory = dump.addressSpace(space);
    this.runs = new RunBuilder(this.pageSize);
  }

  *records(): Generator<DumpRecord> {
    const { dump, space } = this;
    let isFirst = true;
    for (const { runs } of readPagemap(dump.files, space.pagemap, this.pageSize, dump.hasParent)) {
      for (let i = 0; i < runs.bits.length; i++) {
        const pageNumber = runs.pageNumbers[i] as number;
        const pages = runs.pages[i] as number;
        const bits = runs.bits[i] as number;
        if (isFirst) this.shape = bits & SHAPE_MASK & ~(HAS_IN_PARENT | IN_PARENT_TRUE);
        isFirst = false;
        yield* this.mappedBefore(pageNumber);
        if (bits & PE_PARENT) yield* this.inherited(pageNumber, pages, bits);
        else this.own(pageNumber, pages, bits, detailOf(runs, i));
        this.next = pageNumber + pages;
        if (this.runs.length >= BATCH_RUNS) yield* this.flush();
      }
    }
    yield* this.mappedBefore(Number.POSITIVE_INFINITY);
    yield* this.flush();
  }

  /** A run of this dump. In areas that become anonymous, plain pages can be fetched lazily again. */
  private own(pageNumber: number, pages: number, bits: number, detail: RunDetail | undefined): void {
    const [found] = this.memory.locate(pageNumber, pages);
    if (!found?.at || found.at.compressed) {
      this.runs.push(pageNumber, pages, bits, detail);
      if (found?.at) this.addPayload(found.at.file, found.at.position, storedBytes(detail, pages, this.pageSize));
      return;
    }
    const { file, position } = found.at;
    for (const part of this.cut(pageNumber, pages)) {
      const isFirst = part.pageNumber === pageNumber;
      const lazy = part.isLazy && bits & HAS_FLAGS ? PE_LAZY : 0;
      const pieceBits = isFirst ? bits : (bits & ~PAYLOAD_ALIGNED) | CONTINUES;
      // Only an entry that is written as it was has its bytes.
      this.runs.push(
        part.pageNumber,
        part.pages,
        pieceBits | lazy,
        isFirst && part.pages === pages ? detail : undefined,
      );
      this.addPayload(file, position + (part.pageNumber - pageNumber) * this.pageSize, part.pages * this.pageSize);
    }
  }

  /** A run whose pages are in a parent dump. */
  private *inherited(pageNumber: number, pages: number, bits: number): Generator<DumpRecord> {
    const clean = bits & ~(PE_PARENT | PAYLOAD_ALIGNED | DETAIL | HAS_IN_PARENT | IN_PARENT_TRUE);
    for (const span of this.memory.locate(pageNumber, pages)) {
      const isFirst = span.pageNumber === pageNumber;
      const present = (isFirst ? clean : clean | CONTINUES) | PE_PRESENT;
      if (!span.at) throw this.nowhere(span);
      if (!span.at.compressed) {
        this.runs.push(span.pageNumber, span.pages, present);
        this.addPayload(span.at.file, span.at.position, span.pages * this.pageSize);
        continue;
      }
      for (const piece of this.memory.read(span.pageNumber, span.pages, PIECE_BYTES)) {
        yield* this.flush();
        this.runs.push(piece.pageNumber, piece.pages, piece.pageNumber === pageNumber ? present : present | CONTINUES);
        yield* this.flush();
        if (piece.bytes) yield { type: 'bytes', bytes: piece.bytes };
      }
    }
  }

  /** Pages before another one that only the mapped files have. */
  private *mappedBefore(pageNumber: number): Generator<DumpRecord> {
    for (let area = this.nextArea(this.next); area && area.start < pageNumber; area = this.nextArea(this.next)) {
      const from = Math.max(this.next, area.start);
      const to = Math.min(pageNumber, area.end);
      const bits = this.shape | PE_PRESENT | (area.isLazy && this.shape & HAS_FLAGS ? PE_LAZY : 0);
      const position = area.offset + (from - area.start) * this.pageSize;
      const { file } = area;
      for (const { start, end } of dataRanges(
        file.descriptor,
        file.path,
        position,
        position + (to - from) * this.pageSize,
        this.pageSize,
      )) {
        const pages = (end - start) / this.pageSize;
        this.push(from + (start - position) / this.pageSize, pages, bits, undefined, true);
        this.addPayload(file.payload, start, end - start);
        if (this.runs.length >= BATCH_RUNS) yield* this.flush();
      }
      this.next = to;
      if (to === pageNumber) return;
    }
  }

  /** The first area that ends behind a page. */
  private nextArea(pageNumber: number): FileArea | undefined {
    while ((this.areas[this.areaAt]?.end ?? Number.POSITIVE_INFINITY) <= pageNumber) this.areaAt++;
    return this.areas[this.areaAt];
  }

  /** Cuts pages at the borders of areas. */
  private *cut(
    pageNumber: number,
    pages: number,
  ): Generator<{ pageNumber: number; pages: number; isLazy: boolean; isMapped: boolean }> {
    const end = pageNumber + pages;
    for (let page = pageNumber; page < end; ) {
      const area = this.nextArea(page);
      const isInside = area !== undefined && area.start <= page;
      const stop = Math.min(end, (isInside ? area.end : area?.start) ?? end);
      yield { pageNumber: page, pages: stop - page, isLazy: isInside && area.isLazy, isMapped: isInside };
      page = stop;
    }
  }

  /** Adds a run. In an area that maps a file it is part of the same entry as the pages before it. */
  private push(
    pageNumber: number,
    pages: number,
    bits: number,
    detail: RunDetail | undefined,
    isMapped: boolean,
  ): void {
    const isNext = isMapped && pageNumber === this.mappedEnd && pageNumber !== this.nextArea(pageNumber)?.start;
    this.runs.pushOrExtend(pageNumber, pages, isNext ? bits | CONTINUES : bits, detail);
    this.mappedEnd = isMapped ? pageNumber + pages : Number.NaN;
  }

  private addPayload(file: PayloadFile, position: number, bytes: number): void {
    const last = this.payload.at(-1);
    if (last?.file !== file) this.payload.push({ file, extents: [position, bytes] });
    else last.extents.push(position, bytes);
  }

  private *flush(): Generator<DumpRecord> {
    if (this.runs.length === 0) return;
    yield { type: 'runs', space: this.space, runs: this.runs.finish(), checked: false };
    for (const { file, extents } of this.payload) yield { type: 'extents', file, extents: Float64Array.from(extents) };
    this.runs = new RunBuilder(this.pageSize);
    this.payload = [];
  }

  private nowhere({ pageNumber }: PageSpan): DumpError {
    const what = `the page at 0x${addressHex(pageNumber, this.pageSize)} is in none of the parent dumps`;
    return new DumpError('PARTIAL_DUMP', what, { file: this.space.pagemap });
  }
}
