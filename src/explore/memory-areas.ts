/** The areas of one process as columns, ascending and without guards: what is looked at together with its pages. */
import { lowerBound } from '../columns.js';
import { type Images, readMm } from '../dump/images.js';
import { mmName } from '../dump/names.js';
import { DumpError } from '../errors.js';
import { malformed } from '../image/framing.js';
import { eachArea, pageNumber } from '../image/mm.js';
import { approximate, type Word } from '../image/number-fields.js';
import { addressHex } from '../memory/runs.js';
import { hasFile, KINDS, type Kind, kindIndex, kindOf, type MapFlags, VMA } from '../memory/vma.js';

/** A million areas take 50 MB. */
export class MemoryAreas {
  constructor(
    readonly length: number,
    /** Page numbers; `ends` are exclusive. */
    readonly starts: Float64Array,
    readonly ends: Float64Array,
    /** PROT_*. */
    readonly prots: Uint32Array,
    /** MAP_*, in the numbers of the dumped machine. */
    readonly flags: Uint32Array,
    /** VMA_AREA_*. */
    readonly status: Uint32Array,
    /** Indices into {@link KINDS}. */
    readonly kinds: Uint8Array,
    /** `vma_entry.shmid`: the id of a file, or of a segment of shared memory. */
    readonly ids: Float64Array,
    /** Where the area begins in its file or segment, in pages. */
    readonly pageOffsets: Float64Array,
  ) {}

  kind(index: number): Kind {
    return KINDS[this.kinds[index] as number] as Kind;
  }

  /** Whether a file is mapped that is no shared memory. */
  isOfFile(index: number): boolean {
    const status = this.status[index] as number;
    return hasFile(status) && !(status & VMA.MEMFD);
  }

  /** Index of the area that a page is in, or -1. */
  at(page: number): number {
    const index = this.firstEndingAfter(page);
    return index < this.length && (this.starts[index] as number) <= page ? index : -1;
  }

  /** Index of the first area that ends after a page; the number of areas if none does. */
  firstEndingAfter(page: number): number {
    return lowerBound(this.length, (i) => (this.ends[i] as number) <= page);
  }

  /** The same areas in order: nearly always they are. Throws {@link DumpError} AREAS_OVERLAP. */
  ascending(file: string, pageSize: number): MemoryAreas {
    const { starts, ends, length } = this;
    const isInOrder = starts.every((start, i) => i === 0 || start >= (ends[i - 1] as number));
    const order = isInOrder ? undefined : Uint32Array.from(starts.keys()).sort((a, b) => at(starts, a) - at(starts, b));
    const sorted = order ? this.inOrder(order) : this;
    for (let i = 0; i < length; i++) {
      const [start, end] = [at(sorted.starts, i), at(sorted.ends, i)];
      const before = i === 0 ? 0 : at(sorted.ends, i - 1);
      if (start >= before && start < end) continue;
      const place = (page: number) => `0x${addressHex(page, pageSize)}`;
      throw new DumpError(
        'AREAS_OVERLAP',
        `expected an area of at least a page from ${place(before)} on, found ${place(start)}-${place(end)}`,
        { file },
      );
    }
    return sorted;
  }

  private inOrder(order: Uint32Array): MemoryAreas {
    const numbers = (column: Float64Array) => column.map((_, i) => at(column, at(order, i)));
    const words = (column: Uint32Array) => column.map((_, i) => at(column, at(order, i)));
    return new MemoryAreas(
      this.length,
      numbers(this.starts),
      numbers(this.ends),
      words(this.prots),
      words(this.flags),
      words(this.status),
      this.kinds.map((_, i) => this.kinds[at(order, i)] as number),
      numbers(this.ids),
      numbers(this.pageOffsets),
    );
  }
}

/**
 * The areas of a process.
 * @param pageSize bytes
 * @throws {DumpError} MISSING_IMAGE, MALFORMED, AREAS_OVERLAP
 */
export function readMemoryAreas(images: Images, pid: number, pageSize: number, map: MapFlags): MemoryAreas {
  const file = mmName(pid);
  let areas = emptyAreas(0);
  readMm(images, pid, (message) => {
    let count = 0;
    try {
      eachArea(message, ({ status }) => {
        if (!(status.lo & VMA.GUARD)) count++;
      });
      areas = emptyAreas(count);
      let i = 0;
      eachArea(message, ({ start, end, prot, flags, status, shmid, pgoff }) => {
        if (status.lo & VMA.GUARD) return;
        areas.starts[i] = pageNumber(start, pageSize);
        areas.ends[i] = pageNumber(end, pageSize);
        areas.prots[i] = prot.lo;
        areas.flags[i] = flags.lo;
        areas.status[i] = status.lo;
        areas.kinds[i] = kindIndex(kindOf(flags.lo, status.lo, map));
        areas.ids[i] = approximate(shmid);
        areas.pageOffsets[i] = wholePages(pgoff, pageSize);
        i++;
      });
    } catch (cause) {
      throw malformed('mm_entry', cause, file, 0);
    }
  });
  return areas.ascending(file, pageSize);
}

function emptyAreas(length: number): MemoryAreas {
  const numbers = () => new Float64Array(length);
  const words = () => new Uint32Array(length);
  const kinds = new Uint8Array(length);
  return new MemoryAreas(length, numbers(), numbers(), words(), words(), words(), kinds, numbers(), numbers());
}

const at = (column: Float64Array | Uint32Array, index: number): number => column[index] as number;

/** `pgoff` is in bytes. */
const wholePages = ({ lo, hi }: Word, pageSize: number): number =>
  hi * (2 ** 32 / pageSize) + Math.floor(lo / pageSize);
