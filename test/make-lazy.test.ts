/** make-lazy against an oracle that goes page by page, on real dumps and on generated ones, in every generation. */

import { closeSync, existsSync, openSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { DirectoryFiles } from '../src/containers/directory/files.js';
import { StreamSink } from '../src/containers/page-stream/stream.js';
import { Dump, type DumpRecord, pump } from '../src/index.js';
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
  readMemory,
  readPagemap,
  rewriteGeneration,
  STATUS,
  type VmaSpec,
  writeDump,
} from './helpers/dump-writer.js';
import { differences, type Expected, expectLazy, type Rules, readLazy, untouchedFiles } from './helpers/oracle.js';
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
        const plain = generation === '2.x' || generation === '4.3';
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

describe('of a page stream', () => {
  it.each(FIXTURES)('makes the same, and says the same of it: %s', async (name) => {
    const dir = tempDir();
    const dump = copyFixture(name, dir);
    const [stream, out, other] = [join(dir, 'stream'), join(dir, 'out'), join(dir, 'other')];
    const of = async (from: string, to: string, stdin = '/dev/null') => {
      const run = await cli(['make-lazy', from, to, '--json'], { stdin });
      expect(run.code, run.stderr).toBe(0);
      const { dump: _, out: __, restore: ___, notes: ____, ...report } = JSON.parse(run.stdout);
      return report;
    };
    expect((await cli(['read', dump], { stdout: stream })).code).toBe(0);
    expect(await of('-', other, stream)).toEqual(await of(dump, out));
    expect(describeTree(other)).toEqual(describeTree(out));
  });

  it('takes one that has memory alone', async () => {
    const dir = tempDir();
    const [path, out] = [join(dir, 'stream'), join(dir, 'out')];
    const dump = await Dump.open(new DirectoryFiles(copyFixture('mosaic-criu-4.2.1', dir)));
    const fd = openSync(path, 'w');
    let isFile = false;
    const memoryAlone = function* (record: DumpRecord) {
      if (record.type === 'file') isFile = true;
      else if (record.type !== 'bytes' && record.type !== 'extents') isFile = false;
      if (!isFile) yield record;
    };
    await pump(dump.records(), [memoryAlone], new StreamSink(fd));
    dump.close();
    closeSync(fd);
    const run = await cli(['make-lazy', '-', out, '--json'], { stdin: path });
    expect(run.code, run.stderr).toBe(0);
    expect(JSON.parse(run.stdout).spaces.map(({ pid, comm }: { pid?: number; comm?: string }) => [pid, comm])).toEqual([
      [15, ''],
      [undefined, undefined],
    ]);
    expect(readdirSync(out)).not.toContain('pstree.img');
  });
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
        { numRuns: 10 },
      );
    });
  }

  it('cuts compressed entries between blocks, and refuses where a block is lazy in part', async () => {
    const dir = tempDir();
    const outcomes = { made: 0, refused: 0 };
    const law = fc.asyncProperty(generatedDump('4.3'), fc.constantFrom(2, 3, 4), async (generated, pagesPerBlock) => {
      const spec = { ...generated, pagesPerBlock };
      const pageSize = spec.pageSize ?? 4096;
      const dump = join(dir, `dump-${outcomes.made}-${outcomes.refused}`);
      writeDump(dump, spec);
      const rules: Rules = { policy: 'vma', holes: 'flag', pageSize };
      const kept = expectLazy(dump, rules).get('pagemap-7.img')?.pages;
      const mixed = spec.tasks[0]?.entries?.some(({ vaddr, pages }) => {
        const isKept = (page: number) => kept?.has(vaddr + BigInt(page * pageSize)) === true;
        return Array.from({ length: pages }, (_, page) => page).some(
          (page) => isKept(page) !== isKept(page - (page % pagesPerBlock)),
        );
      });
      const more = ['--page-size', String(pageSize)];
      if (mixed) {
        const run = await cli(['make-lazy', dump, `${dump}-out`, '--policy', 'vma', ...more]);
        expect(run.code).toBe(1);
        expect(run.stderr).toMatch(
          /^pagepipe: error: pagemap-7\.img: a compressed block would have to be cut at 0x[0-9a-f]+, where lazy and eager memory meet\n$/,
        );
        outcomes.refused++;
      } else {
        await check(dump, `${dump}-out`, rules, ...more);
        outcomes.made++;
      }
    });
    // Either may be missing among a dozen dumps.
    for (let round = 0; round < 20 && (round === 0 || Math.min(outcomes.made, outcomes.refused) === 0); round++) {
      await fc.assert(law, { numRuns: 12 });
    }
    expect(outcomes.made).toBeGreaterThan(0);
    expect(outcomes.refused).toBeGreaterThan(0);
  });
});

