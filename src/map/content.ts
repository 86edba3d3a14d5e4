/**
 * What the bytes of pages look like: zeros, text, something that compresses, or bytes without any order. It is told from a
 * sample of each page. Together they show what compression, a search for equal pages, and leaving out zeros would save.
 *
 * Some blocks of pages are compressed, chosen by their place among all pages that are read. So a survey of a part, which
 * begins at a block, adds up with those of the other parts to a survey of everything.
 */
import { crc32 } from '../crc.js';
import { encodedLz4Bytes } from '../image/lz4.js';
import { DistinctCount } from './distinct.js';
import type { Content, ContentTotals } from './model.js';

/** One byte of four is looked at, each time another one, so that no column of a table is all that is seen. */
const STRIDE = 4;
/** Bits in a byte by its entropy. A sample of 1 KiB of random bytes has about 7.8, code and numbers up to 6.5. */
const RANDOM_BITS = 7.3;
/** Share of the bytes that are not zero. */
const TEXT_SHARE = 0.92;
/** Fewer bytes that are not zero are no text. */
const LEAST_TEXT = 1 / 32;

/** Pages that are compressed at once. */
export const BLOCK_PAGES = 16;
/** All of the first blocks are, then one of every so many. */
const ALL_BELOW_BLOCKS = 64;
const SAMPLE_EVERY_BLOCKS = 32;

export class ContentSurvey {
  private readonly distinct = new DistinctCount();
  private readonly counts: Record<Content, number> = { zero: 0, text: 0, compressible: 0, random: 0 };
  private readonly histogram = new Uint32Array(256);
  /** n log2 n of every number that the histogram may have. */
  private readonly logs: Float64Array;
  private readonly zeros: Uint8Array;
  private pages = 0;
  private sampledPages = 0;
  private sampledBytes = 0;
  /** The first pages of a block that is to be compressed. */
  private readonly block: Buffer;
  private blockBytes = 0;

  /**
   * @param pageSize bytes
   * @param before pages that other parts have before this one, a multiple of {@link BLOCK_PAGES}
   */
  constructor(
    private readonly pageSize: number,
    private readonly before = 0,
  ) {
    this.block = Buffer.alloc(BLOCK_PAGES * pageSize);
    this.logs = Float64Array.from({ length: pageSize / STRIDE + 1 }, (_, n) => (n === 0 ? 0 : n * Math.log2(n)));
    this.zeros = new Uint8Array(pageSize);
  }

  /**
   * Looks at whole pages.
   * @param take is told of neighboring pages that look alike
   */
  add(bytes: Uint8Array, take: (content: Content, pages: number) => void): void {
    const { pageSize } = this;
    const pages = bytes.length / pageSize;
    const buffer = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length);
    let first = 0;
    let content: Content | undefined;
    for (let page = 0; page < pages; page++) {
      const next = this.classify(buffer, page * pageSize);
      this.counts[next]++;
      if (content !== undefined && next !== content) {
        take(content, page - first);
        first = page;
      }
      content = next;
    }
    if (content !== undefined) take(content, pages - first);
    this.sample(buffer);
    this.pages += pages;
  }

  /** What has been counted so far. Nothing can be added any more. */
  end(): ContentCounts {
    this.compress(this.block.subarray(0, this.blockBytes));
    this.blockBytes = 0;
    const { pages, counts, sampledPages, sampledBytes, distinct } = this;
    return { pages, contents: counts, sampledPages, sampledBytes, distinct };
  }

  totals(): ContentTotals {
    return contentTotals(this.end());
  }

  private classify(buffer: Buffer, start: number): Content {
    const { pageSize, histogram, logs } = this;
    const end = start + pageSize;
    if (buffer[start] === 0 && buffer.compare(this.zeros, 0, pageSize, start, end) === 0) return 'zero';
    histogram.fill(0);
    let hash = 0x811c9dc5;
    for (let at = start, turn = 0; at < end; at += STRIDE, turn = (turn + 1) & 3) {
      const byte = buffer[at + turn] as number;
      histogram[byte] = (histogram[byte] as number) + 1;
      hash = Math.imul(hash ^ byte, 0x01000193);
    }
    // 32 bits of all bytes, and 21 of the sample.
    this.distinct.add(crc32(buffer.subarray(start, end)) * 2 ** 21 + (hash >>> 11));
    const samples = pageSize / STRIDE;
    let disorder = logs[samples] as number;
    let printable = 0;
    for (let byte = 0; byte < 256; byte++) {
      const count = histogram[byte] as number;
      disorder -= logs[count] as number;
      if (isText(byte)) printable += count;
    }
    const nonZero = samples - (histogram[0] as number);
    if (disorder / samples >= RANDOM_BITS) return 'random';
    return printable >= TEXT_SHARE * nonZero && nonZero >= LEAST_TEXT * samples ? 'text' : 'compressible';
  }

  /** Compresses the chosen blocks among the next pages. */
  private sample(bytes: Buffer): void {
    const blockSize = this.block.length;
    for (let at = 0; at < bytes.length; ) {
      const place = this.before + this.pages + at / this.pageSize;
      const end = Math.min(bytes.length, at + blockSize - (place % BLOCK_PAGES) * this.pageSize);
      if (isChosen(Math.floor(place / BLOCK_PAGES))) this.gather(bytes.subarray(at, end));
      at = end;
    }
  }

  /** Adds pages to a block, and compresses it when it is whole. */
  private gather(bytes: Buffer): void {
    if (bytes.length === this.block.length) {
      this.compress(bytes);
      return;
    }
    this.block.set(bytes, this.blockBytes);
    this.blockBytes += bytes.length;
    if (this.blockBytes < this.block.length) return;
    this.compress(this.block);
    this.blockBytes = 0;
  }

  private compress(plain: Buffer): void {
    if (plain.length === 0) return;
    this.sampledBytes += Math.min(plain.length, encodedLz4Bytes(plain));
    this.sampledPages += plain.length / this.pageSize;
  }
}

const isChosen = (block: number): boolean => block < ALL_BELOW_BLOCKS || block % SAMPLE_EVERY_BLOCKS === 0;

/** What a survey has counted. The counts of parts add up. */
export interface ContentCounts extends Pick<ContentTotals, 'pages' | 'contents' | 'sampledPages'> {
  /** Bytes of the sampled pages when compressed. */
  sampledBytes: number;
  distinct: DistinctCount;
}

export const contentTotals = ({
  pages,
  contents,
  sampledPages,
  sampledBytes,
  distinct,
}: ContentCounts): ContentTotals => ({
  pages,
  contents,
  distinctPages: Math.min(distinct.count, pages - contents.zero),
  isExact: distinct.isExact,
  compressedBytes: sampledPages === 0 ? 0 : Math.round((sampledBytes / sampledPages) * pages),
  sampledPages,
});

/** ASCII, with what ends and indents lines. */
const isText = (byte: number): boolean =>
  (byte >= 0x20 && byte < 0x7f) || byte === 0x0a || byte === 0x09 || byte === 0x0d;
