/** split and merge of directories: each page in one half, and the dump again byte for byte; what is refused. */
import { closeSync, constants, copyFileSync, openSync, readdirSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { cli, type InProcessOptions } from './helpers/cli.js';
import {
  ANON,
  type EntrySpec,
  image,
  Message,
  PE,
  pagemapEntry,
  readMemory,
  writeDump,
} from './helpers/dump-writer.js';
import { makePipe } from './helpers/pipe.js';
import { copyFixture, describeTree, FIXTURES, fixture, openFiles, tempDir } from './helpers/temp.js';

const DUMP = 'mosaic-criu-4.2.1';

const NEVER =
  /^(pagepipe: warning: \S+: never restore this directory without --lazy-pages: its lazy pages are not in it, and CRIU would spin forever, or restore a process that computes on zeros\n)?$/;

async function run(words: readonly string[], options: InProcessOptions = {}): Promise<void> {
  const { code, stderr } = await cli(words, options);
  // Split says how to restore, and merge warns of a dump that was lazy before it was split.
  const said = words[0] === 'split' ? /^size {2}[^\n]+ in HOT/ : NEVER;
  expect({ code, stderr }).toEqual({ code: 0, stderr: expect.stringMatching(said) });
}

async function split(name: string, ...options: string[]) {
  const dump = copyFixture(name, tempDir());
  // Beside the dump, so that the link to a parent leads there from all of them.
  const [hot, cold, out] = ['hot', 'cold', 'merged'].map((part) => join(dump, '..', part)) as [string, string, string];
  await run(['split', dump, hot, cold, ...options]);
  return { dump, hot, cold, out };
}

describe.each(FIXTURES)('%s', (name) => {
  it.each(['auto', 'flags', 'vma'])('is the same again, policy %s', async (policy) => {
    const { dump, hot, cold, out } = await split(name, '--policy', policy);
    const before = describeTree(dump);
    await run(['merge', hot, cold, out]);
    expect(describeTree(out)).toEqual(before);
    expect(describeTree(dump)).toEqual(before);
    expect(openFiles(join(dump, '..'))).toEqual([]);
  });

  it('has each page in one half, and in the hot one what make-lazy gives', async () => {
    const { dump, hot, cold } = await split(name);
    const lazy = join(dump, '..', 'lazy');
    expect((await cli(['make-lazy', dump, lazy])).code).toBe(0);
    expect(describeTree(hot)).toEqual(describeTree(lazy));
    const [all, inHot, inCold] = [dump, hot, cold].map((directory) => readMemory(directory)) as [
      ReturnType<typeof readMemory>,
      ReturnType<typeof readMemory>,
      ReturnType<typeof readMemory>,
    ];
    const wrong: string[] = [];
    for (const [pagemap, whole] of all) {
      const halves = [inHot, inCold].map((half) => half.get(pagemap) ?? new Map<bigint, Uint8Array>());
      for (const [address, page] of whole) {
        const [holder, ...others] = halves.filter((half) => half.has(address));
        const isRight = others.length === 0 && Buffer.compare(holder?.get(address) ?? new Uint8Array(0), page) === 0;
        if (!isRight) wrong.push(`${pagemap} 0x${address.toString(16)}`);
      }
      expect(halves.reduce((sum, half) => sum + half.size, 0)).toBe(whole.size);
    }
    expect(wrong).toEqual([]);
    expect([...inCold.values()].reduce((sum, pages) => sum + pages.size, 0)).toBeGreaterThan(0);
  });
});

it('has in the cold half what serve and the daemon need, and the pagemaps as they were', async () => {
  const { dump, cold } = await split('family-criu-4.2.1');
  const wanted = readdirSync(dump).filter((name) => /^(inventory|pstree|core-.*|mm-.*)\.img$/.test(name));
  const pagemaps = readdirSync(dump).filter((name) => name.startsWith('pagemap-'));
  const ofTasks = pagemaps.filter((name) => !name.includes('shmem'));
  const pages = readdirSync(cold).filter((name) => name.startsWith('pages-'));
  expect(pages).toHaveLength(ofTasks.length);
  const originals = pagemaps.map((name) => `original-${name}`);
  expect(readdirSync(cold).sort()).toEqual([...wanted, ...ofTasks, ...pages, ...originals].sort());
  const contents = (folder: string, names: string[]) =>
    describeTree(folder)
      .filter((line) => names.includes(line.replace(/ .*/, '')))
      .map((line) => line.replace(/^original-/, ''));
  expect(contents(cold, originals)).toEqual(contents(dump, pagemaps));
});

it('splits a hot half once more, and no cold half', async () => {
  const { hot, cold } = await split(DUMP);
  const at = (name: string) => join(hot, '..', name);
  await run(['split', hot, at('hot2'), at('cold2')]);
  await run(['merge', at('hot2'), at('cold2'), at('hot3')]);
  expect(describeTree(at('hot3'))).toEqual(describeTree(hot));
  const { code, stderr } = await cli(['split', cold, at('a'), at('b')]);
  expect([code, stderr]).toEqual([
    1,
    'pagepipe: error: original-pagemap-15.img: expected a whole dump, found the cold half of a split one\n',
  ]);
  expect(readdirSync(at('.')).filter((name) => /^\.?[ab]\b/.test(name))).toEqual([]);
});

/** One process with twelve pages, the first four of which are to be lazy, and its halves by hand. */
function halvesByHand({ hot, cold, original }: { hot: EntrySpec[]; cold: EntrySpec[]; original?: EntrySpec[] }) {
  const dir = tempDir();
  const make = (name: string, entries: EntrySpec[]) => {
    writeDump(join(dir, name), {
      tasks: [{ pid: 7, vmas: [{ start: 0x10000n, end: 0x100000n, ...ANON }], entries }],
    });
    return join(dir, name);
  };
  const whole = make('whole', original ?? WHOLE);
  const paths = { hot: make('hot', hot), cold: make('cold', cold), out: join(dir, 'out') };
  copyFileSync(join(whole, 'pagemap-7.img'), join(paths.cold, 'original-pagemap-7.img'));
  return { ...paths, whole, dir };
}

const entry = (page: number, pages: number, flags: number): EntrySpec => ({
  vaddr: BigInt(page * 4096),
  pages,
  flags,
});
const LAZY = PE.LAZY | PE.PRESENT;
const WHOLE = [entry(16, 4, LAZY), entry(20, 8, PE.PRESENT), entry(40, 1, PE.LAZY)];
const HOT = [entry(16, 4, PE.LAZY), entry(20, 8, PE.PRESENT), entry(40, 1, PE.LAZY)];
const COLD = [entry(16, 4, LAZY), entry(40, 1, PE.LAZY)];

describe('halves by hand', () => {
  it.each([
    ['as split makes them', HOT, COLD],
    [
      'cut in other places',
      [entry(16, 1, PE.LAZY), entry(17, 3, PE.LAZY), ...HOT.slice(1)],
      [entry(16, 3, LAZY), entry(19, 1, LAZY)],
    ],
    [
      'with another page lazy',
      [...HOT.slice(0, 1), entry(20, 3, PE.PRESENT), entry(23, 1, PE.LAZY), entry(24, 4, PE.PRESENT), ...HOT.slice(2)],
      [entry(16, 4, LAZY), entry(23, 1, PE.PRESENT)],
    ],
  ])('%s are merged', async (_, hotEntries, coldEntries) => {
    const { hot, cold, out, whole } = halvesByHand({ hot: hotEntries, cold: coldEntries });
    await run(['merge', hot, cold, out]);
    expect(describeTree(out)).toEqual(describeTree(whole));
  });

  it.each<[string, EntrySpec[], EntrySpec[], string]>([
    ['a page in both', [entry(16, 4, LAZY), ...HOT.slice(1)], COLD, '0x10000 is in both halves'],
    ['a page in both, inside a run', HOT, [entry(16, 4, LAZY), entry(22, 1, LAZY)], '0x16000 is in both halves'],
    ['a page in neither', HOT, [entry(16, 3, LAZY)], '0x13000 is in neither half'],
    ['pages that only the hot half has', [...HOT, entry(50, 1, PE.PRESENT)], COLD, '0x32000 is only in the hot half'],
    [
      'a hole that only the hot half has',
      [entry(15, 5, PE.LAZY), ...HOT.slice(1)],
      COLD,
      '0xf000 is only in the hot half',
    ],
    [
      'pages where there were none',
      [...HOT.slice(0, 2), entry(40, 1, PE.PRESENT)],
      COLD,
      '0x28000 is only in the hot half',
    ],
    [
      'pages that only the cold half has',
      HOT,
      [...COLD.slice(0, 1), entry(30, 1, LAZY)],
      '0x1e000 is only in the cold half',
    ],
    [
      'pages behind all others in the cold half',
      HOT,
      [...COLD, entry(60, 1, LAZY)],
      '0x3c000 is only in the cold half',
    ],
    [
      'cold pages where there were none',
      HOT,
      [...COLD.slice(0, 1), entry(40, 1, LAZY)],
      '0x28000 is only in the cold half',
    ],
    ['no entry in the hot half', HOT.slice(0, 2), COLD, '0x28000 is in neither half'],
    ['no entries in the hot half', [], COLD, '0x10000 is in neither half'],
    ['no first entry in the hot half', HOT.slice(1), COLD, '0x10000 is in neither half'],
  ])('%s: refused', async (_, hotEntries, coldEntries, found) => {
    const { hot, cold, out, dir } = halvesByHand({ hot: hotEntries, cold: coldEntries });
    const { code, stderr } = await cli(['merge', hot, cold, out]);
    expect([code, stderr]).toEqual([
      1,
      `pagepipe: error: pagemap-7.img: the halves are not from one dump: page ${found}\n`,
    ]);
    expect(readdirSync(dir).filter((name) => name.includes('out'))).toEqual([]);
    expect(openFiles(dir)).toEqual([]);
  });
});

describe('halves that do not belong together', () => {
  async function refused({ hot, cold, out }: Record<'hot' | 'cold' | 'out', string>, error: string) {
    const { code, stderr } = await cli(['merge', hot, cold, out]);
    expect([code, stderr]).toEqual([1, `pagepipe: error: ${error}\n`]);
    expect(readdirSync(join(out, '..')).filter((name) => name.includes('merged'))).toEqual([]);
  }

  it('a hot half for a cold one, and a cold one for a hot one', async () => {
    const { hot, cold, out } = await split(DUMP);
    await refused(
      { hot, cold: hot, out },
      `${hot}: not the cold half of a split dump: it has no original-pagemap-*.img`,
    );
    await refused(
      { hot: cold, cold, out },
      'pagemap-15.img: the halves are not from one dump: page 0x401000 is in neither half',
    );
  });

  it('a cold half without its pagemap, its pages or an original', async () => {
    for (const [name, why] of [
      ['pagemap-15.img', 'expected this image, named by original-pagemap-15.img, found none'],
      ['pages-2.img', 'expected this image, found none'],
      ['original-pagemap-15.img', 'the cold half has no such pagemap'],
    ] as const) {
      const { hot, cold, out } = await split('family-criu-4.2.1');
      rmSync(join(cold, name));
      await refused({ hot, cold, out }, `${name}: ${why}`);
    }
  });

  it('a cold half with a pagemap more, and a hot half with another pages_id', async () => {
    const { hot, cold, out } = await split('family-criu-4.2.1');
    copyFileSync(join(cold, 'original-pagemap-15.img'), join(cold, 'original-pagemap-9999.img'));
    await refused({ hot, cold, out }, 'original-pagemap-9999.img: the hot half has no space of this pagemap');
    const { hot: other, cold: itsCold, out: itsOut, whole } = halvesByHand({ hot: HOT, cold: COLD });
    writeDump(whole, { tasks: [{ pid: 7, vmas: [], entries: WHOLE, pagesId: 5 }] });
    copyFileSync(join(whole, 'pagemap-7.img'), join(itsCold, 'original-pagemap-7.img'));
    const hotAndCold = { hot: other, cold: itsCold, out: itsOut };
    await refused(hotAndCold, 'original-pagemap-7.img: the halves are not from one dump: they differ in pagemap_head');
  });

  it('halves of different dumps', async () => {
    const { hot } = await split(DUMP);
    const { cold, out } = await split('family-criu-4.2.1');
    await refused({ hot, cold, out }, 'original-pagemap-shmem-1181.img: the cold half has no such pagemap');
  });

  it('halves compressed in different ways', async () => {
    const dir = tempDir();
    const make = (name: string, flags: number, pagesPerBlock?: number) => {
      const entries = [entry(16, 4, flags), entry(20, 4, PE.PRESENT)];
      const vmas = [{ start: 0x10000n, end: 0x100000n, ...ANON }];
      const generation = pagesPerBlock === undefined ? '4.2' : '4.3';
      writeDump(join(dir, name), {
        tasks: [{ pid: 7, vmas, entries }],
        generation,
        ...(pagesPerBlock ? { pagesPerBlock } : {}),
      });
    };
    make('dump', LAZY, 2);
    await run(['split', join(dir, 'dump'), join(dir, 'hot'), join(dir, 'cold')]);
    for (const [i, pagesPerBlock] of [4, undefined].entries()) {
      make(`other${i}`, LAZY, pagesPerBlock);
      await run(['split', join(dir, `other${i}`), join(dir, `hot${i}`), join(dir, `cold${i}`)]);
      copyFileSync(join(dir, 'cold/original-pagemap-7.img'), join(dir, `cold${i}/original-pagemap-7.img`));
      const { code, stderr } = await cli(['merge', join(dir, 'hot'), join(dir, `cold${i}`), join(dir, 'out')]);
      expect([code, stderr]).toEqual([
        1,
        'pagepipe: error: pagemap-7.img: the halves are not from one dump: page 0x10000 is compressed differently than in the original\n',
      ]);
    }
  });
});

describe('what is refused', () => {
  const usage = async (words: string[], error: string, options: InProcessOptions = {}) => {
    const { code, stderr } = await cli(words, options);
    expect([code, stderr]).toEqual([2, `pagepipe: ${error}\npagepipe: hint: pagepipe ${words[0]} --help\n`]);
  };
  const failed = async (words: string[], error: string) => {
    const { code, stderr } = await cli(words);
    expect([code, stderr]).toEqual([1, `pagepipe: error: ${error}\n`]);
  };

  it('a wrong command line', async () => {
    const dir = tempDir();
    const at = (name: string) => join(dir, name);
    const dump = fixture(DUMP);
    const toStdout = 'only one half can go to stdout';
    const twoPlaces = 'HOT and COLD must be two places, neither of them inside the other';
    await usage(
      ['split', dump, at('hot'), at('cold'), '--policy', 'seed'],
      '--policy: expected auto, flags, vma, found "seed"',
    );
    await usage(['split', dump, at('hot'), '--cold', 'x'], '--cold takes only -; any other COLD is the third argument');
    await usage(['split', dump, '-', '-'], toStdout);
    await usage(['split', dump, '-', '--cold', '-'], toStdout);
    const terminal = 'refusing to write binary data to a terminal; pipe it, or send it to a file';
    await usage(['split', dump, at('hot'), '--cold', '-'], terminal, { stdoutIsTerminal: true });
    await usage(['split', dump, at('hot'), at('hot/'), '--force'], twoPlaces);
    await usage(['split', dump, at('hot'), at('hot/cold')], twoPlaces);
    await usage(['split', dump, `${at('a')},${at('b')}`, `${at('c')},${at('a')}`, '--to', 'shards'], twoPlaces);
    await usage(['merge', '-', '-', at('out')], 'only one half can come from stdin');
    expect(readdirSync(dir)).toEqual([]);
  });

  it('places that are taken, before anything is written', async () => {
    const { dump, hot, cold, out } = await split(DUMP);
    const dir = join(dump, '..');
    const before = describeTree(dir);
    const taken = 'expected a new or empty directory, found files in it\npagepipe: hint: use --force to replace it';
    await failed(['split', dump, hot, join(dir, 'new')], `${hot}: ${taken}`);
    await failed(['split', dump, join(dir, 'new'), cold], `${cold}: ${taken}`);
    const inside = `${join(dump, 'x')}: the output must be outside of what is read: ${dump}`;
    await failed(['split', dump, join(dump, 'x'), join(dir, 'new')], inside);
    await failed(['split', dump, join(dir, 'new'), join(dump, 'x')], inside);
    await failed(['split', dump, join(dir, 'new'), join(dump, 'x'), '--to', 'tar'], inside);
    for (const half of [hot, cold]) {
      for (const place of [half, join(half, 'x')]) {
        const error = `${place}: the output must be outside of what is read: ${half}`;
        await failed(['merge', hot, cold, place, '--force'], error);
      }
    }
    expect(describeTree(dir)).toEqual(before);
    await run(['split', dump, hot, cold, '--force']);
    await run(['merge', hot, cold, out]);
    expect(describeTree(out)).toEqual(describeTree(dump));
  });

  it('pages that are said to be here and in the parent', async () => {
    const dir = tempDir();
    const at = (name: string) => join(dir, name);
    const vmas = [{ start: 0x10000n, end: 0x100000n, ...ANON }];
    writeDump(at('dump'), { tasks: [{ pid: 7, vmas, entries: [entry(16, 1, LAZY)] }] });
    symlinkSync('.', at('dump/parent'));
    const both = pagemapEntry(entry(16, 1, PE.PARENT | LAZY), { generation: '4.2', pageSize: 4096 }, undefined);
    writeFileSync(at('dump/pagemap-7.img'), image('PAGEMAP', [new Message().int(1, 1), both]));
    const { code, stderr } = await cli(['split', at('dump'), at('hot'), at('cold')]);
    expect([code, stderr]).toEqual([
      1,
      `pagepipe: warning: ${at('hot')} is complete, but ${at('cold')} is not\n` +
        'pagepipe: error: pagemap-7.img: some pages are both in the dump and in its parent\n',
    ]);
  });
});

describe('halves of which one fails', () => {
  it('says that the hot one is complete', async () => {
    const dir = tempDir();
    const words = ['split', fixture(DUMP), join(dir, 'hot'), '/dev/full'];
    const { code, stderr } = await cli([...words, '--to', 'tar']);
    expect([code, stderr]).toEqual([
      75,
      `pagepipe: warning: ${join(dir, 'hot')} is complete, but /dev/full is not\n` +
        'pagepipe: error: /dev/full: no space left on device (ENOSPC)\n',
    ]);
    expect(readdirSync(dir)).toEqual(['hot']);
  });

  it('of a source that is read once, leaves neither', async () => {
    const dir = tempDir();
    await run(['read', fixture(DUMP)], { stdout: join(dir, 'stream') });
    const before = describeTree(dir);
    for (const [hot, cold] of [
      ['/dev/full', join(dir, 'half')],
      [join(dir, 'half'), '/dev/full'],
    ] as const) {
      const { code, stderr } = await cli(['split', '-', hot, cold, '--to', 'tar'], { stdin: join(dir, 'stream') });
      expect([code, stderr]).toEqual([75, 'pagepipe: error: /dev/full: no space left on device (ENOSPC)\n']);
    }
    writeFileSync(join(dir, 'cut'), Buffer.alloc(0));
    const { code } = await cli(['split', '-', join(dir, 'half'), join(dir, 'half2')], { stdin: join(dir, 'cut') });
    expect(code).toBe(1);
    rmSync(join(dir, 'cut'));
    expect(describeTree(dir)).toEqual(before);
    expect(openFiles(dir)).toEqual([]);
  });

  it('counts a reader that leaves early as a failure', async () => {
    const dir = tempDir();
    const fifo = join(dir, 'fifo');
    makePipe(fifo);
    const reader = openSync(fifo, constants.O_RDONLY | constants.O_NONBLOCK);
    const writer = openSync(fifo, 'w');
    closeSync(reader);
    const { code, stderr } = await cli(['split', fixture(DUMP), join(dir, 'hot'), '--cold', '-'], { stdoutFd: writer });
    closeSync(writer);
    expect([code, stderr]).toEqual([
      1,
      `pagepipe: warning: ${join(dir, 'hot')} is complete, but the half on stdout is not\n` +
        'pagepipe: error: stdout: the reader exited before the end\n',
    ]);
  });

  it('hears an interruption', async () => {
    const dir = tempDir();
    const controller = new AbortController();
    controller.abort(new Error('stop'));
    const { signal } = controller;
    const { stderr } = await cli(['split', fixture(DUMP), join(dir, 'hot'), join(dir, 'cold')], { signal });
    // The reason is an error of the test.
    expect(stderr.split('\n')[0]).toBe('pagepipe: bug: Error: stop');
    expect(readdirSync(dir)).toEqual([]);
  });
});
