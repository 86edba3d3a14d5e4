/**
 * What an ELF file says about its use of memory: the functions that it takes from other files and gives to them, its sections,
 * and whether its code makes certain system calls on its own.
 *
 * Source: elf(5).
 */
import { closeSync, fstatSync, readSync } from 'node:fs';
import { readFully } from '../bytes.js';
import { onFile } from '../errors.js';
import { openRegular } from '../io/open-files.js';

/** Limits on what is read, in bytes. */
const MAX_TABLE_BYTES = 64 * 1024 * 1024;
const MAX_SECTIONS = 4096;

const PT_LOAD = 1;
const PF_X = 1;
/** Code is searched in pieces of so many bytes, which overlap. */
const CODE_PIECE_BYTES = 1024 * 1024;
const SHT_DYNSYM = 11;
const SHT_STRTAB = 3;

export interface ElfFile {
  /** Bytes of the file. */
  size: number;
  /** Whether it takes functions from other files at all: a static program does not. */
  isDynamic: boolean;
  /** Of the functions that were asked for: those that it takes from other files, and those that it gives to others. */
  imports: string[];
  exports: string[];
  sections: string[];
  /** Of the build, in hex; undefined if it has none. */
  buildId: string | undefined;
  /** Whether its code has one of the byte sequences that were asked for. */
  hasCode: boolean;
}

/** Offsets of fields, and sizes of entries. */
interface Layout {
  word: 4 | 8;
  phoff: number;
  shoff: number;
  phentsize: number;
  shentsize: number;
  section: { name: number; type: number; offset: number; size: number; link: number; bytes: number };
  symbol: { size: number; shndx: number };
  program: { flags: number; size: number; bytes: number };
}

const LAYOUT_64: Layout = {
  word: 8,
  phoff: 32,
  shoff: 40,
  phentsize: 54,
  shentsize: 58,
  section: { name: 0, type: 4, offset: 24, size: 32, link: 40, bytes: 64 },
  symbol: { size: 24, shndx: 6 },
  program: { flags: 4, size: 32, bytes: 56 },
};

const LAYOUT_32: Layout = {
  word: 4,
  phoff: 28,
  shoff: 32,
  phentsize: 42,
  shentsize: 46,
  section: { name: 0, type: 4, offset: 16, size: 20, link: 24, bytes: 40 },
  symbol: { size: 16, shndx: 14 },
  program: { flags: 24, size: 16, bytes: 32 },
};

const HEADER_BYTES = 64;
const NOTE_HEADER_BYTES = 12;
const BUILD_ID_SECTION = '.note.gnu.build-id';

/**
 * @param wanted names of functions
 * @param code sequences of bytes to look for
 * @returns undefined for what is no ELF file of a little-endian machine, or is damaged
 * @throws {DumpError} SYSTEM if it cannot be read
 */
export function readElf(path: string, wanted: readonly string[], code: readonly Buffer[] = []): ElfFile | undefined {
  const fd = openRegular(path, path);
  try {
    const { size } = onFile(path, () => fstatSync(fd));
    const read = (position: number, bytes: number): Buffer | undefined => {
      if (position < 0 || bytes < 0 || bytes > MAX_TABLE_BYTES || position + bytes > size) return undefined;
      const buffer = Buffer.alloc(bytes);
      const count = readFully(
        (part, at) => onFile(path, () => readSync(fd, part, 0, part.length, at)),
        buffer,
        position,
      );
      return count === bytes ? buffer : undefined;
    };
    return new ElfReader(read, wanted, code).file(size);
  } finally {
    closeSync(fd);
  }
}

class ElfReader {
  private layout: Layout = LAYOUT_64;

  constructor(
    private readonly read: (position: number, bytes: number) => Buffer | undefined,
    private readonly wanted: readonly string[],
    private readonly code: readonly Buffer[],
  ) {}

