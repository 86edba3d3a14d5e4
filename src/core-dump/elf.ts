/**
 * The frame of an ELF core: everything but the notes and the memory.
 *
 *     core    := header program* section? note* padding page*
 *     program := PT_NOTE, then PT_LOAD*, ascending by address
 *     note    := name bytes:u32 data bytes:u32 type:u32 name[padded to 4] data[padded to 4]
 *
 * The section is there only for more than 65,534 program headers: their number is in its sh_info then. All sizes are known
 * from the number of segments and the bytes of the notes, so a core can be written to a pipe.
 *
 * Source: elf(5), core(5).
 */

/** How wide words are, and sizes of the parts in bytes. */
export interface ElfClass {
  word: 4 | 8;
  headerBytes: number;
  programBytes: number;
  sectionBytes: number;
}

export const ELF64: ElfClass = { word: 8, headerBytes: 64, programBytes: 56, sectionBytes: 64 };
export const ELF32: ElfClass = { word: 4, headerBytes: 52, programBytes: 32, sectionBytes: 40 };

/** PN_XNUM: this many program headers or more are counted elsewhere. */
export const MAX_HEADER_COUNT = 0xffff;

/** A range of addresses with the same access. */
export interface Segment {
  /** Address / page size. */
  pageNumber: number;
  pages: number;
  /** PROT_*. */
  prot: number;
  /** Whether the pages are in the file; otherwise a debugger reads zeros, or the mapped file. */
  isStored: boolean;
}

/** Where the parts of a core are, in bytes. */
export interface CoreLayout {
  elf: ElfClass;
  /** Of the machine: EM_*. */
  machine: number;
  pageSize: number;
  /** Program headers without that of the notes. */
  segments: number;
  noteBytes: number;
}

const ET_CORE = 4;
const EV_CURRENT = 1;
const ELFDATA2LSB = 1;
const PT_LOAD = 1;
const PT_NOTE = 4;
const TWO_32 = 2 ** 32;

const hasSection = ({ segments }: CoreLayout): boolean => segments + 1 >= MAX_HEADER_COUNT;

const sectionAt = (layout: CoreLayout): number =>
  layout.elf.headerBytes + (layout.segments + 1) * layout.elf.programBytes;

const notesAt = (layout: CoreLayout): number => sectionAt(layout) + (hasSection(layout) ? layout.elf.sectionBytes : 0);

/** Where the pages begin, in bytes: at a multiple of the page size. */
export function pagesAt(layout: CoreLayout): number {
  const end = notesAt(layout) + layout.noteBytes;
  return Math.ceil(end / layout.pageSize) * layout.pageSize;
}

/** Zeros between the notes and the pages. */
export const paddingBytes = (layout: CoreLayout): number => pagesAt(layout) - notesAt(layout) - layout.noteBytes;

/** The ELF header. */
export function elfHeader(layout: CoreLayout): Uint8Array {
  const { word, headerBytes, programBytes, sectionBytes } = layout.elf;
  const out = new Fields(headerBytes, word);
  out.bytes.set([0x7f, 0x45, 0x4c, 0x46, word === 8 ? 2 : 1, ELFDATA2LSB, EV_CURRENT]);
  out.at = 16;
  out.u16(ET_CORE).u16(layout.machine).u32(EV_CURRENT);
  // Entry point, program headers, section headers.
  out
    .word(0)
    .word(headerBytes)
    .word(hasSection(layout) ? sectionAt(layout) : 0);
  out.u32(0).u16(headerBytes);
  out.u16(programBytes).u16(Math.min(layout.segments + 1, MAX_HEADER_COUNT));
  if (hasSection(layout)) out.u16(sectionBytes).u16(1);
  return out.bytes;
}

/** The section header that counts the program headers; empty if the ELF header has the number. */
export function countSection(layout: CoreLayout): Uint8Array {
  if (!hasSection(layout)) return new Uint8Array(0);
  const { word, sectionBytes } = layout.elf;
  const out = new Fields(sectionBytes, word);
  // Name and type, flags, address, offset, size, link.
  out.u32(0).u32(0).word(0).word(0).word(0).word(0).u32(0);
  out.u32(layout.segments + 1);
  return out.bytes;
}

/** The program header of the notes. */
export function noteProgram(layout: CoreLayout): Uint8Array {
  const out = new Fields(layout.elf.programBytes, layout.elf.word);
  program(out, PT_NOTE, 0, notesAt(layout), layout.noteBytes, 0, 4, { lo: 0, hi: 0 });
  return out.bytes;
}

