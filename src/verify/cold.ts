/** The cold half of a split dump is never restored, so less is required of it. */

import { isOriginalName } from '../dump/names.js';
import { MIN_PAGE_BYTES } from '../dump/page-size.js';
import { decodePagemap } from '../dump/pagemap.js';
import { PagemapDecoder } from '../image/pagemap.js';
import type { CheckedDump } from './checked-dump.js';

const originalsOf = (dump: CheckedDump): string[] => [...dump.sizes.keys()].filter(isOriginalName);

/** Whether a dump is the cold half of another: it has the images that a page server needs, and no others. */
export const isColdHalf = (dump: CheckedDump): boolean => originalsOf(dump).length > 0;

/** Reports that a dump is a cold half. */
export function tellOfColdHalf(dump: CheckedDump): void {
  const [first] = originalsOf(dump);
  if (first === undefined) return;
  const message = 'expected a whole dump, found the cold half of a split one: pagepipe merge makes it whole';
  dump.warning('COLD_HALF', first, message);
}

/** Checks the original pagemaps, which merge needs. */
export function checkOriginals(dump: CheckedDump): void {
  for (const name of originalsOf(dump)) {
    dump.attempt(name, () => {
      const runs = decodePagemap(dump.files, name, new PagemapDecoder(MIN_PAGE_BYTES, name));
      while (!runs.next().done);
    });
  }
}
