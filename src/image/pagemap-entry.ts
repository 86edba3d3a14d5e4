/**
 * One pagemap entry: the bytes of its message to the columns of a run. The quirks are those of pagemap.ts.
 */
import {
  blockSum,
  COUNT_IN_FIELD_2,
  type CompressedBlocks,
  HAS_FIELD_5,
  HAS_FLAGS,
  HAS_IN_PARENT,
  IN_PARENT_TRUE,
  MAX_BLOCK_BYTES,
  PE_MASK,
  PE_PARENT,
  PE_PRESENT,
  pageNumberLimit,
} from '../memory/runs.js';

const TWO_32 = 2 ** 32;

/** The one entry that was parsed last; reused, since a pagemap has millions of them. */
interface ParsedEntry {
  /** u64 as two halves: addresses go beyond 2^53. */
  vaddrLow: number;
  vaddrHigh: number;
  pages: number;
  /** PE_* and shape. */
  bits: number;
  /** Whether our encoding of the columns gives the same bytes. */
  canonical: boolean;
  compressed: CompressedBlocks | undefined;
}

/** Parses pagemap entries; throws {@link DumpError} through `fail`. */
export class EntryParser {
  readonly entry: ParsedEntry = {
    vaddrLow: 0,
    vaddrHigh: 0,
    pages: 0,
    bits: 0,
    canonical: true,
    compressed: undefined,
  };
  private bytes: Uint8Array = new Uint8Array(0);
  private at = 0;
  private end = 0;
  private low = 0;
  private high = 0;
  private minimal = true;

  constructor(private readonly pageSize: number) {}

  /** Parses one message in `bytes[start, end)`; returns a complaint, or undefined. */
  parse(bytes: Uint8Array, start: number, end: number): Complaint | undefined {
    this.bytes = bytes;
    this.at = start;
    this.end = end;
    this.minimal = true;
    const { entry } = this;
    let seen = 0;
    let field2 = 0;
    let field5 = 0;
    let inParent = 0;
    let flags = 0;
    let ascending = true;
    let last = 0;
    let blocks: number[] | undefined;
    let total = -1;
    let regionPages = 0;

    while (this.at < end) {
      if (!this.varint()) return malformed('a varint that ends');
      const tag = this.low;
      const field = tag >>> 3;
      const wire = tag & 7;
      if (this.high !== 0 || field === 0) return malformed('a field number');
      if (field <= last && field !== 6) ascending = false;
      last = field;
      if (field > 8) {
        return unsupported(`known fields only (1 to 8), found field ${field}, which may move the pages`);
      }
      if (field === 6 && wire === 2) {
        if (!this.varint() || this.high !== 0 || this.low > end - this.at)
          return malformed('a length inside the entry');
        const stop = this.at + this.low;
        blocks ??= [];
        while (this.at < stop) {
          if (!this.varint() || this.at > stop) return malformed('a varint that ends');
          blocks.push(this.number());
        }
        seen |= 1 << 6;
        continue;
      }
      if (wire !== 0) return malformed(`a varint in field ${field}, found wire type ${wire}`);
      if (!this.varint()) return malformed('a varint that ends');
      seen |= 1 << field;
      switch (field) {
        case 1:
          entry.vaddrLow = this.low;
          entry.vaddrHigh = this.high;
          break;
        case 2:
          field2 = this.low;
          if (this.high !== 0) this.minimal = false;
          break;
        case 3:
          inParent = this.low | this.high;
          if (this.number() > 1) this.minimal = false;
          break;
        case 4:
          flags = this.low;
          if (this.high !== 0) this.minimal = false;
          break;
        case 5:
          field5 = this.number();
          break;
        case 6:
          blocks ??= [];
          blocks.push(this.number());
          break;
        case 7:
          total = this.number();
          break;
        default:
          regionPages = this.number();
      }
    }

    if (!(seen & 2)) return malformed('field 1 (vaddr)');
    if (!(seen & 4)) return malformed('field 2 (nr_pages)');
    if (flags > PE_MASK) {
      return unsupported(
        `known flags only (PARENT 1, LAZY 2, PRESENT 4), found 0x${flags.toString(16)}${flags & 8 ? ', which has PE_PAYLOAD_ALIGNED 8' : ''}`,
      );
    }
    const pages = seen & 32 ? field5 : field2;
    if (pages < 1) return malformed('at least one page, found 0');
    const limit = pageNumberLimit(this.pageSize);
    if (pages > limit) return malformed(`at most ${limit} pages, found ${pages}`);
    if (entry.vaddrLow % this.pageSize !== 0) {
      return malformed(
        `an address aligned to ${this.pageSize} bytes, found 0x${hex64(entry.vaddrHigh, entry.vaddrLow)}`,
      );
    }

    entry.pages = pages;
    entry.bits =
      (inParent ? flags | PE_PARENT : seen & 16 ? flags : PE_PRESENT) |
      (field2 !== 0 ? COUNT_IN_FIELD_2 : 0) |
      (seen & 8 ? HAS_IN_PARENT : 0) |
      (inParent ? IN_PARENT_TRUE : 0) |
      (seen & 16 ? HAS_FLAGS : 0) |
      (seen & 32 ? HAS_FIELD_5 : 0);
    entry.canonical = this.minimal && ascending && (field2 === pages || field2 === 0) && !(inParent && seen & 16);
    entry.compressed = undefined;
    if (seen & (64 | 128 | 256)) return this.finishCompressed(blocks, total, seen & 256 ? regionPages : undefined);
    return undefined;
  }

