import { rmSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { DirectoryFiles } from '../../src/containers/directory/files.js';
import { quickFindings } from '../../src/verify/verify.js';
import {
  ANON,
  FILE,
  mmImage,
  readPagemap,
  rewriteGeneration,
  STATUS,
  type VmaSpec,
  writeDump,
} from '../helpers/dump-writer.js';
import { fixture, tempDir } from '../helpers/temp.js';
import { Copy, copyOf, copyOfChain, expectElsewhere, findingsOf, type Json, linesOf } from './harness.js';

const PAGE = 4096;

/** Above all areas of mosaic but vsyscall. */
const HOLE = '0x7ffffffff000';

/** Adds an entry of one page, with its page. */
const addPage = (copy: Copy, vaddr: string, flags = 'PE_PRESENT'): Copy =>
  copy
    .edit('pagemap-15.img', (entries) => entries.push({ vaddr, nr_pages: 1, compat_nr_pages: 0, flags }))
    .resize('pages-2.img', flags.includes('PRESENT') ? PAGE : 0);

describe('pages and areas', () => {
  const area = (start: bigint, end: bigint, more: Partial<VmaSpec> = {}): VmaSpec => ({ start, end, ...ANON, ...more });

  /** What is found of the memory of a generated dump. */
  function memoryOf(vmas: VmaSpec[], entries: { vaddr: bigint; pages: number }[]): string[] {
    const out = join(tempDir(), 'dump');
    writeDump(out, { tasks: [{ pid: 7, vmas, entries }] });
    // These have no files, and addresses of 0.
    return linesOf(out).filter((line) =>
      /^(?!NO_FILE|MISSING_IMAGE|BAD_|AREAS_ORDER)\w+ (pagemap|mm)-7.img/.test(line),
    );
  }

  test('a page in a hole of a real dump, and nothing else is found', () => {
    expect(linesOf(addPage(copyOf('mosaic-criu-4.2.1'), HOLE).path)).toEqual([
      'NO_AREA pagemap-15.img entry 46: expected pages in the areas of mm-15.img, found 0x7ffffffff000 of 0x7ffffffff000-0x800000000000 in none',
    ]);
  });

  test('an entry may span areas that meet', () => {
    const vmas = [
      area(0x10000n, 0x12000n),
      area(0x12000n, 0x13000n, FILE),
      area(0x13000n, 0x20000n),
      area(0x30000n, 0x31000n),
    ];
    expect(
      memoryOf(vmas, [
        { vaddr: 0x10000n, pages: 16 },
        { vaddr: 0x30000n, pages: 1 },
      ]),
    ).toEqual([]);
  });

  test('but no gap between them, before them or behind them', () => {
    const vmas = [area(0x10000n, 0x12000n), area(0x13000n, 0x20000n)];
    const entries = [
      { vaddr: 0xe000n, pages: 1 },
      { vaddr: 0xf000n, pages: 2 },
      { vaddr: 0x11000n, pages: 3 },
      { vaddr: 0x14000n, pages: 1 },
      { vaddr: 0x1f000n, pages: 2 },
      { vaddr: 0x30000n, pages: 1 },
    ];
    const found = memoryOf(vmas, entries).map((line) => /entry (\d).*found (0x\S+) of/.exec(line)?.slice(1).join(' '));
    expect(found).toEqual(['0 0xe000', '1 0xf000', '2 0x12000', '4 0x20000', '5 0x30000']);
  });

  test('guards own no pages', () => {
    const guard = area(0x20000n, 0x22000n, { status: STATUS.GUARD });
    const [line, ...others] = memoryOf([area(0x10000n, 0x20000n), guard], [{ vaddr: 0x1f000n, pages: 2 }]);
    expect(others).toEqual([]);
    expect(line).toBe(
      'NO_AREA pagemap-7.img entry 0: expected pages in the areas of mm-7.img, found 0x20000 of 0x1f000-0x21000 in none',
    );
  });

  test('areas that overlap', () => {
    const vmas = [area(0x10000n, 0x20000n), area(0x18000n, 0x19000n), area(0x1000n, 0x2000n)];
    expect(memoryOf(vmas, [{ vaddr: 0x90000n, pages: 1 }])).toEqual([
      'AREAS_OVERLAP mm-7.img: expected areas that do not overlap, found 0x18000-0x19000 after 0x10000-0x20000',
    ]);
  });

  test('areas in an image of their own, as long ago, are not looked at', () => {
    const out = join(tempDir(), 'dump');
    writeDump(out, { tasks: [{ pid: 7, entries: [{ vaddr: 0x1000n, pages: 1 }] }] });
    writeFileSync(join(out, 'vmas-7.img'), Uint8Array.of(0x19, 0x43, 0x56, 0x54, 0x37, 0x37, 0x12, 0x54));
    writeFileSync(join(out, 'mm-7.img'), mmImage([]));
    expect(linesOf(out).filter((line) => line.includes('pagemap-7'))).toEqual([]);
  });

  test('of many findings the first hundred are told', () => {
    const copy = copyOf('mosaic-criu-4.2.1');
    copy.edit('pagemap-15.img', (entries) => {
      for (let i = 0; i < 250; i++) {
        const vaddr = `0x${(0x7ffffffff000n + BigInt(i) * 0x2000n).toString(16)}`;
        entries.push({ vaddr, nr_pages: 1, compat_nr_pages: 0, flags: 'PE_PRESENT' });
      }
    });
    copy.resize('pages-2.img', 250 * PAGE);
    const findings = findingsOf(copy.path);
    expect(findings).toHaveLength(101);
    expect(findings.filter(({ code }) => code === 'NO_AREA')).toHaveLength(100);
    expect(findings.at(-1)).toEqual({
      code: 'MORE',
      severity: 'error',
      file: 'pagemap-15.img',
      message: 'and 150 more',
    });
  });
});

describe('pagemaps', () => {
  type Case = [what: string, damage: (copy: Copy) => void, ...lines: string[]];
  const cases: Case[] = [
    [
      'entries in another order',
      (copy) => copy.edit('pagemap-15.img', (entries) => entries.splice(1, 2, entries[2], entries[1])),
      'ORDER pagemap-15.img@0x21 entry 1: expected an address of at least 0x4be000, the end of the entry before, found 0x401000',
    ],
    [
      'an address that is not that of a page',
      (copy) =>
        copy.edit('pagemap-15.img', ([, first]) => {
          first.vaddr = '0x400800';
        }),
      'MALFORMED pagemap-15.img@0x12 entry 0: expected an address aligned to 4096 bytes, found 0x400800',
    ],
    [
      'an unknown flag',
      (copy) =>
        copy.edit('pagemap-15.img', ([, first]) => {
          first.flags = '0x14';
        }),
      'UNSUPPORTED pagemap-15.img@0x12 entry 0: expected known flags only (PARENT 1, LAZY 2, PRESENT 4, PAYLOAD_ALIGNED 8), found 0x14',
    ],
    [
      'no flag at all',
      (copy) => addPage(copy, '0x7fffffffe000', '0x0'),
      'MALFORMED pagemap-15.img entry 46: expected the flag PARENT, LAZY or PRESENT, found none',
      'NO_AREA pagemap-15.img entry 46: expected pages in the areas of mm-15.img, found 0x7fffffffe000 of 0x7fffffffe000-0x7ffffffff000 in none',
    ],
    [
      'an unknown field',
      (copy) =>
        copy.patch('pagemap-15.img', (bytes) =>
          Buffer.concat([bytes, Buffer.from([8, 0, 0, 0, 8, 0, 16, 0, 40, 1, 72, 1])]),
        ),
      'UNSUPPORTED pagemap-15.img@0x340 entry 46: expected known fields only (1 to 6), found field 9, which may move the pages',
    ],
    [
      'cut inside an entry',
      (copy) => copy.resize('pagemap-15.img', -2),
      'TRUNCATED pagemap-15.img@0x32a entry 45: expected an entry of 18 bytes with its size, found 16',
    ],
    [
      'cut behind an entry',
      (copy) => copy.edit('pagemap-15.img', (entries) => entries.pop()),
      'PAGES_SIZE pages-2.img@0xb7000: expected 749568 bytes of pages by pagemap-15.img, found 765952',
    ],
    [
      'without a head',
      (copy) => copy.patch('pagemap-15.img', (bytes) => bytes.subarray(0, 8)),
      'TRUNCATED pagemap-15.img@0x8: expected a pagemap_head, found the end of the file',
    ],
    [
      'of another type',
      (copy) => copy.patch('pagemap-15.img', (bytes) => bytes.fill(0, 4, 8)),
      'WRONG_MAGIC pagemap-15.img@0x4: expected PAGEMAP magic 0x56084025, found 0x00000000',
    ],
  ];
  test.each(cases)('%s', async (_, damage, ...lines) => {
    const copy = copyOf('mosaic-criu-4.2.1');
    damage(copy);
    expect(linesOf(copy.path)).toEqual(lines);
    await expectElsewhere(copy.path, lines);
  });
});

describe('pages files', () => {
  test.each([
    [
      'shorter by a page',
      -PAGE,
      '@0xba000: expected 765952 bytes of pages by pagemap-15.img, found 761856: pages are missing from entry 45 on',
    ],
    [
      'shorter by a byte',
      -1,
      '@0xbafff: expected 765952 bytes of pages by pagemap-15.img, found 765951: pages are missing from entry 45 on',
    ],
    [
      'empty',
      -765952,
      '@0x0: expected 765952 bytes of pages by pagemap-15.img, found 0: pages are missing from entry 0 on',
    ],
    ['longer', 1, '@0xbb000: expected 765952 bytes of pages by pagemap-15.img, found 765953'],
  ])('%s', async (_, bytes, message) => {
    const { path } = copyOf('mosaic-criu-4.2.1').resize('pages-2.img', bytes);
    const lines = [`PAGES_SIZE pages-2.img${message}`];
    expect(linesOf(path)).toEqual(lines);
    const files = new DirectoryFiles(path);
    const quick = quickFindings(files);
    files.close();
    expect(quick).toEqual(findingsOf(path));
    await expectElsewhere(path, lines);
  });

  test('of compressed pages, shorter and longer', () => {
    for (const [bytes, consequence] of [
      [-1, ': pages are missing from entry 45 on'],
      [1, ''],
    ] as const) {
      const out = join(tempDir(), 'dump');
      rewriteGeneration(fixture('mosaic-criu-4.2.1'), out, '4.3', { pagesPerBlock: 4 });
      const { size } = statSync(join(out, 'pages-2.img'));
      const found = size + bytes;
      const end = Math.min(size, found).toString(16);
      expect(linesOf(new Copy(out).resize('pages-2.img', bytes).path)).toEqual([
        `PAGES_SIZE pages-2.img@0x${end}: expected ${size} bytes of pages by pagemap-15.img, found ${found}${consequence}`,
      ]);
    }
  });

  test('of two pagemaps, and of none', () => {
    const copy = copyOf('mosaic-criu-4.2.1').edit('pagemap-shmem-1181.img', ([head]) => {
      head.pages_id = 2;
    });
    expect(linesOf(copy.path)).toEqual([
      'PAGES_ID_TWICE pagemap-shmem-1181.img: expected a pages_id of its own, found 2, that of pagemap-15.img',
      'PAGES_UNUSED pages-1.img: warning: expected a pagemap with pages_id 1, found none',
    ]);
  });

  test('pages of 64 KiB, whose size is found from a file that is right', async () => {
    const out = join(tempDir(), 'dump');
    const vmas = [{ start: 0x10000n, end: 0x100000n, ...ANON }];
    const tasks = [7, 8].map((pid) => ({ pid, vmas, entries: [{ vaddr: 0x10000n, pages: 3 }] }));
    writeDump(out, { tasks, march: 3, pageSize: 65536 });
    const memory = () => linesOf(out).filter((line) => /(pagemap|pages)-/.test(line));
    expect(memory()).toEqual([]);
    await expectElsewhere(out, linesOf(out));
    new Copy(out).resize('pages-1.img', -PAGE);
    expect(memory()).toEqual([
      'PAGES_SIZE pages-1.img@0x2f000: expected 196608 bytes of pages by pagemap-7.img, found 192512: pages are missing from entry 2 on'.replace(
        'entry 2',
        'entry 0',
      ),
    ]);
  });
});

describe('shared memory', () => {
  test('pages behind the end of a segment', () => {
    const copy = copyOf('mosaic-criu-4.2.1').edit('memfd.img', ([inode]) => {
      inode.size = 3 * PAGE + 1;
    });
    expect(linesOf(copy.path)).toEqual([
      'OUTSIDE_SEGMENT pagemap-shmem-1181.img entry 0: expected pages inside the 12289 bytes that memfd.img says, found an end at 0x10000',
    ]);
    const ipc = copyOf('zdtm/ns-transition_ipc').edit('ipcns-shm-11.img', ([{ extra: _, ...segment }]) => {
      segment.size = 1;
    });
    expect(linesOf(ipc.path)).toEqual([]);
  });

  test('a segment without its pagemap', () => {
    const copy = copyOf('mosaic-criu-4.2.1').remove('pagemap-shmem-1181.img', 'pages-1.img');
    expect(linesOf(copy.path)).toEqual([
      'MISSING_IMAGE pagemap-shmem-1181.img: expected this image, named by memfd.img, found none',
    ]);
    const ipc = copyOf('zdtm/extra-ipcmulti').remove('pagemap-shmem-2.img');
    expect(linesOf(ipc.path)[0]).toBe(
      'MISSING_IMAGE pagemap-shmem-2.img: expected this image, named by ipcns-shm-9.img, found none',
    );
  });

  test('mappings of segments that are nowhere', () => {
    const copy = copyOf('zdtm/extra-ipcmulti').edit('ipcns-shm-9.img', (entries) => entries.splice(2, 1));
    expect(linesOf(copy.path).map((line) => line.replace(/0x7f\w+/, '0x7f'))).toEqual([
      'NO_SEGMENT mm-703.img entry 0: expected segment 2 of at least 4096 bytes, mapped at 0x7f, in ipcns-shm-9.img, found none',
    ]);
    // As CRIU wrote anonymous shared memory before it had memfds: the area has the id of the segment.
    const older = copyOf('mosaic-criu-4.2.1').edit('mm-15.img', ([{ vmas }]) => {
      vmas.unshift({
        ...vmas[0],
        start: '0x10000',
        end: '0x11000',
        shmid: 4711,
        flags: 'MAP_SHARED | MAP_ANON',
        status: 'VMA_AREA_REGULAR | VMA_ANON_SHARED',
      });
    });
    expect(linesOf(older.path)).toEqual([
      'MISSING_IMAGE pagemap-shmem-4711.img: expected this image, named by the area at 0x10000 of mm-15.img, found none',
    ]);
  });
});

describe('chains of dumps', () => {
  const entryOf = (line: string): string => line.replace(/entry \d+/, 'entry N').replace(/0x\w+/, '0x');

  test('no link to the parent', () => {
    const { last } = copyOfChain('mprotect00');
    last.remove('parent');
    const [line, ...others] = linesOf(last.path).map(entryOf);
    expect(others).toEqual([]);
    expect(line).toBe(
      'NO_PARENT pagemap-62.img entry N: expected a parent dump, which has the pages of this entry, found no parent link',
    );
  });

  test.each([
    ['a link to nowhere', '../none', 'found a link to ../none, which leads to no directory'],
    ['a link to a file', 'core-62.img', 'found a link to core-62.img, which leads to no directory'],
    ['a file', undefined, 'found something else'],
  ])('%s', (_, target, found) => {
    const { last } = copyOfChain('mprotect00');
    last.remove('parent');
    if (target === undefined) last.write('parent', '');
    else symlinkSync(target, join(last.path, 'parent'));
    expect(linesOf(last.path)).toEqual([
      `NO_PARENT parent: expected a link to the directory of the parent dump, ${found}`,
    ]);
  });

  test('a link of a parent that leads nowhere, where nobody needs it, and where somebody does', () => {
    const { last, middle, first } = copyOfChain('mprotect00');
    symlinkSync('../gone', join(first.path, 'parent'));
    expect(linesOf(last.path)).toEqual([]);
    middle.remove('parent');
    symlinkSync('../gone', join(middle.path, 'parent'));
    expect(linesOf(last.path)).toEqual([
      'NO_PARENT parent/parent: expected a link to the directory of the parent dump, found a link to ../gone, which leads to no directory',
    ]);
  });

  test('a parent whose parent is missing altogether', () => {
    const { last, middle } = copyOfChain('mprotect00');
    middle.remove('parent');
    expect(linesOf(last.path).map(entryOf)).toEqual([
      'NO_PARENT parent/pagemap-62.img entry N: expected a parent dump, which has the pages of this entry, found no parent link',
    ]);
  });

  test('a loop', () => {
    const { last, first } = copyOfChain('mprotect00');
    symlinkSync('../3', join(first.path, 'parent'));
    expect(linesOf(last.path)).toEqual([
      `PARENT_LOOP parent/parent/parent: expected another dump, found ${last.path} again`,
    ]);
    rmSync(join(last.path, 'parent'));
    symlinkSync('.', join(last.path, 'parent'));
    expect(linesOf(last.path)).toEqual([`PARENT_LOOP parent: expected another dump, found ${last.path} again`]);
  });

  test('a parent without the pagemap, or the one before it', () => {
    const { last, middle, first } = copyOfChain('mprotect00');
    first.remove('pagemap-62.img');
    expect(linesOf(last.path).map(entryOf)).toEqual([
      'MISSING_IMAGE parent/parent/pagemap-62.img: expected this image, named by entry N of parent/pagemap-62.img, found none',
    ]);
    middle.remove('pagemap-62.img');
    expect(linesOf(last.path).map(entryOf)).toEqual([
      'MISSING_IMAGE parent/pagemap-62.img: expected this image, named by entry N of pagemap-62.img, found none',
    ]);
  });

  test('damage in the first dump of the chain', () => {
    const { last, first } = copyOfChain('mprotect00');
    first.resize('pages-1.img', -PAGE);
    expect(linesOf(last.path)).toEqual([
      'PAGES_SIZE parent/parent/pages-1.img@0x1d000: expected 122880 bytes of pages by pagemap-62.img, found 118784: ' +
        'pages are missing from entry 12 on',
    ]);
    first.resize('pages-1.img', PAGE).resize('pagemap-62.img', -1);
    expect(linesOf(last.path)[0]).toBe(
      'TRUNCATED parent/parent/pagemap-62.img@0xce entry 12: expected an entry of 16 bytes with its size, found 15',
    );
  });

  test('pages that the parent does not have', () => {
    const { last, middle } = copyOfChain('mprotect00');
    // They are in its own parent, so they take no room in its pages file.
    middle.edit('pagemap-62.img', (entries: Json[]) => {
      const [{ flags, compat_nr_pages: pages }] = entries.splice(5, 1);
      expect([flags, pages]).toEqual([1, 1]);
    });
    expect(linesOf(last.path)).toEqual([
      'NOT_IN_PARENT pagemap-62.img entry 4: expected the pages 0x7fb90c184000-0x7fb90c185000 in the parent dump, found none',
    ]);
  });
});

describe('compressed pages', () => {
  const compressed = () => copyOf('compressed-criu-4.3/page');
  const PACKED = 'expected plain pages, as inventory.img says, found compressed or aligned ones';

  test('in a dump that says it has none', () => {
    const copy = compressed().edit('inventory.img', ([inventory]) => {
      inventory.compress = 0;
    });
    expect(linesOf(copy.path)).toEqual([
      `BAD_BLOCKS pagemap-1001.img entry 0: ${PACKED}`,
      `BAD_BLOCKS pagemap-shmem-5452.img entry 0: ${PACKED}`,
    ]);
  });

  test('under a version that has none, and of a layout that no release had', () => {
    const old = compressed().edit('inventory.img', ([inventory]) => {
      inventory.img_version = 2;
    });
    expect(linesOf(old.path)).toEqual([
      'UNKNOWN_VERSION inventory.img entry 0: expected img_version 3 with compressed pages, found 2',
    ]);
    const unreleased = compressed().edit('inventory.img', ([inventory]) => {
      inventory.compress = 2;
    });
    expect(linesOf(unreleased.path)).toEqual([
      'UNKNOWN_VERSION inventory.img entry 0: warning: expected compress 0 or 1, found 2, of a layout that no release of CRIU had',
    ]);
  });

  test('in larger blocks than the inventory says', () => {
    const copy = copyOf('compressed-criu-4.3/region64k-aligned').edit('inventory.img', ([inventory]) => {
      inventory.compress_block_size = 4096;
    });
    const [line] = linesOf(copy.path);
    expect(line).toBe(
      'BAD_BLOCKS pagemap-1001.img entry 0: expected blocks of at most 4096 bytes, as inventory.img says, found 65536',
    );
  });

  test('in huge pages', () => {
    const { path } = compressed();
    const [first] = readPagemap(join(path, 'pagemap-1001.img')).entries;
    new Copy(path).edit('mm-1001.img', ([mm]) => {
      const area = mm.vmas.find(({ start }: { start: number }) => BigInt(start) === first?.vaddr);
      area.status |= 1 << 27;
    });
    expect(linesOf(path)).toContain(
      `BAD_BLOCKS pagemap-1001.img entry 0: expected a raw block at 0x${first?.vaddr.toString(16)}, in huge pages or memory of a plugin, found a compressed one`,
    );
  });

  test('with a table of blocks that lies', () => {
    let bytes = 0;
    const { path } = compressed().edit('pagemap-1001.img', ([, entry]) => {
      entry.blocks.block_sizes[0] += 1;
      bytes = Number(entry.blocks.total_payload_size);
    });
    expect(linesOf(path)).toEqual([
      `MALFORMED pagemap-1001.img@0x12 entry 0: expected total_payload_size ${bytes + 1}, the sum of the blocks, found ${bytes}`,
    ]);
  });
});
