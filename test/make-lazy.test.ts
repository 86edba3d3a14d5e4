/** make-lazy against an oracle that goes page by page, on real dumps and on generated ones, in every generation. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { cli } from './helpers/cli.js';
import {
  ANON,
  type DumpSpec,
  type EntrySpec,
  FILE,
  GENERATIONS,
  type Generation,
  MAP,
  PE,
  rewriteGeneration,
  STATUS,
  type VmaSpec,
  writeDump,
} from './helpers/dump-writer.js';
import { differences, expectLazy, type Rules, readLazy, untouchedFiles } from './helpers/oracle.js';
import { copyFixture, describeTree, FIXTURES, tempDir } from './helpers/temp.js';

/** Runs make-lazy and holds every pagemap, every page and every other file against the oracle. */
async function check(dump: string, out: string, rules: Rules, ...more: string[]): Promise<void> {
  const run = await cli(['make-lazy', dump, out, '--policy', rules.policy, '--holes', rules.holes, ...more]);
  expect(run.code, run.stderr).toBe(0);
  expect(differences(expectLazy(dump, rules), readLazy(out, rules.pageSize))).toEqual([]);
  for (const name of untouchedFiles(dump)) {
    expect(readFileSync(join(out, name)).equals(readFileSync(join(dump, name))), name).toBe(true);
  }
}

describe('on real dumps', () => {
  const cases = FIXTURES.flatMap((name) => GENERATIONS.map((generation) => ({ name, generation })));
  it.each(cases)('takes the lazy pages out of $name as $generation', async ({ name, generation }) => {
    const dir = tempDir();
    const dump = copyFixture(name, dir);
    const rewritten = `${dump}-${generation}`;
    rewriteGeneration(dump, rewritten, generation);
    for (const holes of ['flag', 'drop'] as const) {
      for (const policy of ['auto', 'vma'] as const) {
        await check(rewritten, `${dump}-${holes}-${policy}`, { policy, holes });
      }
    }
  });

  it.each(FIXTURES)('%s: flags and areas agree, so that every policy gives the same', async (name) => {
    const dir = tempDir();
    const dump = copyFixture(name, dir);
    const trees = [];
    for (const policy of ['auto', 'flags', 'vma'] as const) {
      expect((await cli(['make-lazy', dump, `${dump}-${policy}`, '--policy', policy])).code).toBe(0);
      trees.push(describeTree(`${dump}-${policy}`));
    }
    expect(trees[1]).toEqual(trees[0]);
    expect(trees[2]).toEqual(trees[0]);
  });
});

const AREA_KINDS = [
  ANON,
  { flags: ANON.flags, status: ANON.status | STATUS.HEAP },
  { flags: ANON.flags | 0x100, status: ANON.status },
  { flags: ANON.flags | MAP.LOCKED, status: ANON.status },
  { flags: ANON.flags | MAP.HUGETLB, status: ANON.status },
  { flags: ANON.flags, status: ANON.status | STATUS.VVAR },
  { flags: ANON.flags, status: ANON.status | STATUS.VDSO },
  FILE,
  { flags: MAP.SHARED | MAP.ANON, status: STATUS.REGULAR | STATUS.ANON_SHARED },
];

