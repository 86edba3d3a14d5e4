/**
 * Pagemap images, both ways, as batches of runs.
 *
 * pagemap := COMMON magic, PAGEMAP magic, size:u32le head, (size:u32le entry)*
 * entry   := field 1 vaddr, field 2 nr_pages (old) or 0, field 3 in_parent, field 4 flags, field 5 nr_pages (4.2 on),
 *            field 6 compressed_size*, field 7 total_compressed_size, field 8 region_pages (development of 2026)
 *
 * Reading rule over all generations: in_parent set means PARENT; else absent flags mean PRESENT; absent field 5 means
 * field 2. Fields or flags beyond these may move the pages, so they are refused.
 *
 * An entry is parsed by hand and not by protobufjs: pagemaps have millions of entries, unknown fields must be seen, and
 * what our encoder would write differently must be kept as it was. A property test holds it against protobufjs.
 */
import { concatBytes, plainBytes } from '../bytes.js';
import { DumpError } from '../errors.js';
import {
  addressHex,
  blockSum,
  COUNT_IN_FIELD_2,
  type CompressedBlocks,
  DETAIL,
  HAS_FIELD_5,
  HAS_FLAGS,
  HAS_IN_PARENT,
  IN_PARENT_TRUE,
  PE_MASK,
  pageNumberLimit,
  type RunBatch,
  RunBuilder,
  type RunDetail,
  SHAPE_MASK,
  sameBlocks,
} from '../memory/runs.js';
import { readMessage } from './entries.js';
import { checkEntrySize, checkMagic, truncated } from './framing.js';
import { headerBytes, IMG_COMMON_MAGIC, MAGIC } from './magic.js';
import { EntryParser } from './pagemap-entry.js';

/** Entries are some 20 bytes; a compressed one has up to 3 bytes a block. It must fit a frame of the page stream. */
export const MAX_PAGEMAP_ENTRY_BYTES = 256 * 1024;

/** The head is one number. */
const MAX_HEAD_BYTES = 1024;

const TWO_32 = 2 ** 32;

/** Decodes a pagemap from chunks of any size; holds no more than one entry between them. */
export class PagemapDecoder {
  /** The message of the head as it was read, once it has been. */
  head: Uint8Array | undefined;
  /** Names the pages file, once the head has been read. */
  pagesId = -1;
  /** Entries so far, without the head. */
  entries = 0;

  private rest: Uint8Array | undefined;
  private offset = 0;
  private started = false;
  private nextPage = 0;
  private readonly parser: EntryParser;

  /**
   * @param pageSize bytes
   * @param file for errors
   */
  constructor(
    private readonly pageSize: number,
    private readonly file: string,
  ) {
    this.parser = new EntryParser(pageSize);
  }

  /** Decodes the entries that end in this chunk; undefined if none does. Throws {@link DumpError}. */
  push(chunk: Uint8Array): RunBatch | undefined {
    const bytes = this.rest ? concatBytes([this.rest, chunk]) : plainBytes(chunk);
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    const base = this.offset;
    let at = 0;
    if (!this.started) {
      const magic = headerBytes('PAGEMAP');
      if (bytes.length < magic) return this.keep(bytes, 0);
      checkMagic(bytes, 'PAGEMAP', this.file);
      this.started = true;
      at = magic;
    }
    const runs = new RunBuilder(this.pageSize, Math.max(16, bytes.length >> 4));
    while (bytes.length - at >= 4) {
      const size = view.getUint32(at, true);
      checkEntrySize(size, MAX_PAGEMAP_ENTRY_BYTES, this.file, base + at, this.head && this.entries);
      if (bytes.length - at - 4 < size) break;
      if (this.head) this.decodeEntry(bytes, at + 4, at + 4 + size, base, runs);
      else this.decodeHead(bytes.slice(at + 4, at + 4 + size), base + at + 4);
      at += 4 + size;
    }
    this.keep(bytes, at);
    return runs.length > 0 ? runs.finish() : undefined;
  }

