/**
 * What the bytes of pages look like: zeros, text, something that compresses, or bytes without any order. It is told from a
 * sample of each page. Together they show what compression, a search for equal pages, and leaving out zeros would save.
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

/** Pages that are compressed at once, and how many of all are: all of the first ones, then a few of every so many. */
const SAMPLE_PAGES = 16;
const ALL_BELOW_PAGES = 1024;
const SAMPLE_EVERY_PAGES = 512;

export class ContentSurvey {
  private readonly distinct = new DistinctCount();
  private readonly counts: Record<Content, number> = { zero: 0, text: 0, compressible: 0, random: 0 };
  private readonly histogram = new Uint32Array(256);
  /** n log2 n of every number that the histogram may have. */
  private readonly logs: Float64Array;
  private readonly zeros: Uint8Array;
  private pages = 0;
  private nextSample = 0;
  private sampledPages = 0;
  private sampledBytes = 0;

  /** @param pageSize bytes */
  constructor(private readonly pageSize: number) {
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
    this.sample(buffer, pages);
    this.pages += pages;
  }

  totals(): ContentTotals {
    const { pages, sampledPages, sampledBytes, distinct } = this;
    return {
      pages,
      contents: this.counts,
      distinctPages: Math.min(distinct.count, pages - this.counts.zero),
      isExact: distinct.isExact,
      compressedBytes: sampledPages === 0 ? 0 : Math.round((sampledBytes / sampledPages) * pages),
      sampledPages,
    };
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

  private sample(bytes: Buffer, pages: number): void {
    if (this.pages >= ALL_BELOW_PAGES && this.pages < this.nextSample) return;
    const most = this.pages < ALL_BELOW_PAGES ? pages : Math.min(pages, SAMPLE_PAGES);
    for (let page = 0; page < most; page += SAMPLE_PAGES) {
      const count = Math.min(SAMPLE_PAGES, most - page);
      const plain = bytes.subarray(page * this.pageSize, (page + count) * this.pageSize);
      this.sampledBytes += Math.min(plain.length, encodedLz4Bytes(plain));
      this.sampledPages += count;
    }
    this.nextSample = this.pages + SAMPLE_EVERY_PAGES;
  }
}

/** ASCII, with what ends and indents lines. */
const isText = (byte: number): boolean =>
  (byte >= 0x20 && byte < 0x7f) || byte === 0x0a || byte === 0x09 || byte === 0x0d;
