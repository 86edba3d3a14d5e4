import { rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeEach, describe, expect, test } from 'vitest';
import { printPages, printPagesJson } from '../../src/explore/rss.js';
import { compressed, GENERATIONS, Message, pagemapEntry } from '../helpers/dump-writer.js';
import { tempDir } from '../helpers/temp.js';
import { dataOf, errorOf, textOf } from './harness.js';
import { type AreaSpec, image, mm, oneProcess, pagemap, run } from './images.js';

let dump: string;
beforeEach(() => {
  dump = join(tempDir(), 'dump');
});

describe('rss', () => {
  const AREAS: AreaSpec[] = [
    { start: 0x10000n, end: 0x13000n, shmid: 1n, status: 0x41, flags: 2 },
    { start: 0x13000n, end: 0x20000n },
    { start: 0x30000n, end: 0x40000n, status: 0x221 },
  ];
  const GUARD: AreaSpec = { start: 0x14000n, end: 0x15000n, status: 0x10200 };
  const write = (areas: AreaSpec[], runs: Message[]) =>
    oneProcess(dump, { 'mm-7.img': image('MM', [mm(4, areas)]), 'pagemap-7.img': pagemap(runs) });

  test('entries, and the areas that they touch', () => {
    write(AREAS, [run(0x10000n, 1), run(0x12000n, 2), run(0x14000n, 1), run(0x1f000n, 0x12)]);
    expect(textOf(dump, printPages)).toBe(
      [
        '7\n',
        '\t10000 / 1               00010000 / 3        /dev/null\n\t                       \n',
        '\t12000 / 2               ~\n\t                        00013000 / 13      \n\t                       \n',
        '\t14000 / 1               ~\n\t                       \n',
        '\t1f000 / 18              ~\n\t                        00030000 / 16      \n\t                       \n',
      ].join(''),
    );
  });

  test('an entry in no area, wherever', () => {
    write(AREAS, [run(0x1000n, 1), run(0x10000n, 1), run(0x22000n, 1), run(0x30000n, 1), run(0x50000n, 1)]);
    expect(textOf(dump, printPages).match(/^\t[\da-f]+ .*/gm)).toEqual([
      `\t1000 / 1               `,
      '\t10000 / 1               00010000 / 3        /dev/null',
      `\t22000 / 1              `,
      '\t30000 / 1               00030000 / 16      ',
      `\t50000 / 1              `,
    ]);
  });

  test('JSON: entries are cut where areas end', () => {
    write(
      [...AREAS, GUARD],
      [run(0x1000n, 1), run(0x12000n, 3, 6), run(0x16000n, 0x2b, 2), run(0xffffffffff600000n, 1, 1)],
    );
    expect(dataOf(dump, printPagesJson)).toEqual([
      {
        pid: 7,
        areas: [
          nowhere({ start: '0x1000', pages: 1, flags: ['PRESENT'] }),
          {
            start: '0x10000',
            end: '0x13000',
            kind: 'file-private',
            file: '/dev/null',
            runs: [{ start: '0x12000', pages: 1, flags: ['LAZY', 'PRESENT'] }],
            pages: 1,
          },
          {
            start: '0x13000',
            end: '0x20000',
            kind: 'anon',
            file: null,
            runs: [
              { start: '0x13000', pages: 2, flags: ['LAZY', 'PRESENT'] },
              { start: '0x16000', pages: 10, flags: ['LAZY'] },
            ],
            pages: 12,
          },
          nowhere({ start: '0x20000', pages: 16, flags: ['LAZY'] }),
          {
            start: '0x30000',
            end: '0x40000',
            kind: 'heap',
            file: null,
            runs: [{ start: '0x30000', pages: 16, flags: ['LAZY'] }],
            pages: 16,
          },
          {
            ...nowhere({ start: '0x40000', pages: 1, flags: ['LAZY'] }),
            runs: [
              { start: '0x40000', pages: 1, flags: ['LAZY'] },
              { start: '0xffffffffff600000', pages: 1, flags: ['PARENT'] },
            ],
            pages: 2,
          },
        ],
        pages: 48,
      },
    ]);
  });

  const nowhere = (only: { start: string; pages: number; flags: string[] }) => ({
    start: null,
    end: null,
    kind: 'unknown',
    file: null,
    runs: [only],
    pages: only.pages,
  });

  test('areas out of order, upside down or on top of each other', () => {
    const odd = [
      AREAS[2],
      { start: 0x38000n, end: 0x31000n },
      AREAS[0],
      AREAS[0],
      { start: 0x1n, end: 0x12345n },
    ] as AreaSpec[];
    write(odd, [run(0x10000n, 0x100), run(0x5000n, 2 ** 40), run(0x10000n, 0)]);
    expect(textOf(dump, printPages)).toContain('\t10000 / 256');
    const [process] = dataOf(dump, printPagesJson) as [{ pages: number; areas: { pages: number }[] }];
    expect(process.areas.reduce((sum, { pages }) => sum + pages, 0)).toBe(process.pages);
  });

  test.each(GENERATIONS)('counts and flags of generation %s', (generation) => {
    const form = { generation, pageSize: 4096 };
    write(AREAS, [
      pagemapEntry(
        { vaddr: 0x10000n, pages: 2 },
        form,
        generation === '4.3' ? compressed(new Uint8Array(8192), 1) : undefined,
      ),
      pagemapEntry({ vaddr: 0x14000n, pages: 3, inParent: true }, form, undefined),
    ]);
    const counts = [...textOf(dump, printPages).matchAll(/^\t([\da-f]+) \/ (\d+)/gm)].map(([, start, pages]) => [
      start,
      pages,
    ]);
    expect(counts).toEqual([
      ['10000', '2'],
      ['14000', '3'],
    ]);
    const [process] = dataOf(dump, printPagesJson) as [{ areas: { runs: { flags: string[] }[] }[] }];
    const flags = process.areas.map(({ runs }) => runs[0]?.flags);
    expect(flags[0]).toEqual(['PRESENT']);
    expect(flags[1]).toContain('PARENT');
  });

  test('fields and flags that nobody knows change nothing here', () => {
    write(AREAS, [run(0x10000n, 2, 4 | 8).field(20, 'blocks')]);
    expect(textOf(dump, printPages)).toContain('\t10000 / 2 ');
    expect(dataOf(dump, printPagesJson)).toMatchObject([{ areas: [{ runs: [{ flags: ['PRESENT'] }] }] }]);
  });

  test('counts of 64 bits', () => {
    write(AREAS, [run(0x10000n, 2n ** 64n - 1n)]);
    expect(textOf(dump, printPages)).toContain('\t10000 / 18446744073709551615 00010000 / 3 ');
    expect(dataOf(dump, printPagesJson)).toMatchObject([{ pages: 2 ** 64 }]);
  });

  test('larger pages, if they are said', () => {
    const areas = [
      { start: 0x100000n, end: 0x120000n },
      { start: 0x120000n, end: 0x140000n },
    ];
    write(areas, [run(0x100000n, 3)]);
    expect(textOf(dump, printPages)).not.toContain('00120000');
    expect(textOf(dump, printPages, 65536)).toContain(
      '\t100000 / 3              00100000 / 2       \n\t                        00120000 / 2       \n',
    );
    expect(dataOf(dump, printPagesJson, 65536)).toMatchObject([
      { areas: [{ pages: 2 }, { pages: 1, runs: [{ start: '0x120000' }] }], pages: 3 },
    ]);
  });

  test('no entries, no areas', () => {
    write([], []);
    expect(textOf(dump, printPages)).toBe('7\n');
    expect(dataOf(dump, printPagesJson)).toEqual([{ pid: 7, areas: [], pages: 0 }]);
    writeFileSync(join(dump, 'pagemap-7.img'), image('PAGEMAP', []));
    expect(textOf(dump, printPages)).toBe('7\n');
    write([], [run(0x1000n, 1)]);
    expect(textOf(dump, printPages)).toBe('7\n\t1000 / 1               \n');
  });

  test('what is missing or wrong', () => {
    write(AREAS, []);
    rmSync(join(dump, 'pagemap-7.img'));
    for (const explore of [printPages, printPagesJson]) {
      expect(errorOf(dump, explore)).toBe(
        'MISSING_IMAGE pagemap-7.img: expected this image, named by pstree.img, found none',
      );
    }
    write(AREAS, [run(0x10000n, 1), new Message().int(2, 1)]);
    expect(errorOf(dump, printPages)).toBe(
      'MALFORMED pagemap-7.img@0x20 entry 1: expected the required field vaddr of pagemap_entry, found none',
    );
    writeFileSync(join(dump, 'pagemap-7.img'), pagemap([run(0x10000n, 1)]).subarray(0, -1));
    expect(errorOf(dump, printPages)).toBe(
      'TRUNCATED pagemap-7.img@0xe entry 0: expected an entry of 14 bytes with its size, found 13',
    );
  });
});