  file(size: number): ElfFile | undefined {
    const header = this.read(0, HEADER_BYTES);
    if (header?.readUInt32BE(0) !== 0x7f454c46 || header[5] !== 1) return undefined;
    this.layout = header[4] === 1 ? LAYOUT_32 : LAYOUT_64;
    const { phoff, shoff, phentsize, shentsize, program, section } = this.layout;
    const programs = this.table(this.number(header, phoff), header, phentsize, program.bytes);
    const sections = this.table(this.number(header, shoff), header, shentsize, section.bytes);
    if (!programs || !sections || sections.length === 0) return undefined;
    const names = this.contentOf(sections[header.readUInt16LE(shentsize + 4)]);
    const symbols = sections.find((section) => this.typeOf(section) === SHT_DYNSYM);
    const found = symbols && this.symbols(symbols, sections);
    const hasCode = this.hasCode(programs, size);
    if (!names || (symbols && !found) || hasCode === undefined) return undefined;
    const sectionNames = sections.map((section) => textAt(names, section.readUInt32LE(this.layout.section.name)));
    return {
      size,
      isDynamic: symbols !== undefined,
      imports: found?.imports ?? [],
      exports: found?.exports ?? [],
      sections: sectionNames,
      buildId: this.buildId(sections[sectionNames.indexOf(BUILD_ID_SECTION)]),
      hasCode,
    };
  }

  /** The entries of a table; their size and number are next to each other in the header. */
  private table(position: number, header: Buffer, sizeAt: number, leastBytes: number): Buffer[] | undefined {
    const entryBytes = header.readUInt16LE(sizeAt);
    const count = header.readUInt16LE(sizeAt + 2);
    if (count === 0) return [];
    if (entryBytes < leastBytes || count > MAX_SECTIONS) return undefined;
    const bytes = this.read(position, entryBytes * count);
    if (!bytes) return undefined;
    return Array.from({ length: count }, (_, i) => bytes.subarray(i * entryBytes, (i + 1) * entryBytes));
  }

  /** Undefined for code that the file does not have, or has several times: `fileBytes` is its size. */
  private hasCode(programs: readonly Buffer[], fileBytes: number): boolean | undefined {
    const { word, program: at } = this.layout;
    const overlap = Math.max(0, ...this.code.map(({ length }) => length)) - 1;
    if (overlap < 0) return false;
    let codeBytes = 0;
    for (const program of programs) {
      if (program.readUInt32LE(0) !== PT_LOAD || (program.readUInt32LE(at.flags) & PF_X) === 0) continue;
      const start = this.number(program, word);
      const end = start + this.number(program, at.size);
      codeBytes += end - start;
      if (codeBytes > fileBytes) return undefined;
      for (let from = start; from < end; from += CODE_PIECE_BYTES) {
        const piece = this.read(from, Math.min(CODE_PIECE_BYTES + overlap, end - from));
        if (!piece) return undefined;
        if (this.code.some((sequence) => piece.includes(sequence))) return true;
      }
    }
    return false;
  }

  /** A note: the sizes of its name and of what follows, its type, the name. */
  private buildId(section: Buffer | undefined): string | undefined {
    const note = section && this.contentOf(section);
    if (!note || note.length < NOTE_HEADER_BYTES) return undefined;
    const start = NOTE_HEADER_BYTES + Math.ceil(note.readUInt32LE(0) / 4) * 4;
    return note.subarray(start, start + note.readUInt32LE(4)).toString('hex');
  }

  private symbols(symbols: Buffer, sections: readonly Buffer[]): Pick<ElfFile, 'imports' | 'exports'> | undefined {
    const { section, symbol } = this.layout;
    const strings = sections[symbols.readUInt32LE(section.link)];
    const names = strings && this.typeOf(strings) === SHT_STRTAB ? this.contentOf(strings) : undefined;
    const table = this.contentOf(symbols);
    if (!names || !table) return undefined;
    const wanted = new Set(this.wanted);
    const imports = new Set<string>();
    const exports = new Set<string>();
    for (let at = 0; at + symbol.size <= table.length; at += symbol.size) {
      const name = textAt(names, table.readUInt32LE(at));
      if (wanted.has(name)) (table.readUInt16LE(at + symbol.shndx) === 0 ? imports : exports).add(name);
    }
    return { imports: [...imports], exports: [...exports] };
  }

  private typeOf(section: Buffer): number {
    return section.readUInt32LE(this.layout.section.type);
  }

  private contentOf(section: Buffer | undefined): Buffer | undefined {
    if (!section) return undefined;
    const { offset, size } = this.layout.section;
    return this.read(this.number(section, offset), this.number(section, size));
  }

  private number(bytes: Buffer, at: number): number {
    return this.layout.word === 8 ? Number(bytes.readBigUInt64LE(at)) : bytes.readUInt32LE(at);
  }
}

const MAX_NAME_BYTES = 256;

function textAt(names: Buffer, at: number): string {
  const end = names.indexOf(0, at);
  return at >= names.length
    ? ''
    : names.toString('latin1', at, Math.min(end < 0 ? names.length : end, at + MAX_NAME_BYTES));
}