  /** Decodes only the head, from the first bytes of the image. */
  pushHead(start: Uint8Array): void {
    const size = headerBytes('PAGEMAP');
    if (start.length >= size + 4) {
      checkMagic(start, 'PAGEMAP', this.file);
      const head = new DataView(start.buffer, start.byteOffset).getUint32(size, true);
      checkEntrySize(head, MAX_HEAD_BYTES, this.file, size);
      this.push(start.subarray(0, size + 4 + head));
    } else {
      this.push(start);
    }
  }

  /** Throws unless the image ended behind an entry and had a head. */
  end(): void {
    if (!this.started) checkMagic(this.rest ?? new Uint8Array(0), 'PAGEMAP', this.file);
    if (this.rest) {
      const { rest } = this;
      const expected = rest.length < 4 ? 4 : new DataView(rest.buffer, rest.byteOffset).getUint32(0, true) + 4;
      throw truncated(this.file, this.offset, this.head && this.entries, expected, rest.length);
    }
    if (!this.head) {
      throw new DumpError('TRUNCATED', 'expected a pagemap_head, found the end of the file', {
        file: this.file,
        offset: this.offset,
      });
    }
  }

  /** Keeps what is left of a chunk for the next one. */
  private keep(bytes: Uint8Array, from: number): undefined {
    this.offset += from;
    this.rest = from < bytes.length ? bytes.slice(from) : undefined;
  }

  private decodeHead(message: Uint8Array, offset: number): void {
    const head = readMessage('pagemap_head', message, { file: this.file, offset });
    this.head = message;
    this.pagesId = head.pages_id;
  }

  private decodeEntry(bytes: Uint8Array, start: number, end: number, base: number, runs: RunBuilder): void {
    const complaint = this.parser.parse(bytes, start, end);
    const { entry } = this.parser;
    if (complaint) throw this.complain(complaint.code, complaint.expected, base + start);
    // Exact: the product is below 2^52, and the address is aligned.
    const pageNumber = entry.vaddrHigh * (TWO_32 / this.pageSize) + entry.vaddrLow / this.pageSize;
    if (pageNumber < this.nextPage) {
      throw this.complain(
        'ORDER',
        `an address of at least 0x${addressHex(this.nextPage, this.pageSize)}, the end of the entry before, found 0x${addressHex(pageNumber, this.pageSize)}`,
        base + start,
      );
    }
    this.nextPage = pageNumber + entry.pages;
    if (this.nextPage > pageNumberLimit(this.pageSize)) {
      throw this.complain('MALFORMED', 'an entry that ends inside the address space', base + start);
    }
    let detail: RunDetail | undefined;
    if (!entry.canonical) {
      detail = { verbatim: bytes.slice(start, end) };
      if (entry.compressed) detail.compressed = entry.compressed;
    }
    runs.push(pageNumber, entry.pages, entry.bits, detail);
    this.entries++;
  }

  private complain(code: 'MALFORMED' | 'UNSUPPORTED' | 'ORDER', expected: string, offset: number): DumpError {
    return new DumpError(code, `expected ${expected}`, { file: this.file, offset, entry: this.entries });
  }
}

/** The bytes of a pagemap up to its first entry. */
export function encodePagemapStart(head: Uint8Array): Uint8Array {
  const bytes = new Uint8Array(12 + head.length);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, IMG_COMMON_MAGIC, true);
  view.setUint32(4, MAGIC.PAGEMAP, true);
  view.setUint32(8, head.length, true);
  bytes.set(head, 12);
  return bytes;
}

/** Most bytes of an entry without compressed blocks: five tags and varints, and its size. */
const PLAIN_ENTRY_BYTES = 4 + 2 * 11 + 2 * 6 + 2;

/** Encodes runs, one entry each, in the generation that they came in. */
export class PagemapEncoder {
  private bytes = new Uint8Array(4 * 1024);
  private at = 0;
  private readonly parser: EntryParser;

  constructor(private readonly pageSize: number) {
    this.parser = new EntryParser(pageSize);
  }