/** Program headers of memory, written one behind the other into pieces that are reused. */
export class SegmentWriter {
  private readonly out: Fields;
  private offset: number;
  private readonly address = { lo: 0, hi: 0 };

  /** @param most program headers in a piece */
  constructor(
    private readonly layout: CoreLayout,
    most: number,
  ) {
    this.out = new Fields(layout.elf.programBytes * most, layout.elf.word);
    this.offset = pagesAt(layout);
  }

  /** Adds a segment. Returns whether the piece is full. */
  add({ pageNumber, pages, prot, isStored }: Segment): boolean {
    const { pageSize } = this.layout;
    const perHalf = TWO_32 / pageSize;
    this.address.lo = (pageNumber % perHalf) * pageSize;
    this.address.hi = Math.floor(pageNumber / perHalf);
    const bytes = pages * pageSize;
    program(this.out, PT_LOAD, flagsOf(prot), this.offset, isStored ? bytes : 0, bytes, pageSize, this.address);
    if (isStored) this.offset += bytes;
    return this.out.at === this.out.bytes.length;
  }

  /** The piece, which is overwritten by what is added next. */
  take(): Uint8Array {
    const piece = this.out.bytes.subarray(0, this.out.at);
    this.out.at = 0;
    return piece;
  }
}

/** PROT_READ is 1 and PROT_EXEC is 4; of PF_* it is the reverse. */
const flagsOf = (prot: number): number => ((prot & 1) << 2) | (prot & 2) | ((prot & 4) >> 2);

function program(
  out: Fields,
  type: number,
  flags: number,
  offset: number,
  fileBytes: number,
  memoryBytes: number,
  align: number,
  address: { lo: number; hi: number },
): void {
  out.u32(type);
  if (out.wordBytes === 8) {
    out.u32(flags).word(offset).u32(address.lo).u32(address.hi).word(0).word(fileBytes).word(memoryBytes).word(align);
  } else {
    out.word(offset).u32(address.lo).word(0).word(fileBytes).word(memoryBytes).u32(flags).word(align);
  }
}

/** A note. Names are ASCII. */
export function note(name: 'CORE' | 'LINUX', type: number, data: Uint8Array): Uint8Array {
  const head = noteHead(name, type, data.length);
  const bytes = new Uint8Array(head.length + padded(data.length));
  bytes.set(head);
  bytes.set(data, head.length);
  return bytes;
}

/** The beginning of a note whose data follows, padded to {@link padded} bytes. */
export function noteHead(name: 'CORE' | 'LINUX', type: number, dataBytes: number): Uint8Array {
  const nameBytes = name.length + 1;
  const out = new Fields(12 + padded(nameBytes), 4);
  out.u32(nameBytes).u32(dataBytes).u32(type);
  out.bytes.set(Buffer.from(name), out.at);
  return out.bytes;
}

/** Bytes that a part of a note takes. */
export const padded = (bytes: number): number => Math.ceil(bytes / 4) * 4;

/** Numbers one behind the other, in little-endian order. */
export class Fields {
  readonly bytes: Uint8Array;
  /** Where the next number goes, in bytes. */
  at = 0;
  private readonly view: DataView;

  constructor(
    bytes: number,
    readonly wordBytes: 4 | 8,
  ) {
    this.bytes = new Uint8Array(bytes);
    this.view = new DataView(this.bytes.buffer);
  }

  u8(value: number): this {
    this.view.setUint8(this.at, value);
    this.at += 1;
    return this;
  }

  u16(value: number): this {
    this.view.setUint16(this.at, value, true);
    this.at += 2;
    return this;
  }

  u32(value: number): this {
    this.view.setUint32(this.at, value, true);
    this.at += 4;
    return this;
  }

  u64(value: bigint): this {
    this.view.setBigUint64(this.at, BigInt.asUintN(64, value), true);
    this.at += 8;
    return this;
  }

  /** A number of up to 53 bits. */
  word(value: number): this {
    this.u32(value % TWO_32);
    return this.wordBytes === 8 ? this.u32(Math.floor(value / TWO_32)) : this;
  }

  /** A register or a mask: of a narrow machine the lower half. */
  wide(value: bigint): this {
    return this.wordBytes === 8 ? this.u64(value) : this.u32(Number(BigInt.asUintN(32, value)));
  }
}
