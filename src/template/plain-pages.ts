/** The payload of one run as plain pages: blocks of compressed pages are decoded one by one. */
import { concatBytes } from '../bytes.js';
import { decodeLz4Block } from '../image/lz4.js';
import type { RunDetail } from '../memory/runs.js';
import { plainBlock } from '../memory/space.js';

export class PlainPages {
  private block = 0;
  /** The parts of a block that are here. */
  private parts: Uint8Array[] = [];
  private partBytes = 0;

  /** @param pagemap for errors; `pageSize` is in bytes */
  constructor(
    private readonly detail: RunDetail | undefined,
    private readonly pages: number,
    private readonly pageSize: number,
    private readonly pagemap: string,
  ) {}

  /** Takes the next bytes of the payload, none at first. The result is overwritten by what comes next. */
  *push(bytes: Uint8Array): Generator<Uint8Array> {
    const blocks = this.detail?.compressed;
    if (!blocks) {
      if (bytes.length > 0) yield bytes;
      return;
    }
    const { blockBytes, pagesPerBlock } = blocks;
    for (let at = 0; this.block < blockBytes.length; ) {
      const stored = blockBytes[this.block] as number;
      const part = bytes.subarray(at, at + stored - this.partBytes);
      at += part.length;
      const isWhole = this.partBytes + part.length === stored;
      // What is left over must outlast the chunk that it is in.
      this.parts.push(isWhole ? part : part.slice());
      this.partBytes += part.length;
      if (!isWhole) return;
      const plainPages = Math.min(pagesPerBlock, this.pages - this.block * pagesPerBlock);
      const block = this.parts.length === 1 ? part : concatBytes(this.parts);
      this.parts = [];
      this.partBytes = 0;
      this.block++;
      yield plainBlock(block, plainPages * this.pageSize, decodeLz4Block, { file: this.pagemap });
    }
  }
}