  /** Fields 6 to 8: whether they agree with each other and with the count of pages. */
  private finishCompressed(
    blocks: number[] | undefined,
    total: number,
    region: number | undefined,
  ): Complaint | undefined {
    const { entry } = this;
    if (!(entry.bits & PE_PRESENT)) return malformed('compressed blocks only in an entry that is PRESENT');
    if (!blocks) return malformed('field 6 (compressed_size) beside fields 7 and 8');
    const regionPages = region || 1;
    const plain = regionPages * this.pageSize;
    if (plain > MAX_BLOCK_BYTES) return malformed(`blocks of at most ${MAX_BLOCK_BYTES} bytes, found ${plain}`);
    const expected = Math.ceil(entry.pages / regionPages);
    if (blocks.length !== expected) {
      return malformed(`${expected} compressed blocks for ${entry.pages} pages, found ${blocks.length}`);
    }
    const tooLong = blocks.find((bytes) => bytes > plain);
    if (tooLong !== undefined) return malformed(`blocks of at most ${plain} bytes, found ${tooLong}`);
    const compressed = {
      blockBytes: Uint32Array.from(blocks),
      regionPages,
      hasRegionPages: region !== undefined,
    };
    const sum = blockSum(compressed);
    if (total !== sum) {
      return malformed(`total_compressed_size ${sum}, the sum of the blocks, found ${total === -1 ? 'none' : total}`);
    }
    entry.compressed = compressed;
    // Packed or not, in whatever order: kept as it is, and written our way only when it is cut.
    entry.canonical = false;
    return undefined;
  }

  /** Reads a varint into low and high; false if it runs past the end or past 64 bits. */
  private varint(): boolean {
    const { bytes, end } = this;
    let at = this.at;
    let low = 0;
    let high = 0;
    for (let shift = 0; shift < 70; shift += 7) {
      if (at >= end) return false;
      const byte = bytes[at++] as number;
      const seven = byte & 0x7f;
      if (shift < 28) low |= seven << shift;
      else if (shift === 28) {
        low |= seven << 28;
        high = seven >>> 4;
      } else high |= seven << (shift - 32);
      if (byte < 0x80) {
        if (byte === 0 && shift > 0) this.minimal = false;
        this.at = at;
        this.low = low >>> 0;
        this.high = high >>> 0;
        return true;
      }
    }
    return false;
  }

  /** The last varint; exact up to 2^53, and beyond it still beyond it. */
  private number(): number {
    return this.high * TWO_32 + this.low;
  }
}

/** What was expected of an entry. */
export interface Complaint {
  code: 'MALFORMED' | 'UNSUPPORTED';
  expected: string;
}
const malformed = (expected: string): Complaint => ({ code: 'MALFORMED', expected });
const unsupported = (expected: string): Complaint => ({ code: 'UNSUPPORTED', expected });

const hex64 = (high: number, low: number): string => (BigInt(high) * BigInt(TWO_32) + BigInt(low)).toString(16);
