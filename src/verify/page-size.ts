/** The page size of the dumped machine, which stands nowhere in a dump. */

import { DumpError } from '../errors.js';
import { PagemapDecoder } from '../image/pagemap.js';
import { PAGE_SIZES } from '../memory/runs.js';
import { isPagemapName, pagesName } from '../records.js';
import { MIN_PAGE_BYTES, VARIABLE_PAGE_SIZE } from '../source/tasks.js';
import type { DumpFiles } from './dump-files.js';

/**
 * Found as `Dump` finds it: by the machine, or by the size of a pages file. A pages file of another size tells nothing;
 * the one of another pagemap may.
 */
export function findPageSize(dump: DumpFiles, march: number | undefined): number {
  if (!VARIABLE_PAGE_SIZE.includes(march ?? 0)) return MIN_PAGE_BYTES;
  for (const name of dump.sizes.keys()) {
    const pageSize = isPagemapName(name) ? pageSizeBy(dump, name) : undefined;
    if (pageSize !== undefined) return pageSize;
  }
  return MIN_PAGE_BYTES;
}

function pageSizeBy(dump: DumpFiles, name: string): number | undefined {
  const decoder = new PagemapDecoder(MIN_PAGE_BYTES, name);
  let bytes = 0;
  let compressed = false;
  try {
    dump.stream(name, (chunk) => {
      const runs = decoder.push(chunk);
      bytes += runs?.payloadBytes ?? 0;
      for (const detail of runs?.details?.values() ?? []) compressed ||= detail.compressed !== undefined;
    });
  } catch (error) {
    // What is wrong with it is found when its memory is checked.
    if (error instanceof DumpError) return undefined;
    throw error;
  }
  const pageSize = ((dump.sizes.get(pagesName(decoder)) ?? 0) / bytes) * MIN_PAGE_BYTES;
  return !compressed && PAGE_SIZES.includes(pageSize) ? pageSize : undefined;
}
