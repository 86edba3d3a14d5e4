/**
 * Areas of an address space (VMAs), what kind of memory each is, and which rule makes one lazy.
 *
 * The numbers of MAP_* differ between machines; those of VMA_AREA_* are CRIU's own (image.h).
 */
import { concatColumns, lowerBound, widen } from '../columns.js';

/** VMA_AREA_* bits of `vma_entry.status`. */
export const VMA = {
  STACK: 1 << 1,
  VSYSCALL: 1 << 2,
  VDSO: 1 << 3,
  HEAP: 1 << 5,
  FILE_PRIVATE: 1 << 6,
  FILE_SHARED: 1 << 7,
  ANON_SHARED: 1 << 8,
  ANON_PRIVATE: 1 << 9,
  SYSVIPC: 1 << 10,
  SOCKET: 1 << 11,
  VVAR: 1 << 12,
  AIORING: 1 << 13,
  MEMFD: 1 << 14,
  SHADOW_STACK: 1 << 15,
  GUARD: 1 << 16,
  UPROBES: 1 << 17,
  EXTERNAL: 1 << 27,
} as const;

/** MAP_* flags that the rules use. */
export interface MapFlags {
  PRIVATE: number;
  ANONYMOUS: number;
  GROWSDOWN: number;
  LOCKED: number;
  HUGETLB: number;
}

/** `core_entry.mtype` of the machines whose MAP_* or page sizes differ. */
export const MARCH = { X86_64: 1, ARM: 2, AARCH64: 3, PPC64: 4, S390: 5, MIPS: 6, LOONGARCH64: 7, RISCV64: 8 } as const;

const GENERIC: MapFlags = { PRIVATE: 0x2, ANONYMOUS: 0x20, GROWSDOWN: 0x100, LOCKED: 0x2000, HUGETLB: 0x40000 };

/** MAP_* as the dumped machine has them. Source: Linux, arch/{powerpc,mips}/include/uapi/asm/mman.h. */
export function mapFlagsOf(march: number | undefined): MapFlags {
  if (march === MARCH.PPC64) return { ...GENERIC, LOCKED: 0x80 };
  if (march === MARCH.MIPS)
    return { ...GENERIC, ANONYMOUS: 0x800, GROWSDOWN: 0x1000, LOCKED: 0x8000, HUGETLB: 0x80000 };
  return GENERIC;
}

/** Areas as columns, ascending, without overlap and without guards. `ends` are exclusive. */
export interface AreaTable {
  /** Page numbers. */
  readonly starts: Float64Array;
  readonly ends: Float64Array;
  /** MAP_*, in the numbers of the dumped machine. */
  readonly flags: Uint32Array;
  /** VMA_AREA_*. */
  readonly status: Uint32Array;
}

/** Kinds of memory, most particular first; a run's kind is an index into this. */
export const KINDS = [
  'unknown',
  'anon',
  'heap',
  'stack',
  'locked',
  'hugetlb',
  'file-private',
  'file-shared',
  'anon-shared',
  'memfd',
  'sysvipc',
  'vdso',
  'vvar',
  'vsyscall',
  'aio-ring',
  'socket',
  'shadow-stack',
  'uprobes',
  'external',
  'shmem',
  'other',
] as const;

/** A kind of memory; `shmem` is that of `pagemap-shmem` images. */
export type Kind = (typeof KINDS)[number];

export const kindIndex = (kind: Kind): number => KINDS.indexOf(kind);

const KIND_BY_STATUS: [bit: number, kind: Kind][] = [
  [VMA.VSYSCALL, 'vsyscall'],
  [VMA.VDSO, 'vdso'],
  [VMA.VVAR, 'vvar'],
  [VMA.AIORING, 'aio-ring'],
  [VMA.SYSVIPC, 'sysvipc'],
  [VMA.SOCKET, 'socket'],
  [VMA.MEMFD, 'memfd'],
  [VMA.SHADOW_STACK, 'shadow-stack'],
  [VMA.UPROBES, 'uprobes'],
  [VMA.EXTERNAL, 'external'],
  [VMA.FILE_PRIVATE, 'file-private'],
  [VMA.FILE_SHARED, 'file-shared'],
  [VMA.ANON_SHARED, 'anon-shared'],
];

/** What kind of memory an area is. */
export function kindOf(flags: number, status: number, map: MapFlags): Kind {
  for (const [bit, kind] of KIND_BY_STATUS) if (status & bit) return kind;
  if (flags & map.HUGETLB) return 'hugetlb';
  if (flags & map.LOCKED) return 'locked';
  if (status & VMA.STACK || flags & map.GROWSDOWN) return 'stack';
  if (status & VMA.HEAP) return 'heap';
  if (status & VMA.ANON_PRIVATE || flags & map.ANONYMOUS) return 'anon';
  return 'other';
}

