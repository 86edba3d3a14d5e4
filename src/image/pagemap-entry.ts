/**
 * One pagemap entry: the bytes of its message to the columns of a run. The quirks are those of pagemap.ts.
 */
import {
  COUNT_IN_FIELD_2,
  type CompressedBlocks,
  HAS_FIELD_5,
  HAS_FLAGS,
  HAS_IN_PARENT,
  IN_PARENT_TRUE,
  PAYLOAD_ALIGNED,
  PE_MASK,
  PE_PARENT,
  PE_PRESENT,
  pageNumberLimit,
} from '../memory/runs.js';
import { WIRE_BYTES, WIRE_VARINT, WireError, WireReader } from '../protobuf/wire.js';
import { decimal, type Word } from './number-fields.js';
import { type Complaint, malformed, noVarint, readBlocks, unreleased, unsupported } from './pagemap-blocks.js';

const TWO_28 = 2 ** 28;
const TWO_32 = 2 ** 32;

/** Numbers of the fields of a pagemap_entry. */
const VADDR = 1;
const OLD_PAGES = 2;
const IN_PARENT = 3;
const FLAGS = 4;
const PAGES = 5;
const BLOCKS = 6;

/** PE_PAYLOAD_ALIGNED as field 4 has it. */
export const ALIGNED_FLAG = 8;
const KNOWN_FLAGS = PE_MASK | ALIGNED_FLAG;

/** Fields 7 and 8 were those of the layout before 4.3, total_compressed_size and region_pages. */
const LAST_UNRELEASED = 8;

/** Tag of field 5 as a varint, the last of an entry without compression. */
const LAST_PLAIN_TAG = (PAGES << 3) | WIRE_VARINT;

/** Which fields an entry has, a bit each. */
const SEEN_VADDR = 1 << VADDR;
const SEEN_OLD_PAGES = 1 << OLD_PAGES;
const SEEN_IN_PARENT = 1 << IN_PARENT;
const SEEN_FLAGS = 1 << FLAGS;
const SEEN_PAGES = 1 << PAGES;
const SEEN_BLOCKS = 1 << BLOCKS;

/** The one entry that was parsed last; reused, since a pagemap has millions of them. */
interface ParsedEntry {
  /** Address / page size. */
  pageNumber: number;
  pages: number;
  /** PE_* and shape. */
  bits: number;
  /** Whether our encoding of the columns gives the same bytes. */
  canonical: boolean;
  compressed: CompressedBlocks | undefined;
}

export class EntryParser {
  readonly entry: ParsedEntry = {
    pageNumber: 0,
    pages: 0,
    bits: 0,
    canonical: true,
    compressed: undefined,
  };
  private readonly reader = new WireReader();
  private readonly limit: number;

  // The fields of the entry, as they were read.
  private seen = 0;
  /** The address: its low 28 bits and the rest, since it may go beyond 2^53. */
  private vaddrLow = 0;
  private vaddrHigh = 0;
  private oldPages = 0;
  private inParent = false;
  private flags = 0;
  private pages = 0;
  /** Field 5 exactly, where it may go beyond 2^53. */
  private readonly exactPages: Word = { lo: 0, hi: 0 };
  /** Where field 6 is in the bytes. */
  private blocksStart = 0;
  private blocksEnd = 0;
  /** Whether the fields ascend, and their values are written as we write them. */
  private canonical = true;

  /** @param pageSize bytes */
  constructor(private readonly pageSize: number) {
    this.limit = pageNumberLimit(pageSize);
  }

  /** Parses one message in `bytes[start, end)`; returns a complaint, or undefined. */
  parse(bytes: Uint8Array, start: number, end: number): Complaint | undefined {
    if (this.readPlainFields(bytes, start, end)) return this.finish();
    this.reader.over(bytes, start, end);
    this.inParent = false;
    try {
      return this.readFields() ?? this.finish() ?? (this.seen & SEEN_BLOCKS ? this.readBlocks(bytes) : undefined);
    } catch (error) {
      if (error instanceof WireError) return { code: 'MALFORMED', message: error.message };
      throw error;
    }
  }

  /**
   * Reads an entry as nearly all are: fields 1 to 5, ascending, in the shortest varints. Reading a dump with millions of
   * runs spends its time here, so the varints are read in place. False for any other entry, which
   * {@link EntryParser.readFields} reads or refuses.
   */
  private readPlainFields(bytes: Uint8Array, start: number, end: number): boolean {
    let at = start;
    let last = 0;
    let seen = 0;
    let oldPages = 0;
    let inParent = 0;
    let flags = 0;
    let pages = 0;
    while (at < end) {
      const tag = bytes[at++] as number;
      if (tag <= last || tag > LAST_PLAIN_TAG || (tag & 7) !== WIRE_VARINT) return false;
      last = tag;
      const number = tag >>> 3;
      seen |= 1 << number;
      // 28 bits each, so that V8 keeps them as small integers.
      let lo = 0;
      let hi = 0;
      let shift = 0;
      let byte = 128;
      for (; byte > 127; shift += 7) {
        if (at >= end || shift === 56) return false;
        byte = bytes[at++] as number;
        if (shift < 28) lo |= (byte & 127) << shift;
        else hi |= (byte & 127) << (shift - 28);
      }
      if (byte === 0 && shift > 7) return false;
      if (number === VADDR) {
        this.vaddrLow = lo;
        this.vaddrHigh = hi;
      } else if (hi !== 0) return false;
      else if (number === OLD_PAGES) oldPages = lo;
      else if (number === IN_PARENT) inParent = lo;
      else if (number === FLAGS) flags = lo;
      else pages = lo;
    }
    if (inParent > 1) return false;
    this.seen = seen;
    this.oldPages = oldPages;
    this.inParent = inParent === 1;
    this.flags = flags;
    this.pages = pages;
    this.canonical = true;
    return true;
  }

