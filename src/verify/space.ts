/**
 * Checks one pagemap and its pages file: the pagemap can be read to its end, and the pages file has exactly the size that it
 * gives. Pages are not read, and the pagemap is streamed. Other checks may watch its runs.
 */

import { pagesName } from '../dump/names.js';
import { PagemapDecoder } from '../image/pagemap.js';
import { firstBeyond, PagesLayout } from '../memory/pages-layout.js';
import type { RunBatch } from '../memory/runs.js';
import type { CheckedDump } from './checked-dump.js';
import { type FlagNotes, noteFlags } from './run-flags.js';

/** Called with runs of a pagemap, and the index of the first one among its entries. */
export type WatchRuns = (runs: RunBatch, firstEntry: number) => void;

/** What is known about a pagemap. */
export interface SpaceSummary extends FlagNotes {
  /** Undefined if its head could not be read. */
  pagesId: number | undefined;
  /** Whether the pagemap and the size of its pages file are right. */
  sound: boolean;
}

/**
 * @param owners pagemaps by their pages_id; this one is added
 */
export function checkSpace(
  dump: CheckedDump,
  pagemap: string,
  pageSize: number,
  owners: Map<number, string>,
  watchers: readonly WatchRuns[] = [],
): SpaceSummary {
  const decoder = new PagemapDecoder(pageSize, pagemap);
  const summary: SpaceSummary = { pagesId: undefined, sound: false, firstParentEntry: undefined, lazyPages: 0 };
  const pages = new PagesSize(pageSize);
  const whole = dump.attempt(pagemap, () => {
    dump.stream(pagemap, (chunk) => {
      const first = decoder.entries;
      const runs = decoder.push(chunk);
      if (decoder.head && pages.size === undefined) pages.size = dump.sizes.get(pagesName(decoder)) ?? Number.NaN;
      if (!runs) return;
      pages.add(runs, first);
      noteFlags(summary, runs, first, dump.findings, dump.prefix + pagemap);
      for (const watch of watchers) watch(runs, first);
    });
    decoder.end();
  });
  if (!decoder.head) return summary;
  summary.pagesId = decoder.pagesId;
  const owned = checkPagesId(dump, pagemap, decoder.pagesId, owners);
  summary.sound = owned && checkPagesFile(dump, pagemap, pagesName(decoder), pages, whole) && whole;
  return summary;
}

/** Adds up the bytes of a pages file. */
class PagesSize {
  /** Bytes of the file; NaN if there is none. */
  size: number | undefined;
  /** First entry whose pages are not all there. */
  shortEntry: number | undefined;
  private readonly layout: PagesLayout;

  constructor(private readonly pageSize: number) {
    this.layout = new PagesLayout(pageSize);
  }

  /** Bytes that the runs so far take. */
  get needed(): number {
    return this.layout.end;
  }

  add(runs: RunBatch, first: number): void {
    const size = this.size as number;
    const before = this.needed;
    this.layout.place(runs);
    if (this.shortEntry !== undefined || !(this.needed > size)) return;
    this.shortEntry = first + firstBeyond(runs, before, size, this.pageSize).index;
  }
}

function checkPagesId(dump: CheckedDump, pagemap: string, pagesId: number, owners: Map<number, string>): boolean {
  const other = owners.get(pagesId);
  if (other === undefined) {
    owners.set(pagesId, pagemap);
    return true;
  }
  dump.error('PAGES_ID_TWICE', pagemap, `expected a pages_id of its own, found ${pagesId}, that of ${other}`);
  return false;
}

/** @param whole whether the pagemap was read to its end; if not, the file may be larger */
function checkPagesFile(dump: CheckedDump, pagemap: string, file: string, pages: PagesSize, whole: boolean): boolean {
  const { size, needed, shortEntry } = pages;
  if (!dump.has(file)) {
    dump.require(file, pagemap);
    return false;
  }
  if (shortEntry !== undefined) {
    const what = `expected ${whole ? '' : 'at least '}${needed} bytes of pages by ${pagemap}, found ${size}`;
    dump.error('PAGES_SIZE', file, `${what}: pages are missing from entry ${shortEntry} on`, {
      offset: size as number,
    });
    return false;
  }
  if (size !== needed && whole) {
    dump.error('PAGES_SIZE', file, `expected ${needed} bytes of pages by ${pagemap}, found ${size}`, {
      offset: needed,
    });
    return false;
  }
  return true;
}