/** Addresses by the name of the pagemap. */
type Listed = Map<string, Set<bigint>>;

/**
 * What the oracle says, but with the listed pages in their place, without the flag LAZY. Of compressed pages the whole
 * block of a listed one stays.
 */
function expectKept(dump: string, rules: Rules, listed: Listed): Map<string, Expected> {
  const { pageSize = 4096 } = rules;
  const memory = readMemory(dump, pageSize);
  const expected = expectLazy(dump, { ...rules, holes: 'flag' });
  for (const [pagemap, { entries: before, pages }] of expected) {
    const places = new Map(
      before.flatMap((entry) =>
        Array.from({ length: entry.pages }, (_, i) => [entry.vaddr + BigInt(i * pageSize), entry]),
      ),
    );
    const entries: Expected['entries'] = [];
    for (const entry of readPagemap(join(dump, pagemap)).entries) {
      const region = entry.pagesPerBlock ?? 1;
      const addresses = Array.from({ length: entry.pages }, (_, i) => entry.vaddr + BigInt(i * pageSize));
      let last: Expected['entries'][number] | undefined;
      addresses.forEach((address, i) => {
        const block = addresses.slice(i - (i % region), i - (i % region) + region);
        const page = memory.get(pagemap)?.get(address);
        const isTaken = page !== undefined && !pages.has(address);
        const isKept = isTaken && block.some((of) => listed.get(pagemap)?.has(of));
        if (isKept) pages.set(address, page);
        const { flags, hasFlags, countField } = places.get(address) as Expected['entries'][number];
        const state = isKept
          ? { flags: entry.flags & ~PE.LAZY, hasFlags: entry.fields.includes(4) }
          : { flags, hasFlags };
        if (last?.flags === state.flags) last.pages++;
        else {
          last = { vaddr: address, pages: 1, ...state, countField };
          entries.push(last);
        }
      });
    }
    expected.set(pagemap, { entries, pages });
  }
  return expected;
}

/** The lines of a list, in no order. */
function listText(listed: Listed): string {
  const lines = Array.from(listed, ([pagemap, addresses]) => {
    const pid = /^pagemap-(\d+)\.img$/.exec(pagemap)?.[1];
    return pid === undefined ? [] : Array.from(addresses, (address) => `${pid} 0x${address.toString(16)}\n`);
  }).flat();
  return lines.sort((a, b) => (a.slice(-6) < b.slice(-6) ? -1 : 1)).join('');
}

/** Every lazy page of a dump, by the oracle. */
function lazyPages(dump: string, rules: Rules): Listed {
  const kept = expectLazy(dump, rules);
  return new Map(
    Array.from(readMemory(dump, rules.pageSize), ([pagemap, pages]) => [
      pagemap,
      new Set([...pages.keys()].filter((address) => !kept.get(pagemap)?.pages.has(address))),
    ]),
  );
}

const some = (listed: Listed, step: number): Listed =>
  new Map(
    Array.from(listed, ([pagemap, addresses]) => [pagemap, new Set([...addresses].filter((_, i) => i % step === 0))]),
  );

const AUTO: Rules = { policy: 'auto', holes: 'flag' };

