/**
 * Areas of an address space (VMAs), what kind of memory each is, and which rule makes one lazy.
 *
 * The numbers of MAP_* differ between machines; those of VMA_AREA_* are CRIU's own (image.h).
 */
import { DumpError } from '../errors.js';

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

/** MAP_* flags that the rules ask for. */
export interface MapFlags {
  PRIVATE: number;
  ANONYMOUS: number;
  GROWSDOWN: number;
  LOCKED: number;
  HUGETLB: number;
}

/** `core_entry.march` of the machines whose MAP_* or page sizes differ. */
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

/** A kind of memory; `shmem` is what stands in a `pagemap-shmem` image. */
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

/** One area as it stands in an image. Addresses are bytes. */
export interface VmaEntry {
  start: bigint;
  end: bigint;
  flags: number;
  status: number;
}

/**
 * Areas in columns, in order. Guards are left out: they lie inside other areas, stand at the end of the list and own
 * no pages.
 * @throws {DumpError} of code MALFORMED or AREAS_OVERLAP
 */
export function areaTable(vmas: VmaEntry[], pageSize: number, file: string): AreaTable {
  const size = BigInt(pageSize);
  const areas = vmas
    .filter((vma) => (vma.status & VMA.GUARD) === 0)
    .sort((a, b) => (a.start < b.start ? -1 : a.start > b.start ? 1 : 0));
  const table = newAreaTable(areas.length);
  areas.forEach((vma, i) => {
    if (vma.start >= vma.end || vma.start % size !== 0n || vma.end % size !== 0n) {
      throw new DumpError(
        'MALFORMED',
        `expected an area of whole pages (${pageSize} bytes), found 0x${vma.start.toString(16)}-0x${vma.end.toString(16)}`,
        { file },
      );
    }
    const before = areas[i - 1];
    if (before && vma.start < before.end) {
      throw new DumpError(
        'AREAS_OVERLAP',
        `expected areas that do not overlap, found 0x${vma.start.toString(16)}-0x${vma.end.toString(16)} after 0x${before.start.toString(16)}-0x${before.end.toString(16)}`,
        { file },
      );
    }
    table.starts[i] = Number(vma.start / size);
    table.ends[i] = Number(vma.end / size);
    table.flags[i] = vma.flags;
    table.status[i] = vma.status;
  });
  return table;
}

export const newAreaTable = (length: number): AreaTable => ({
  starts: new Float64Array(length),
  ends: new Float64Array(length),
  flags: new Uint32Array(length),
  status: new Uint32Array(length),
});

/** Index of the first area that ends behind `pageNumber`; the number of areas if none does. */
export function firstAreaEndingAfter(areas: AreaTable, pageNumber: number): number {
  let low = 0;
  let high = areas.ends.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if ((areas.ends[middle] as number) > pageNumber) high = middle;
    else low = middle + 1;
  }
  return low;
}