/** The same, or a guard: it lies inside another area, and has no memory. */
export const kindOfArea = (flags: number, status: number, map: MapFlags): Kind | 'guard' =>
  status & VMA.GUARD ? 'guard' : kindOf(flags, status, map);

/** Whether an area has a file behind it; its `shmid` is then a file id. */
export const hasFile = (status: number): boolean => (status & (VMA.FILE_PRIVATE | VMA.FILE_SHARED)) !== 0;

/** Whether an area's pages may be restored lazily, by some rule. */
export type LazyRule = (flags: number, status: number, map: MapFlags) => boolean;

const isPrivateAnonymous = (flags: number, map: MapFlags): boolean =>
  (flags & (map.PRIVATE | map.ANONYMOUS)) === (map.PRIVATE | map.ANONYMOUS);

/** The rule of CRIU 3 and later (vma_entry_can_be_lazy): restore registers userfaultfd on these areas alone. */
export const lazyByVma: LazyRule = (flags, status, map) =>
  isPrivateAnonymous(flags, map) &&
  (flags & (map.LOCKED | map.HUGETLB)) === 0 &&
  (status & (VMA.VDSO | VMA.VVAR | VMA.VSYSCALL)) === 0;

/** The rule of 2016. A newer CRIU restores locked, hugetlb and vvar areas that it picks as zeros. */
export const lazyBySeed: LazyRule = (flags, status, map) =>
  isPrivateAnonymous(flags, map) && (status & (VMA.VDSO | VMA.VSYSCALL)) === 0;

/** Collects areas into columns. */
export class AreaTableBuilder {
  private starts = new Float64Array(64);
  private ends = new Float64Array(64);
  private flags = new Uint32Array(64);
  private status = new Uint32Array(64);
  private length = 0;
  private ascending = true;

  /**
   * Adds an area; `start` and `end` are page numbers. Guards are left out: they are inside other areas, come at
   * the end of the list and own no pages.
   */
  push(start: number, end: number, flags: number, status: number): void {
    if (status & VMA.GUARD) return;
    const i = this.length++;
    if (i === this.starts.length) this.grow();
    this.starts[i] = start;
    this.ends[i] = end;
    this.flags[i] = flags;
    this.status[i] = status;
    if (i > 0 && (this.ends[i - 1] as number) > start) this.ascending = false;
  }

  /**
   * The areas in order.
   * @param overlap makes the error for two areas that overlap: first and second start and end, in page numbers
   */
  finish(overlap: (...pageNumbers: [number, number, number, number]) => Error): AreaTable {
    const { length } = this;
    const table: AreaTable = {
      starts: this.starts.subarray(0, length),
      ends: this.ends.subarray(0, length),
      flags: this.flags.subarray(0, length),
      status: this.status.subarray(0, length),
    };
    if (this.ascending) return table;
    const order = Array.from(table.starts.keys()).sort(
      (a, b) => (table.starts[a] as number) - (table.starts[b] as number),
    );
    const sorted: AreaTable = {
      starts: table.starts.map((_, i) => table.starts[order[i] as number] as number),
      ends: table.ends.map((_, i) => table.ends[order[i] as number] as number),
      flags: table.flags.map((_, i) => table.flags[order[i] as number] as number),
      status: table.status.map((_, i) => table.status[order[i] as number] as number),
    };
    for (let i = 1; i < length; i++) {
      const end = sorted.ends[i - 1] as number;
      const start = sorted.starts[i] as number;
      if (start < end) throw overlap(sorted.starts[i - 1] as number, end, start, sorted.ends[i] as number);
    }
    return sorted;
  }

  private grow(): void {
    this.starts = widen(this.starts);
    this.ends = widen(this.ends);
    this.flags = widen(this.flags);
    this.status = widen(this.status);
  }
}

/** Index of the first area that ends after `pageNumber`; the number of areas if none does. */
export const firstAreaEndingAfter = ({ ends }: AreaTable, pageNumber: number): number =>
  lowerBound(ends.length, (i) => (ends[i] as number) <= pageNumber);

/** Areas of one space that came in two parts. */
export const concatAreas = (first: AreaTable, second: AreaTable): AreaTable => ({
  starts: concatColumns(first.starts, second.starts),
  ends: concatColumns(first.ends, second.ends),
  flags: concatColumns(first.flags, second.flags),
  status: concatColumns(first.status, second.status),
});