  private readFields(): Complaint | undefined {
    const { reader } = this;
    let last = 0;
    let seen = 0;
    let canonical = true;
    let oldPages = 0;
    let pages = 0;
    let flags = 0;
    while (reader.nextTag()) {
      const { number } = reader;
      if (!reader.minimal || number <= last) canonical = false;
      last = number;
      if (number > BLOCKS) return unknownField(number);
      if (number === BLOCKS) {
        const complaint = this.findBlocks(seen);
        if (complaint) return complaint;
        seen |= SEEN_BLOCKS;
        continue;
      }
      seen |= 1 << number;
      if (reader.wireType !== WIRE_VARINT) throw noVarint(reader);
      reader.varint();
      const { lo, hi } = reader;
      if (!reader.minimal) canonical = false;
      if (number === VADDR) {
        this.vaddrLow = lo % TWO_28;
        this.vaddrHigh = hi * 16 + (lo >>> 28);
      } else if (number === OLD_PAGES) {
        oldPages = lo;
        if (hi !== 0) canonical = false;
      } else if (number === FLAGS) {
        flags = lo;
        if (hi !== 0) canonical = false;
      } else if (number === PAGES) {
        pages = hi * TWO_32 + lo;
        this.exactPages.lo = lo;
        this.exactPages.hi = hi;
      } else {
        this.inParent = lo !== 0 || hi !== 0;
        if (lo > 1 || hi !== 0) canonical = false;
      }
    }
    this.seen = seen;
    this.oldPages = oldPages;
    this.pages = pages;
    this.flags = flags;
    this.canonical = canonical;
    return undefined;
  }

  /** Notes where field 6 is; it is read when the number of pages is known. */
  private findBlocks(seen: number): Complaint | undefined {
    const { reader } = this;
    if (reader.wireType === WIRE_VARINT) return unreleased('a compressed_size');
    if (reader.wireType !== WIRE_BYTES) return malformed(`a message in field 6, found wire type ${reader.wireType}`);
    if (seen & SEEN_BLOCKS) return malformed('field 6 (blocks) once');
    this.blocksEnd = reader.length();
    this.blocksStart = reader.at;
    reader.at = this.blocksEnd;
    return undefined;
  }

  /** Checks what was read, and puts it into the entry. */
  private finish(): Complaint | undefined {
    const { entry, seen, vaddrLow, vaddrHigh, inParent, flags, oldPages, pageSize, limit } = this;
    if (!(seen & SEEN_VADDR)) return malformed('field 1 (vaddr)');
    if (!(seen & SEEN_OLD_PAGES)) return malformed('field 2 (nr_pages)');
    if (flags > KNOWN_FLAGS) {
      return unsupported(
        `known flags only (PARENT 1, LAZY 2, PRESENT 4, PAYLOAD_ALIGNED 8), found 0x${flags.toString(16)}`,
      );
    }
    const pages = seen & SEEN_PAGES ? this.pages : oldPages;
    if (pages < 1) return malformed('at least one page, found 0');
    if (pages > limit) return malformed(`at most ${limit} pages, found ${decimal(this.exactPages)}`);
    if (vaddrLow % pageSize !== 0) {
      const address = BigInt(vaddrHigh) * BigInt(TWO_28) + BigInt(vaddrLow);
      return malformed(`an address aligned to ${pageSize} bytes, found 0x${address.toString(16)}`);
    }
    entry.pageNumber = vaddrHigh * (TWO_28 / pageSize) + vaddrLow / pageSize;
    entry.pages = pages;
    const state = flags & PE_MASK;
    entry.bits =
      (inParent ? state | PE_PARENT : seen & SEEN_FLAGS ? state : PE_PRESENT) |
      (flags & ALIGNED_FLAG ? PAYLOAD_ALIGNED : 0) |
      (oldPages !== 0 ? COUNT_IN_FIELD_2 : 0) |
      (seen & SEEN_IN_PARENT ? HAS_IN_PARENT : 0) |
      (inParent ? IN_PARENT_TRUE : 0) |
      (seen & SEEN_FLAGS ? HAS_FLAGS : 0) |
      (seen & SEEN_PAGES ? HAS_FIELD_5 : 0);
    entry.canonical = this.canonical && (oldPages === pages || oldPages === 0) && !(inParent && seen & SEEN_FLAGS);
    entry.compressed = undefined;
    if (flags & ALIGNED_FLAG && !(state & PE_PRESENT))
      return malformed('PAYLOAD_ALIGNED only in an entry that is PRESENT');
    return undefined;
  }

  private readBlocks(bytes: Uint8Array): Complaint | undefined {
    const { entry } = this;
    if (!(entry.bits & PE_PRESENT)) return malformed('compressed blocks only in an entry that is PRESENT');
    const blocks = readBlocks(bytes, this.blocksStart, this.blocksEnd, entry.pages, this.pageSize);
    if ('code' in blocks) return blocks;
    entry.compressed = blocks;
    // Kept as it was read, packed or not and in any order; our own form is written only when the run is cut.
    entry.canonical = false;
    return undefined;
  }
}

/** A field beyond those of CRIU 4.3. */
const unknownField = (number: number): Complaint =>
  number <= LAST_UNRELEASED
    ? unreleased(`field ${number}`)
    : unsupported(`known fields only (1 to 6), found field ${number}, which may move the pages`);
