/**
 * Pagemap images, both ways, as batches of runs.
 *
 * pagemap := COMMON magic, PAGEMAP magic, size:u32le head, (size:u32le entry)*
 * entry   := field 1 vaddr, field 2 nr_pages (old) or 0, field 3 in_parent, field 4 flags, field 5 nr_pages (4.2 on),
 *            field 6 blocks (4.3 on, where the pages are compressed: pagemap-blocks.ts)
 *
 * Reading rule over all generations: in_parent set means PARENT; else absent flags mean PRESENT; absent field 5 means
 * field 2. Fields or flags beyond these may move the pages, so they are refused.
 *
 * An entry is parsed by hand and not by protobufjs: pagemaps have millions of entries, unknown fields must be seen, and
 * what our encoder would write differently must be kept as it was. A property test holds it against protobufjs.
 */
import { plainBytes } from '../bytes.js';
import { DumpError, type DumpErrorCode } from '../errors.js';
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
  PAYLOAD_ALIGNED,
  PE_MASK,
  pageNumberLimit,
  type RunBatch,
  RunBuilder,
  type RunDetail,
  SHAPE_MASK,
  sameBlocks,
} from '../memory/runs.js';
import { ByteWriter, MAX_VARINT_BYTES, putVarint } from '../protobuf/wire.js';
import { readMessage } from './entries.js';
import { checkEntrySize, checkMagic, magicBytes, truncated } from './framing.js';
import { IMG_COMMON_MAGIC, MAGIC } from './magic.js';
import { ALIGNED_FLAG, EntryParser } from './pagemap-entry.js';

