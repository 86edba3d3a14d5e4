/**
 * Where the payload of runs goes: what lies in no mapped area passes, the rest is cut at the borders of areas, and goes into
 * their files or is compared with the pages of a relative.
 */
import type { ExtentReader } from '../dump/extents.js';
import { payloadLength } from '../dump/payload-cutter.js';
import type { DumpRecord, ExtentsRecord, PayloadRecord, Space } from '../dump/records.js';
import { invariant } from '../errors.js';
import {
  CLASS_EAGER,
  CLASS_MASK,
  CONTINUES,
  DETAIL,
  KIND_MASK,
  KIND_SHIFT,
  PAYLOAD_ALIGNED,
  PE_LAZY,
  type RunBatch,
  RunBuilder,
  type RunDetail,
} from '../memory/runs.js';
import { kindIndex } from '../memory/vma.js';
import { type MappedArea, sampleBytes } from './mapped-area.js';
import { PlainPages } from './plain-pages.js';

/** Consecutive payload that is treated alike. */
export interface Item {
  /** Bytes of payload that have not come yet. */
  readonly bytesLeft: number;
  begin(): Generator<DumpRecord>;
  /** @param payload at most as much as is left */
  take(payload: PayloadRecord): Generator<DumpRecord>;
  /** Called when all payload has come. */
  end(): void;
}

/** What decides where areas go. */
export interface Placing {
  /** Bytes. */
  readonly pageSize: number;
  readonly extents: ExtentReader;
  place(space: Space, area: MappedArea): void;
  placeAlone(area: MappedArea): void;
  placeWithRelative(area: MappedArea, sample: Uint8Array, pageNumber: number): void;
  beginSharing(area: MappedArea): Generator<DumpRecord>;
  endSharing(): Generator<DumpRecord>;
  zerosBefore(space: Space, area: MappedArea, pageNumber: number): Generator<DumpRecord>;
}

/** Runs that stay in the dump as they are. */
export class PassedRuns implements Item {
  bytesLeft: number;

  constructor(
    private readonly placing: Placing,
    private readonly space: Space,
    private readonly runs: RunBatch,
  ) {
    this.bytesLeft = runs.payloadBytes;
  }

  *begin(): Generator<DumpRecord> {
    yield* this.placing.endSharing();
    yield { type: 'runs', space: this.space, runs: this.runs, checked: false };
  }

  *take(payload: PayloadRecord): Generator<DumpRecord> {
    this.bytesLeft -= payloadLength(payload);
    yield payload;
  }

  end(): void {}
}

export interface StoredRun {
  pageNumber: number;
  pages: number;
  bits: number;
  detail: RunDetail | undefined;
}

/** Bits of a piece of an entry whose pages are plain. */
const plainBits = (bits: number, isFirst: boolean): number =>
  (bits & ~(DETAIL | PAYLOAD_ALIGNED | (isFirst ? 0 : CONTINUES))) | (isFirst ? 0 : CONTINUES);

/** Bits of pages that stay in a mapped area: nothing fetches them lazily. */
const changedBits = (bits: number): number =>
  (bits & ~(DETAIL | PAYLOAD_ALIGNED | PE_LAZY | CLASS_MASK | KIND_MASK)) |
  CONTINUES |
  CLASS_EAGER |
  (kindIndex('file-private') << KIND_SHIFT);

/** A run of which at least some pages are in mapped areas. */
export class RoutedRun implements Item {
  private readonly plain: PlainPages;
  private readonly isCompressed: boolean;
  /** The page that comes next, and bytes of it that came. */
  private page: number;
  private pageBytes = 0;
  /** Index of the area that ends behind `page`. */
  private areaAt = 0;
  /** What the current part goes into, and bytes left of it; 0 before it begins. */
  private area: MappedArea | undefined;
  private partBytes = 0;
  /** The first pages of an area that may be those of a relative, until there are enough of them. */
  private sample: Uint8Array[] | undefined;
  private sampleLeft = 0;
  private samplePage = 0;

  constructor(
    private readonly placing: Placing,
    private readonly space: Space,
    private readonly run: StoredRun,
    /** That the run touches, ascending. */
    private readonly areas: readonly MappedArea[],
    public bytesLeft: number,
  ) {
    this.isCompressed = run.detail?.compressed !== undefined;
    this.plain = new PlainPages(run.detail, run.pages, placing.pageSize, space.pagemap);
    this.page = run.pageNumber;
  }

  *begin(): Generator<DumpRecord> {
    // Blocks of zeros at the beginning have no payload.
    for (const bytes of this.plain.push(new Uint8Array(0))) yield* this.plainBytes(bytes);
  }

  *take(payload: PayloadRecord): Generator<DumpRecord> {
    this.bytesLeft -= payloadLength(payload);
    if (payload.type === 'extents' && !this.isCompressed) yield* this.byReference(payload);
    else {
      const pieces = payload.type === 'bytes' ? [payload.bytes] : this.placing.extents.read(payload);
      for (const piece of pieces) for (const bytes of this.plain.push(piece)) yield* this.plainBytes(bytes);
    }
  }

  end(): void {
    invariant(this.page === this.run.pageNumber + this.run.pages && !this.sample, 'a run has all its pages');
  }

  private *plainBytes(bytes: Uint8Array): Generator<DumpRecord> {
    for (let at = 0; at < bytes.length; ) {
      if (this.partBytes === 0) yield* this.beginPart();
      const part = bytes.subarray(at, at + this.partBytes);
      at += part.length;
      yield* this.deliver(part);
      this.took(part.length);
    }
  }

