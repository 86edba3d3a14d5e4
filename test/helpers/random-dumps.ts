/** Dumps at random, of all generations, for laws that must hold of each. */
import fc from 'fast-check';
import { ANON, type DumpSpec, type EntrySpec, FILE, PE, type VmaSpec } from './dump-writer.js';

const AREA_PAGES = 8;
const BASE = 16;

/** Processes with areas and entries that do not keep to each other's borders. */
export const anyDump: fc.Arbitrary<DumpSpec> = fc
  .record({
    form: fc.constantFrom<Pick<DumpSpec, 'generation' | 'pagesPerBlock'>>(
      { generation: '2.x' },
      { generation: '3.x' },
      { generation: '4.2' },
      { generation: 'both-counts' },
      { generation: '4.3' },
      { generation: '4.3', pagesPerBlock: 4 },
    ),
    tasks: fc.array(
      fc.record({
        lazyAreas: fc.array(fc.boolean(), { minLength: 1, maxLength: 6 }),
        entries: fc.array(
          fc.record({
            gap: fc.constantFrom(0, 0, 1, 5),
            pages: fc.integer({ min: 1, max: 14 }),
            flags: fc.constantFrom(PE.PRESENT, PE.PRESENT | PE.LAZY, PE.PRESENT | PE.LAZY, PE.LAZY),
            zeroes: fc.boolean(),
          }),
          { maxLength: 10 },
        ),
      }),
      { minLength: 1, maxLength: 3 },
    ),
    zombie: fc.boolean(),
    shmem: fc.boolean(),
  })
  .map(({ form, tasks, zombie, shmem }) => ({
    ...form,
    tasks: [
      ...tasks.map(({ lazyAreas, entries }, i) => {
        const vmas = areasOf(lazyAreas);
        return { pid: 7 + i, vmas, entries: entriesOf(entries, vmas, form.generation === '2.x') };
      }),
      ...(zombie ? [{ pid: 99, dead: true }] : []),
    ],
    ...(shmem ? { shmem: [{ id: 3, entries: [{ vaddr: 0n, pages: 3, flags: PE.PRESENT | PE.LAZY }] }] } : {}),
  }));

/** Areas one behind the other: private anonymous ones, and mappings of files. */
const areasOf = (lazy: readonly boolean[]): VmaSpec[] =>
  lazy.map((isLazy, i) => ({
    start: BigInt((BASE + i * AREA_PAGES) * 4096),
    end: BigInt((BASE + (i + 1) * AREA_PAGES) * 4096),
    ...(isLazy ? ANON : FILE),
  }));

function entriesOf(
  specs: readonly { gap: number; pages: number; flags: number; zeroes: boolean }[],
  vmas: readonly VmaSpec[],
  isOld: boolean,
): EntrySpec[] {
  const entries: EntrySpec[] = [];
  let page = BASE;
  for (const { gap, pages, flags, zeroes } of specs) {
    page += gap;
    if (BigInt(page + pages) * 4096n > (vmas.at(-1) as VmaSpec).end) break;
    const vaddr = BigInt(page * 4096);
    entries.push({ vaddr, pages, flags: isOld ? PE.PRESENT : flags, ...(zeroes ? { zeroPages: [0, 1] } : {}) });
    page += pages;
  }
  return entries;
}