/** Areas side by side or apart, entries that cover parts of them and cross their borders. */
const generatedDump = (generation: Generation): fc.Arbitrary<DumpSpec> =>
  fc
    .record({
      pageSize: fc.constantFrom(4096, 65536),
      base: fc.constantFrom(16n, 0x7f0000000n, 0xffffffff000n),
      areas: fc.array(fc.record({ kind: fc.constantFrom(...AREA_KINDS), pages: fc.integer({ min: 1, max: 6 }) }), {
        minLength: 1,
        maxLength: 8,
      }),
      gaps: fc.array(fc.boolean(), { minLength: 8, maxLength: 8 }),
      cuts: fc.array(fc.record({ pages: fc.integer({ min: 1, max: 9 }), gap: fc.integer({ min: 0, max: 3 }) }), {
        maxLength: 20,
      }),
      flags: fc.array(fc.constantFrom(PE.PRESENT, PE.PRESENT | PE.LAZY, PE.LAZY, 0), { minLength: 20, maxLength: 20 }),
      guard: fc.boolean(),
    })
    .map(({ pageSize, base, areas, gaps, cuts, flags, guard }) => {
      const page = BigInt(pageSize);
      const vmas: VmaSpec[] = [];
      let at = base;
      areas.forEach(({ kind, pages }, i) => {
        if (gaps[i]) at += 1n;
        vmas.push({ start: at * page, end: (at + BigInt(pages)) * page, ...kind });
        at += BigInt(pages);
      });
      const [first] = vmas;
      // A guard lies inside an area and stands at the end of the list.
      if (guard && first) vmas.push({ ...first, status: STATUS.GUARD | 1 });
      const covered = (number: bigint) => vmas.some(({ start, end }) => start <= number * page && number * page < end);
      const entries: EntrySpec[] = [];
      let next = base;
      cuts.forEach((cut, i) => {
        next += BigInt(cut.gap);
        while (next < at && !covered(next)) next += 1n;
        let pages = 0;
        while (pages < cut.pages && covered(next + BigInt(pages))) pages++;
        const plain = generation === '2.x' || generation === '2026';
        if (pages > 0) {
          entries.push({ vaddr: next * page, pages, flags: plain ? PE.PRESENT : (flags[i] as number), zeroPages: [0] });
        }
        next += BigInt(pages);
      });
      const spec = {
        pageSize,
        generation,
        tasks: [
          { pid: 7, vmas, entries },
          { pid: 8, dead: true },
        ],
      };
      return { ...spec, march: pageSize === 4096 ? 1 : 3 };
    });

describe('on generated dumps', () => {
  for (const generation of GENERATIONS) {
    it(`gives what the oracle says, as ${generation}`, async () => {
      const dir = tempDir();
      let count = 0;
      await fc.assert(
        fc.asyncProperty(
          generatedDump(generation),
          fc.constantFrom('flag' as const, 'drop' as const),
          fc.constantFrom('auto' as const, 'flags' as const, 'vma' as const, 'seed' as const),
          async (spec, holes, policy) => {
            const dump = join(dir, `dump-${count}`);
            writeDump(dump, spec);
            // Page sizes of other machines are found out only where there are pages to tell by.
            const more = ['--page-size', String(spec.pageSize), '--force'];
            await check(dump, join(dir, `out-${count++}`), { policy, holes, pageSize: spec.pageSize ?? 4096 }, ...more);
          },
        ),
        { numRuns: 40 },
      );
    });
  }

  it('cuts compressed entries between blocks, and refuses where a block is lazy in part', async () => {
    const dir = tempDir();
    const outcomes = { made: 0, refused: 0 };
    await fc.assert(
      fc.asyncProperty(generatedDump('2026'), fc.constantFrom(2, 3, 4), async (generated, regionPages) => {
        const spec = { ...generated, regionPages };
        const pageSize = spec.pageSize ?? 4096;
        const dump = join(dir, `dump-${outcomes.made}-${outcomes.refused}`);
        writeDump(dump, spec);
        const rules: Rules = { policy: 'vma', holes: 'flag', pageSize };
        const kept = expectLazy(dump, rules).get('pagemap-7.img')?.pages;
        const mixed = spec.tasks[0]?.entries?.some(({ vaddr, pages }) => {
          const isKept = (page: number) => kept?.has(vaddr + BigInt(page * pageSize)) === true;
          return Array.from({ length: pages }, (_, page) => page).some(
            (page) => isKept(page) !== isKept(page - (page % regionPages)),
          );
        });
        const more = ['--page-size', String(pageSize)];
        if (mixed) {
          const run = await cli(['make-lazy', dump, `${dump}-out`, '--policy', 'vma', ...more]);
          expect(run.code).toBe(1);
          expect(run.stderr).toMatch(/a compressed block would have to be cut at 0x/);
          outcomes.refused++;
        } else {
          await check(dump, `${dump}-out`, rules, ...more);
          outcomes.made++;
        }
      }),
      { numRuns: 60 },
    );
    expect(outcomes.made).toBeGreaterThan(0);
    expect(outcomes.refused).toBeGreaterThan(0);
  });
});
