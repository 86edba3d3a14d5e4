/** Checks that a restore can map the areas of a process: their order, kinds and values. */
import type { Area } from '../image/mm.js';
import { hex, isBelow, type Word } from '../image/number-fields.js';
import { hasFile, MARCH, mapFlagsOf, VMA } from '../memory/vma.js';
import type { CheckedDump } from './checked-dump.js';
import type { FindingCode } from './findings.js';

/** `vma_entry.status`: the area was in /proc/PID/smaps. */
const REGULAR = 1;

/** The origin of an area. A restore accepts exactly one. */
const ORIGINS = VMA.FILE_PRIVATE | VMA.FILE_SHARED | VMA.ANON_SHARED | VMA.ANON_PRIVATE | VMA.SOCKET | VMA.AIORING;
const ORIGIN_NAMES = 'a private or shared file, private or shared anonymous memory, a socket, or a ring of AIO';

/** Areas that the kernel or a plugin makes are not mapped in the usual way. */
const MADE_OTHERWISE = VMA.VSYSCALL | VMA.VDSO | VMA.VVAR | VMA.AIORING | VMA.UPROBES | VMA.EXTERNAL;

const MAP_SHARED = 1;
const MAP_PRIVATE = 2;
const MAP_TYPE = 0xf;
const SHARED_TYPES = [MAP_SHARED, 3];

/** PROT_READ, WRITE, EXEC and SEM; 0x10 and 0x20 are those of some machines; GROWSDOWN and GROWSUP. */
const PROT_BITS = 0x03_00_00_3f;
const X86_HUGE_PAGE_BYTES = 2 ** 21;
/** Addresses have at most so many bits, with five levels of page tables. */
const X86_ADDRESS_HIGH = 2 ** (56 - 32);
const PAGE_MASK = 0xfff;

/** Checks the areas of one mm image, in their order there. */
export class AreaChecks {
  private readonly anonymous: number;
  private readonly last: Word = { lo: 0, hi: 0 };

  constructor(
    private readonly dump: CheckedDump,
    private readonly file: string,
    private readonly march: number | undefined,
  ) {
    this.anonymous = mapFlagsOf(march).ANONYMOUS;
  }

  check(area: Area): void {
    const status = area.status.lo;
    // Guards are inside other areas and come last.
    if (status & VMA.GUARD) return;
    this.order(area);
    this.place(area, status);
    this.values(area);
    if (!(status & VMA.EXTERNAL)) this.kind(area, status);
  }

  private order(area: Area): void {
    if (isBelow(area.start, this.last)) {
      this.bad(area, `expected areas that ascend, found it after 0x${hex(this.last)}`, 'AREAS_ORDER');
    }
    this.last.lo = area.start.lo;
    this.last.hi = area.start.hi;
  }

  private place(area: Area, status: number): void {
    const { end, flags, pgoff } = area;
    const isX86 = this.march === MARCH.X86_64;
    if (isX86 && !(status & VMA.VSYSCALL) && end.hi >= X86_ADDRESS_HIGH) this.bad(area, 'it is not in user space');
    if (hasFile(status) && pgoff.lo & PAGE_MASK) {
      this.bad(area, `expected a place in its file that is aligned to pages, found 0x${hex(pgoff)}`);
    }
    const isHuge = (flags.lo & mapFlagsOf(this.march).HUGETLB) !== 0;
    const unaligned = (area.start.lo | end.lo) & (X86_HUGE_PAGE_BYTES - 1);
    if (isX86 && isHuge && unaligned) this.bad(area, 'it has huge pages, but is not aligned to them');
  }

  private values(area: Area): void {
    const { prot, madv } = area;
    if (prot.lo & ~PROT_BITS) this.bad(area, `expected known bits of prot, found 0x${hex(prot)}`);
    if (madv.hi !== 0) this.bad(area, `expected known bits of madv, found 0x${hex(madv)}`);
  }

  private kind(area: Area, status: number): void {
    const origins = status & ORIGINS;
    const isOne = origins !== 0 && (origins & (origins - 1)) === 0;
    if (!isOne || !(status & (REGULAR | MADE_OTHERWISE))) {
      this.bad(area, `expected the status of ${ORIGIN_NAMES}, found 0x${status.toString(16)}`);
      return;
    }
    if (status & MADE_OTHERWISE) return;
    const flags = area.flags.lo;
    const type = flags & MAP_TYPE;
    const isPrivate = (status & (VMA.FILE_PRIVATE | VMA.ANON_PRIVATE)) !== 0;
    const isRightType = isPrivate ? type === MAP_PRIVATE : SHARED_TYPES.includes(type);
    if (!isRightType && !(status & VMA.SOCKET)) {
      this.bad(area, `its status says ${isPrivate ? 'private' : 'shared'}, its flags 0x${flags.toString(16)} do not`);
    }
    if (status & VMA.ANON_PRIVATE && !(flags & this.anonymous)) {
      this.bad(area, `its status says anonymous, its flags 0x${flags.toString(16)} do not`);
    }
  }

  private bad({ start, end }: Area, message: string, code: FindingCode = 'BAD_AREA'): void {
    this.dump.error(code, this.file, `area 0x${hex(start)}-0x${hex(end)}: ${message}`, { entry: 0 });
  }
}
