/** The cold half of a split dump: what can be asked of it, since it is never restored. */
import { PagemapDecoder } from '../image/pagemap.js';
import { decodePagemap } from '../source/pagemap.js';
import { MIN_PAGE_BYTES } from '../source/tasks.js';
import { isOriginalName } from '../stages/cold.js';
import type { DumpFiles } from './dump-files.js';

const originalsOf = (dump: DumpFiles): string[] => [...dump.sizes.keys()].filter(isOriginalName);

/** Whether a dump is the cold half of another: it has the images that a page server needs, and no others. */
export const isColdHalf = (dump: DumpFiles): boolean => originalsOf(dump).length > 0;

/** Says that a dump is a cold half. */
export function tellOfColdHalf(dump: DumpFiles): void {
  const [first] = originalsOf(dump);
  if (first === undefined) return;
  const message = 'expected a whole dump, found the cold half of a split one: pagepipe merge makes it whole';
  dump.warning('COLD_HALF', first, message);
}

/** Whether the pagemaps as they were can be read: merge needs them. */
export function checkOriginals(dump: DumpFiles): void {
  for (const name of originalsOf(dump)) {
    dump.attempt(name, () => {
      const runs = decodePagemap(dump.files, name, new PagemapDecoder(MIN_PAGE_BYTES, name));
      while (!runs.next().done);
    });
  }
}