  /** The entries of all runs of a batch. The result is overwritten by the next call. */
  encode(runs: RunBatch): Uint8Array {
    this.at = 0;
    const count = runs.bits.length;
    for (let i = 0; i < count; i++) {
      const bits = runs.bits[i] as number;
      const detail = bits & DETAIL ? runs.details?.get(i) : undefined;
      this.entry(runs.pageNumbers[i] as number, runs.pages[i] as number, bits, detail);
    }
    return this.bytes.subarray(0, this.at);
  }

  private entry(pageNumber: number, pages: number, bits: number, detail: RunDetail | undefined): void {
    if (detail?.verbatim && this.says(detail.verbatim, pageNumber, pages, bits, detail.compressed)) {
      this.reserve(4 + detail.verbatim.length);
      this.bytes.set(detail.verbatim, this.at + 4);
      this.close(this.at, this.at + 4 + detail.verbatim.length);
      return;
    }
    this.reserve(PLAIN_ENTRY_BYTES + (detail?.compressed ? 32 + 5 * detail.compressed.blockBytes.length : 0));
    const start = this.at;
    this.at += 4;
    const perWord = TWO_32 / this.pageSize;
    this.tagged(0x08, Math.floor(pageNumber / perWord), (pageNumber % perWord) * this.pageSize);
    this.number(0x10, bits & COUNT_IN_FIELD_2 ? pages : 0);
    if (bits & HAS_IN_PARENT) this.number(0x18, bits & IN_PARENT_TRUE ? 1 : 0);
    if (bits & HAS_FLAGS) this.number(0x20, bits & PE_MASK);
    if (bits & HAS_FIELD_5) this.number(0x28, pages);
    if (detail?.compressed) this.blocks(detail.compressed);
    this.close(start, this.at);
  }

  /** Whether an entry as it was read says what the columns say. */
  private says(
    message: Uint8Array,
    pageNumber: number,
    pages: number,
    bits: number,
    compressed: CompressedBlocks | undefined,
  ): boolean {
    if (this.parser.parse(message, 0, message.length)) return false;
    const { entry } = this.parser;
    return (
      entry.vaddrHigh * (TWO_32 / this.pageSize) + entry.vaddrLow / this.pageSize === pageNumber &&
      entry.pages === pages &&
      (entry.bits & (PE_MASK | SHAPE_MASK)) === (bits & (PE_MASK | SHAPE_MASK)) &&
      sameBlocks(entry.compressed, compressed)
    );
  }

  private blocks({ blockBytes, regionPages, hasRegionPages }: CompressedBlocks): void {
    const body: number[] = [];
    for (let value of blockBytes) {
      for (; value > 127; value >>>= 7) body.push((value & 127) | 128);
      body.push(value);
    }
    this.number(0x32, body.length);
    this.bytes.set(body, this.at);
    this.at += body.length;
    this.number(0x38, blockSum({ blockBytes, regionPages, hasRegionPages }));
    if (hasRegionPages) this.number(0x40, regionPages);
  }

  private number(tag: number, value: number): void {
    this.tagged(tag, Math.floor(value / TWO_32), value % TWO_32);
  }

  /** A tag of one byte and a varint of two 32-bit halves. */
  private tagged(tag: number, high: number, low: number): void {
    const { bytes } = this;
    let at = this.at;
    bytes[at++] = tag;
    let lo = low >>> 0;
    let hi = high >>> 0;
    while (hi !== 0 || lo > 127) {
      bytes[at++] = (lo & 127) | 128;
      lo = ((lo >>> 7) | (hi << 25)) >>> 0;
      hi >>>= 7;
    }
    bytes[at++] = lo;
    this.at = at;
  }

  private close(start: number, end: number): void {
    new DataView(this.bytes.buffer).setUint32(start, end - start - 4, true);
    this.at = end;
  }

  private reserve(more: number): void {
    if (this.at + more <= this.bytes.length) return;
    const grown = new Uint8Array(Math.max(this.bytes.length * 2, this.at + more));
    grown.set(this.bytes.subarray(0, this.at));
    this.bytes = grown;
  }
}