/** Entries are some 20 bytes; a compressed one has up to 3 bytes a block. It must fit a frame of the page stream. */
const MAX_PAGEMAP_ENTRY_BYTES = 256 * 1024;

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
  private joined = new Uint8Array(0);
  private offset = 0;
  private started = false;
  /** Whether the image is of version 1, without the magic that all images share. */
  oneMagic = false;
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
    const bytes = this.rest ? this.joinToRest(this.rest, chunk) : plainBytes(chunk);
    let at = 0;
    if (!this.started) {
      if (bytes.length < magicBytes(bytes, 'PAGEMAP')) return this.keep(bytes, 0);
      at = checkMagic(bytes, 'PAGEMAP', this.file);
      this.oneMagic = at === 4;
      this.started = true;
    }
    const runs = new RunBuilder(this.pageSize, Math.max(16, bytes.length >> 4));
    this.keep(bytes, this.decodeEntries(bytes, at, runs));
    return runs.length > 0 ? runs.finish() : undefined;
  }

  /**
   * Decodes head and entries from position `at`; returns the position behind the last whole one. It does nothing behind
   * its loop: V8 enters the compiled loop in its middle, and would leave it at the first thing that it has not seen.
   */
  private decodeEntries(bytes: Uint8Array, at: number, runs: RunBuilder): number {
    const base = this.offset;
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    while (bytes.length - at >= 4) {
      const size = view.getUint32(at, true);
      checkEntrySize(size, MAX_PAGEMAP_ENTRY_BYTES, this.file, base + at, this.head && this.entries);
      if (bytes.length - at - 4 < size) break;
      if (this.head) this.decodeEntry(bytes, at + 4, at + 4 + size, base, runs);
      else this.decodeHead(bytes.slice(at + 4, at + 4 + size), base + at + 4);
      at += 4 + size;
    }
    return at;
  }

  /** Decodes only the head, from the first bytes of the image. */
  pushHead(start: Uint8Array): void {
    if (start.length >= magicBytes(start, 'PAGEMAP') + 4) {
      const size = checkMagic(start, 'PAGEMAP', this.file);
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

  /** The rest of the last chunk and the next one, in a buffer for all: nothing of it is kept past the call. */
  private joinToRest(rest: Uint8Array, chunk: Uint8Array): Uint8Array {
    const length = rest.length + chunk.length;
    if (this.joined.length < length) this.joined = new Uint8Array(length);
    this.joined.set(rest);
    this.joined.set(chunk, rest.length);
    return this.joined.subarray(0, length);
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
    if (complaint) throw this.complain(complaint.code, complaint.message, base + start);
    const { pageNumber } = entry;
    if (pageNumber < this.nextPage) {
      throw this.complain(
        'ORDER',
        `expected an address of at least 0x${addressHex(this.nextPage, this.pageSize)}, the end of the entry before, found 0x${addressHex(pageNumber, this.pageSize)}`,
        base + start,
      );
    }
    this.nextPage = pageNumber + entry.pages;
    if (this.nextPage > pageNumberLimit(this.pageSize)) {
      throw this.complain('MALFORMED', 'expected an entry that ends inside the address space', base + start);
    }
    let detail: RunDetail | undefined;
    if (!entry.canonical) {
      detail = { verbatim: bytes.slice(start, end) };
      if (entry.compressed) detail.compressed = entry.compressed;
    }
    runs.push(pageNumber, entry.pages, entry.bits, detail);
    this.entries++;
  }

  private complain(code: DumpErrorCode, message: string, offset: number): DumpError {
    return new DumpError(code, message, { file: this.file, offset, entry: this.entries });
  }
}

/** The bytes of a pagemap up to its first entry. */
export function encodePagemapStart(head: Uint8Array, oneMagic = false): Uint8Array {
  const out = new ByteWriter();
  if (!oneMagic) out.u32(IMG_COMMON_MAGIC);
  out.u32(MAGIC.PAGEMAP);
  out.u32(head.length);
  out.raw(head);
  return out.view();
}

/** Tags of an entry, and of the message in its last field. */
const TAG = {
  VADDR: 0x08,
  OLD_PAGES: 0x10,
  IN_PARENT: 0x18,
  FLAGS: 0x20,
  PAGES: 0x28,
  BLOCKS: 0x32,
} as const;
const BLOCKS_TAG = { BLOCK_SIZES: 0x0a, TOTAL_BYTES: 0x10, PAGES_PER_BLOCK: 0x18 } as const;

/** Bits that an entry says with its fields. */
const SAID_BITS = PE_MASK | SHAPE_MASK | PAYLOAD_ALIGNED;

/** Most bytes of fields 1 to 5: three numbers, and two with their tag in two bytes. */
const PLAIN_ENTRY_BYTES = 3 * (1 + MAX_VARINT_BYTES) + 2 * 2;

/** Encodes runs, one entry each, in the generation that they came in. */
export class PagemapEncoder {
  private readonly out = new ByteWriter();
  private readonly parser: EntryParser;

  constructor(private readonly pageSize: number) {
    this.parser = new EntryParser(pageSize);
  }

  /** The entries of the first `count` runs of a batch, by default of all. The next call overwrites the result. */
  encode(runs: RunBatch, count = runs.bits.length): Uint8Array {
    this.out.at = 0;
    for (let i = 0; i < count; i++) {
      const bits = runs.bits[i] as number;
      const detail = bits & DETAIL ? runs.details?.get(i) : undefined;
      this.entry(runs.pageNumbers[i] as number, runs.pages[i] as number, bits, detail);
    }
    return this.out.view();
  }

  private entry(pageNumber: number, pages: number, bits: number, detail: RunDetail | undefined): void {
    const { out } = this;
    const start = out.at;
    out.u32(0);
    if (detail?.verbatim && this.matches(detail.verbatim, pageNumber, pages, bits, detail.compressed)) {
      out.raw(detail.verbatim);
    } else {
      this.fields(pageNumber, pages, bits);
      if (detail?.compressed) this.blocks(detail.compressed);
    }
    out.setU32(start, out.at - start - 4);
  }

  /** Fields 1 to 5; room is reserved once for all, since a pagemap has millions of entries. */
  private fields(pageNumber: number, pages: number, bits: number): void {
    const { out } = this;
    out.reserve(PLAIN_ENTRY_BYTES);
    const { bytes } = out;
    const perWord = TWO_32 / this.pageSize;
    let { at } = out;
    bytes[at++] = TAG.VADDR;
    at = putVarint(bytes, at, (pageNumber % perWord) * this.pageSize, Math.floor(pageNumber / perWord));
    bytes[at++] = TAG.OLD_PAGES;
    at = putVarint(bytes, at, bits & COUNT_IN_FIELD_2 ? pages : 0, 0);
    if (bits & HAS_IN_PARENT) {
      bytes[at++] = TAG.IN_PARENT;
      bytes[at++] = bits & IN_PARENT_TRUE ? 1 : 0;
    }
    if (bits & HAS_FLAGS) {
      bytes[at++] = TAG.FLAGS;
      bytes[at++] = (bits & PE_MASK) | (bits & PAYLOAD_ALIGNED ? ALIGNED_FLAG : 0);
    }
    if (bits & HAS_FIELD_5) {
      bytes[at++] = TAG.PAGES;
      at = putVarint(bytes, at, pages % TWO_32, Math.floor(pages / TWO_32));
    }
    out.at = at;
  }

  /** Whether an entry as it was read has the values of the columns. */
  private matches(
    message: Uint8Array,
    pageNumber: number,
    pages: number,
    bits: number,
    compressed: CompressedBlocks | undefined,
  ): boolean {
    if (this.parser.parse(message, 0, message.length)) return false;
    const { entry } = this.parser;
    return (
      entry.pageNumber === pageNumber &&
      entry.pages === pages &&
      (entry.bits & SAID_BITS) === (bits & SAID_BITS) &&
      sameBlocks(entry.compressed, compressed)
    );
  }

  private blocks(compressed: CompressedBlocks): void {
    const { out } = this;
    out.byte(TAG.BLOCKS);
    const message = out.at;
    out.byte(0);
    out.byte(BLOCKS_TAG.BLOCK_SIZES);
    const sizes = out.at;
    out.byte(0);
    for (const bytes of compressed.blockBytes) out.varint(bytes);
    out.prefixLength(sizes);
    this.number(BLOCKS_TAG.TOTAL_BYTES, blockSum(compressed));
    this.number(BLOCKS_TAG.PAGES_PER_BLOCK, compressed.pagesPerBlock);
    out.prefixLength(message);
  }

  private number(tag: number, value: number): void {
    this.out.byte(tag);
    this.out.varint(value % TWO_32, Math.floor(value / TWO_32));
  }
}
