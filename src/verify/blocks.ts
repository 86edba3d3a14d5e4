/** Whether compressed pages are where a restore takes them for such: what the inventory says of them, and which must be raw. */
import type { Messages } from '../generated/entries.js';
import { addressHex, type CompressedBlocks, detailOf, PAYLOAD_ALIGNED, type RunBatch } from '../memory/runs.js';
import { type AreaTable, firstAreaEndingAfter, mapFlagsOf, VMA } from '../memory/vma.js';
import type { CheckedDump } from './checked-dump.js';
import type { WatchRuns } from './space.js';

/** Compares a pagemap with the inventory; tells of the first entry that does not fit. */
export function watchCompression(
  dump: CheckedDump,
  pagemap: string,
  { compress = 0, compress_block_size: blockBytes }: Messages['inventory_entry'],
  pageSize: number,
): WatchRuns {
  let isTold = false;
  const tell = (message: string, entry: number) => {
    if (!isTold) dump.error('BAD_BLOCKS', pagemap, message, { entry });
    isTold = true;
  };
  return (runs, firstEntry) => {
    if (compress === 0) {
      const i = runs.bits.findIndex(
        (bits, at) => (bits & PAYLOAD_ALIGNED) !== 0 || detailOf(runs, at)?.compressed !== undefined,
      );
      if (i >= 0) tell('expected plain pages, as inventory.img says, found compressed or aligned ones', firstEntry + i);
      return;
    }
    for (const [i, { compressed }] of runs.details ?? []) {
      const bytes = (compressed?.pagesPerBlock ?? 0) * pageSize;
      if (blockBytes === undefined || bytes <= blockBytes) continue;
      tell(`expected blocks of at most ${blockBytes} bytes, as inventory.img says, found ${bytes}`, firstEntry + i);
    }
  };
}

/** A restore reads huge pages, and memory of plugins, as they are in the file: their blocks must be raw. */
export function watchRawAreas(
  dump: CheckedDump,
  pagemap: string,
  areas: AreaTable,
  march: number | undefined,
  pageSize: number,
): WatchRuns {
  const huge = mapFlagsOf(march).HUGETLB;
  const isRaw = (at: number) => ((areas.flags[at] as number) & huge) | ((areas.status[at] as number) & VMA.EXTERNAL);
  const check = (runs: RunBatch, i: number, blocks: CompressedBlocks, firstEntry: number) => {
    const start = runs.pageNumbers[i] as number;
    const end = start + (runs.pages[i] as number);
    for (let at = firstAreaEndingAfter(areas, start); (areas.starts[at] ?? end) < end; at++) {
      const page = isRaw(at) ? firstPacked(blocks, start, end, areas, at) : undefined;
      if (page === undefined) continue;
      const address = addressHex(page, pageSize);
      const message = `expected a raw block at 0x${address}, in huge pages or memory of a plugin, found a compressed one`;
      dump.error('BAD_BLOCKS', pagemap, message, { entry: firstEntry + i });
      return;
    }
  };
  return (runs, firstEntry) => {
    for (const [i, { compressed }] of runs.details ?? []) if (compressed) check(runs, i, compressed, firstEntry);
  };

  /** The first page of an area, as far as a run covers it, whose block is compressed; one of zeros may be left out. */
  function firstPacked(blocks: CompressedBlocks, start: number, end: number, table: AreaTable, at: number) {
    const { blockBytes, pagesPerBlock } = blocks;
    const from = Math.max(start, table.starts[at] as number);
    const to = Math.min(end, table.ends[at] as number);
    for (let block = Math.floor((from - start) / pagesPerBlock); start + block * pagesPerBlock < to; block++) {
      const first = start + block * pagesPerBlock;
      const plain = (Math.min(first + pagesPerBlock, end) - first) * pageSize;
      const stored = blockBytes[block] as number;
      if (stored !== 0 && stored !== plain) return Math.max(first, from);
    }
    return undefined;
  }
}