describe('with an eager list', () => {
  /** Runs make-lazy with a list and holds the result against the oracle. */
  async function checkKept(dump: string, out: string, rules: Rules, listed: Listed, ...more: string[]): Promise<void> {
    const { pageSize = 4096 } = rules;
    writeFileSync(`${out}.txt`, `# pagepipe fault list 1, page size ${pageSize}\n${listText(listed)}`);
    const options = ['--policy', rules.policy, '--eager-list', `${out}.txt`, ...more];
    const run = await cli(['make-lazy', dump, out, ...options]);
    expect(run.code, run.stderr).toBe(0);
    expect(differences(expectKept(dump, rules, listed), readLazy(out, pageSize))).toEqual([]);
    for (const name of untouchedFiles(dump)) {
      expect(readFileSync(join(out, name)).equals(readFileSync(join(dump, name))), name).toBe(true);
    }
  }

  const cases = FIXTURES.flatMap((name) => GENERATIONS.map((generation) => ({ name, generation })));
  it.each(cases)('keeps listed pages of $name as $generation', async ({ name, generation }) => {
    const dump = copyFixture(name, tempDir());
    const rewritten = `${dump}-${generation}`;
    rewriteGeneration(dump, rewritten, generation);
    await checkKept(rewritten, `${dump}-out`, AUTO, some(lazyPages(rewritten, AUTO), 3));
  });

  for (const generation of GENERATIONS) {
    it(`keeps what the oracle says of generated dumps, as ${generation}`, async () => {
      const dir = tempDir();
      let count = 0;
      await fc.assert(
        fc.asyncProperty(
          generatedDump(generation),
          fc.constantFrom('auto' as const, 'flags' as const, 'vma' as const),
          fc.uniqueArray(fc.nat(60), { maxLength: 40 }),
          async (spec, policy, pages) => {
            const dump = join(dir, `dump-${count}`);
            writeDump(dump, spec);
            const { pageSize = 4096 } = spec;
            const base = spec.tasks[0]?.vmas?.[0]?.start ?? 0n;
            const addresses = pages.map((page) => base + BigInt(page * pageSize));
            const listed = new Map([['pagemap-7.img', new Set(addresses)]]);
            const more = ['--page-size', String(pageSize)];
            await checkKept(dump, join(dir, `out-${count++}`), { policy, holes: 'flag', pageSize }, listed, ...more);
          },
        ),
        { numRuns: 10 },
      );
    });
  }

  it('keeps whole blocks of compressed pages', async () => {
    const dir = tempDir();
    let count = 0;
    let whole = 0;
    await fc.assert(
      fc.asyncProperty(
        generatedDump('4.3'),
        fc.constantFrom(2, 3, 4),
        fc.uniqueArray(fc.nat(40), { maxLength: 8 }),
        async (generated, pagesPerBlock, pages) => {
          // One kind of memory: where lazy and eager pages share a block, the dump is refused.
          const [task] = generated.tasks;
          const vmas = (task?.vmas ?? []).map((vma) => (vma.status & STATUS.GUARD ? vma : { ...vma, ...ANON }));
          const tasks = [{ pid: 7, vmas, entries: task?.entries ?? [] }];
          const { pageSize = 4096 } = generated;
          const dump = join(dir, `dump-${count}`);
          writeDump(dump, { ...generated, tasks, pagesPerBlock });
          const base = vmas[0]?.start ?? 0n;
          const listed = new Map([['pagemap-7.img', new Set(pages.map((page) => base + BigInt(page * pageSize)))]]);
          const rules: Rules = { policy: 'vma', holes: 'flag', pageSize };
          await checkKept(dump, join(dir, `out-${count++}`), rules, listed, '--page-size', String(pageSize));
          const kept = expectKept(dump, rules, listed).get('pagemap-7.img')?.pages ?? new Map();
          if ([...kept.keys()].some((address) => !listed.get('pagemap-7.img')?.has(address))) whole++;
        },
      ),
      { numRuns: 12 },
    );
    expect(whole).toBeGreaterThan(0);
  });

  it('takes everything out if the list is empty', async () => {
    const dump = copyFixture('family-criu-4.2.1', tempDir());
    writeFileSync(`${dump}.txt`, '');
    expect((await cli(['make-lazy', dump, `${dump}-a`])).code).toBe(0);
    expect((await cli(['make-lazy', dump, `${dump}-b`, '--eager-list', `${dump}.txt`])).code).toBe(0);
    expect(describeTree(`${dump}-b`)).toEqual(describeTree(`${dump}-a`));
  });

  it.each(FIXTURES)('takes nothing out of %s if every page is listed', async (name) => {
    const dump = copyFixture(name, tempDir());
    writeFileSync(`${dump}.txt`, listText(lazyPages(dump, AUTO)));
    const run = await cli(['make-lazy', dump, `${dump}-out`, '--eager-list', `${dump}.txt`, '--json']);
    const { total } = JSON.parse(run.stdout) as { total: { taken: { pages: number } } };
    expect(total.taken.pages).toBe(0);
    for (const [pagemap, { entries, pages }] of readLazy(`${dump}-out`)) {
      expect(pages).toEqual(readMemory(dump).get(pagemap));
      if (!pagemap.includes('shmem')) {
        expect(entries.filter(({ flags }) => (flags & (PE.PRESENT | PE.LAZY)) === (PE.PRESENT | PE.LAZY))).toEqual([]);
      }
    }
  });

  it('makes the same by five processes, and by run', async () => {
    const dir = tempDir();
    const dump = copyFixture('family-criu-4.2.1', dir);
    const list = join(dir, 'faults.txt');
    writeFileSync(list, listText(some(lazyPages(dump, AUTO), 2)));
    expect((await cli(['make-lazy', dump, join(dir, 'direct'), '--eager-list', list])).code).toBe(0);

    const pipelines = [
      [['classify', '--eager-list', list], ['filter', '--drop', 'lazy'], ['rebuild']],
      [['run', `classify --eager-list ${list} | filter --drop lazy | rebuild`]],
    ];
    for (const [i, stages] of pipelines.entries()) {
      let stream = join(dir, `${i}-read`);
      expect((await cli(['read', dump], { stdout: stream })).code).toBe(0);
      for (const words of stages) {
        const next = join(dir, `${i}-${words[0]}`);
        const run = await cli(words, { stdin: stream, stdout: next });
        expect(run.code, run.stderr).toBe(0);
        stream = next;
      }
      expect((await cli(['write', join(dir, `piped-${i}`)], { stdin: stream })).code).toBe(0);
      expect(describeTree(join(dir, `piped-${i}`))).toEqual(describeTree(join(dir, 'direct')));
    }
  });

  it('says what of the list it could not use, and how such a dump is served', async () => {
    const dump = copyFixture('family-criu-4.2.1', tempDir());
    const lazy = lazyPages(dump, AUTO).get('pagemap-15.img') ?? new Set();
    const eager =
      [...(readMemory(dump).get('pagemap-15.img')?.keys() ?? [])].find((address) => !lazy.has(address)) ?? 0n;
    const addresses = [...[...lazy].slice(0, 5), eager, 0x1000n, 0x2000n];
    const listed = addresses.map((address) => `15 0x${address.toString(16)}\n`);
    writeFileSync(`${dump}.txt`, `${listed.join('')}99 0x1000\n`);
    const run = await cli(['make-lazy', dump, `${dump}-out`, '--eager-list', `${dump}.txt`]);
    expect(run.code).toBe(0);
    expect(run.stdout).toBe('');
    const lines = run.stderr.split('\n');
    expect(lines.slice(0, 2)).toEqual([
      `pagepipe: warning: ${dump}.txt: 1 listed page left out: the dump does not have process 99`,
      `pagepipe: note: ${dump}.txt: of the listed pages 1 stay in any case, and 2 are not in the dump`,
    ]);
    expect(run.stderr.slice(run.stderr.indexOf('  pagepipe lazy-pages '))).toBe(
      `  pagepipe lazy-pages ${dump} -W ${dump}-out -d\n` +
        `  criu restore --lazy-pages -D ${dump}-out -W ${dump}-out -d\n` +
        'note: not with criu lazy-pages on DUMP: it would try forever to deliver the kept pages\n' +
        'warning: never restore this directory without --lazy-pages: its lazy pages are not in it, and CRIU would spin forever, or restore a process that computes on zeros\n',
    );
  });

  it.each<[text: string, error: string, hint?: string]>([
    ['7 0x1000\nnonsense\n', 'line 2: expected PID 0xADDRESS, found "nonsense"'],
    ['7 0x1001\n', 'line 1: expected the address of a page of 4096 bytes, found 0x1001'],
    ['# pagepipe fault list 9\n', 'line 1: expected a fault list of version 1, found 9'],
    [
      '# pagepipe fault list 1, page size 65536\n7 0x10000\n',
      'expected a list of pages of 4096 bytes, as the dump has, found 65536',
      'a list of that size begins with "# pagepipe fault list 1, page size 4096"',
    ],
  ])('refuses the list %j, and leaves nothing', async (text, error, hint) => {
    const said = (name: string) =>
      `${name}: error: ${list}: ${error}\n${hint === undefined ? '' : `${name}: hint: ${hint}\n`}`;
    const dir = tempDir();
    const dump = copyFixture('mosaic-criu-4.2.1', dir);
    const list = join(dir, 'faults.txt');
    writeFileSync(list, text);
    const direct = await cli(['make-lazy', dump, join(dir, 'out'), '--eager-list', list]);
    expect(direct).toEqual({ code: 1, stdout: '', stderr: said('pagepipe') });
    expect(existsSync(join(dir, 'out'))).toBe(false);

    expect((await cli(['read', dump], { stdout: join(dir, 'stream') })).code).toBe(0);
    const stage = await cli(['classify', '--eager-list', list], { stdin: join(dir, 'stream') });
    expect(stage).toMatchObject({ code: 1, stderr: said('pagepipe classify') });
  });

  it('refuses a list that is not there or is no file, and holes that nobody could fill', async () => {
    const dir = tempDir();
    const dump = copyFixture('mosaic-criu-4.2.1', dir);
    const run = (list: string, ...more: string[]) =>
      cli(['make-lazy', dump, join(dir, 'out'), '--eager-list', list, ...more]);
    expect(await run(join(dir, 'none'))).toMatchObject({
      code: 1,
      stderr: `pagepipe: error: ${join(dir, 'none')}: no such file or directory (ENOENT)\n`,
    });
    expect(await run(dir)).toMatchObject({ code: 1, stderr: `pagepipe: error: ${dir}: is a directory (EISDIR)\n` });
    writeFileSync(join(dir, 'faults.txt'), '');
    const dropped = await run(join(dir, 'faults.txt'), '--holes', 'drop');
    expect(dropped.code).toBe(2);
    expect(dropped.stderr).toBe(
      'pagepipe: --eager-list needs --holes flag: a page server needs the flagged holes\npagepipe: hint: pagepipe make-lazy --help\n',
    );
    expect(existsSync(join(dir, 'out'))).toBe(false);
  });
});