  /** Plain pages in a file: where they are copied or kept, they are not read here. */
  private *byReference({ file, extents }: ExtentsRecord): Generator<DumpRecord> {
    for (let i = 0; i < extents.length; i += 2) {
      let position = extents[i] as number;
      for (let left = extents[i + 1] as number; left > 0; ) {
        if (this.partBytes === 0) yield* this.beginPart();
        const count = Math.min(left, this.sample ? this.sampleLeft : this.partBytes);
        const part: ExtentsRecord = { type: 'extents', file, extents: Float64Array.of(position, count) };
        position += count;
        left -= count;
        yield* this.deliverPart(part, count);
      }
    }
  }

  private *deliverPart(part: ExtentsRecord, bytes: number): Generator<DumpRecord> {
    const { area } = this;
    const { extents, pageSize } = this.placing;
    if (this.sample || area?.shared) {
      for (const piece of extents.read(part)) {
        yield* this.deliver(piece);
        this.took(piece.length);
      }
      return;
    }
    if (!area) yield part;
    else {
      const { output } = area;
      if (output) for (const piece of extents.readOrCopy(part, output.copyFrom)) output.write(piece);
      area.mappedPages += bytes / pageSize;
    }
    this.took(bytes);
  }

  /** Goes on to the next part: the pages up to the next border of an area. */
  private *beginPart(): Generator<DumpRecord> {
    const { placing, space, run, page } = this;
    while ((this.areas[this.areaAt]?.end ?? Number.POSITIVE_INFINITY) <= page) this.areaAt++;
    const next = this.areas[this.areaAt];
    const area = next && next.start <= page ? next : undefined;
    const runEnd = run.pageNumber + run.pages;
    const end = Math.min(runEnd, area?.end ?? next?.start ?? runEnd);
    this.area = area;
    this.partBytes = (end - page) * placing.pageSize;
    if (!area) {
      yield* placing.endSharing();
      const bits = plainBits(run.bits, page === run.pageNumber);
      yield* plainRun(space, page, end - page, bits, placing.pageSize);
      return;
    }
    if (!area.at) placing.place(space, area);
    if (!area.at) {
      this.sample = [];
      this.sampleLeft = sampleBytes(end - page, placing.pageSize);
      this.samplePage = page;
    } else {
      yield* this.enterArea(area, page);
    }
  }

  /** Goes on with an area whose file is known. */
  private *enterArea(area: MappedArea, page: number): Generator<DumpRecord> {
    yield* this.placing.beginSharing(area);
    if (area.shared) yield* this.placing.zerosBefore(this.space, area, page);
    area.output?.skipTo((page - area.start) * this.placing.pageSize);
  }

  /** Bytes of the current part. */
  private *deliver(bytes: Uint8Array): Generator<DumpRecord> {
    const { area, sample } = this;
    if (!area) yield { type: 'bytes', bytes };
    else if (sample) {
      const wanted = bytes.subarray(0, this.sampleLeft);
      sample.push(wanted.slice());
      this.sampleLeft -= wanted.length;
      if (this.sampleLeft > 0) return;
      this.sample = undefined;
      const first = Buffer.concat(sample);
      this.placing.placeWithRelative(area, first, this.samplePage);
      yield* this.enterArea(area, this.samplePage);
      yield* this.store(area, this.samplePage, first);
      const rest = bytes.subarray(wanted.length);
      if (rest.length > 0) yield* this.store(area, this.samplePage + first.length / this.placing.pageSize, rest);
    } else {
      yield* this.store(area, this.page, bytes);
    }
  }

  private *store(area: MappedArea, pageNumber: number, bytes: Uint8Array): Generator<DumpRecord> {
    const { pageSize } = this.placing;
    if (!area.shared) {
      area.output?.write(bytes);
      area.mappedPages += bytes.length / pageSize;
      return;
    }
    for (const differing of area.shared.push(pageNumber, bytes)) {
      const pages = differing.bytes.length / pageSize;
      yield* plainRun(this.space, differing.pageNumber, pages, changedBits(this.run.bits), pageSize);
      yield { type: 'bytes', bytes: differing.bytes };
    }
  }

  private took(bytes: number): void {
    const { pageSize } = this.placing;
    this.partBytes -= bytes;
    const total = this.pageBytes + bytes;
    const pages = Math.floor(total / pageSize);
    this.page += pages;
    this.pageBytes = total - pages * pageSize;
  }
}

function* plainRun(
  space: Space,
  pageNumber: number,
  pages: number,
  bits: number,
  pageSize: number,
): Generator<DumpRecord> {
  const runs = new RunBuilder(pageSize, 1);
  runs.push(pageNumber, pages, bits);
  yield { type: 'runs', space, runs: runs.finish(), checked: false };
}

/** Zeros are made in pieces of so many bytes. */
const ZEROS = new Uint8Array(256 * 1024);

/** Pages of zeros that stay in a mapped area. @param bits of a run near them, for the generation of its entry */
export function* zeroPages(
  space: Space,
  pageNumber: number,
  pages: number,
  bits: number,
  pageSize: number,
): Generator<DumpRecord> {
  yield* plainRun(space, pageNumber, pages, changedBits(bits), pageSize);
  for (let left = pages * pageSize; left > 0; left -= ZEROS.length) {
    yield { type: 'bytes', bytes: ZEROS.subarray(0, Math.min(left, ZEROS.length)) };
  }
}
