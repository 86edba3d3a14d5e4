import { readdirSync, symlinkSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { quickFindings } from '../../src/verify/verify.js';
import { cli } from '../helpers/cli.js';
import { directory } from '../helpers/dump-files.js';
import { GENERATIONS, readPagemap, rewriteGeneration } from '../helpers/dump-writer.js';
import { FIXTURES, fixture, tempDir } from '../helpers/temp.js';
import { copyOf, expectElsewhere, findingsOf, linesOf } from './harness.js';

/** Dumps without their pages; `extra-cpuinfo` is no dump of processes. */
const ZDTM = readdirSync(fixture('zdtm')).filter((name) => name !== 'extra-cpuinfo');

/** Dumped by `criu dump --lazy-pages`. */
const isLazy = (name: string): boolean => name.startsWith('lazymig-');

describe('healthy dumps', () => {
  test.each(FIXTURES)('%s is without a finding', (name) => {
    expect(linesOf(fixture(name))).toEqual([]);
    expect(quickFindings(directory(fixture(name)))).toEqual([]);
  });

  test.each(ZDTM)('zdtm/%s lacks its pages files, and nothing else', (name) => {
    const path = fixture(`zdtm/${name}`);
    const pagemaps = readdirSync(path).filter((file) => /^pagemap-.*\.img$/.test(file));
    const expected = pagemaps.map((pagemap) => ({
      code: 'MISSING_IMAGE',
      severity: 'error',
      file: `pages-${readPagemap(join(path, pagemap)).pagesId}.img`,
      message: `expected this image, named by ${pagemap}, found none`,
    }));
    expect(findingsOf(path).filter(({ code }) => code !== 'LAZY_ONLY')).toEqual(expected);
    expect(quickFindings(directory(path)).filter(({ code }) => code !== 'LAZY_ONLY')).toEqual(expected);
  });

  test.each(ZDTM)('zdtm/%s with pages files is without a finding, wherever it is', async (name) => {
    const { path } = copyOf(`zdtm/${name}`);
    const lines = linesOf(path);
    expect(lines.map((line) => line.replace(/ .*: warning: .*/, ''))).toEqual(isLazy(name) ? ['LAZY_ONLY'] : []);
    await expectElsewhere(path, lines);
  });

  const regions = { '4.3': [undefined, 4, 64] } as Partial<Record<string, (number | undefined)[]>>;
  const forms = GENERATIONS.flatMap((generation) =>
    (regions[generation] ?? [undefined]).map((pagesPerBlock) => ({ generation, pagesPerBlock })),
  );
  test.each(forms)('pagemaps of $generation, blocks of $pagesPerBlock pages', async ({ generation, pagesPerBlock }) => {
    for (const name of ['mosaic-criu-4.1.1', 'family-criu-4.2.1']) {
      const out = join(tempDir(), 'dump');
      rewriteGeneration(fixture(name), out, generation, pagesPerBlock === undefined ? {} : { pagesPerBlock });
      expect(linesOf(out)).toEqual([]);
      await expectElsewhere(out, []);
    }
  });

  test('a dump through a link, with links to its images', () => {
    const copy = copyOf('mosaic-criu-4.2.1').remove('core-15.img', 'pages-1.img', 'pagemap-15.img');
    for (const name of ['core-15.img', 'pages-1.img', 'pagemap-15.img']) {
      symlinkSync(join(fixture('mosaic-criu-4.2.1'), name), join(copy.path, name));
    }
    const link = join(tempDir(), 'link');
    symlinkSync(copy.path, link);
    expect(linesOf(link)).toEqual([]);
  });

  test('files that are no images', () => {
    const copy = copyOf('mosaic-criu-4.2.1');
    copy
      .write('dump.log', '')
      .write('descriptors.json', '[]')
      .write('core-15.img.bak', 'x')
      .write('tmpfs-1.tar.gz.img', '');
    expect(linesOf(copy.path)).toEqual([]);
  });
});

describe('dumps that can only be restored lazily', () => {
  test('what make-lazy leaves', async () => {
    const out = join(tempDir(), 'small');
    expect((await cli(['make-lazy', fixture('family-criu-4.2.1'), out])).code).toBe(0);
    expect(linesOf(out)).toEqual([
      'LAZY_ONLY pagemap-15.img: warning: 518 pages, of 3 pagemaps, are not in this dump: it can only be restored lazily, by criu restore --lazy-pages with the full dump or a page server behind it',
    ]);
  });
});

describe('what is no dump of processes', () => {
  test('a pre-dump', () => {
    const path = fixture('chain/mprotect00/2');
    const [line, ...others] = linesOf(path);
    expect(others).toEqual([]);
    expect(line).toBe(
      'MISSING_IMAGE pstree.img: expected this image, found none: a pre-dump holds memory alone, and only the last dump of its chain can be restored',
    );
  });

  test('cpuinfo alone, and nothing at all', () => {
    const expected = ['inventory.img', 'pstree.img'].map(
      (name) => `MISSING_IMAGE ${name}: expected this image, found none`,
    );
    expect(linesOf(fixture('zdtm/extra-cpuinfo'))).toEqual(expected);
    expect(linesOf(tempDir())).toEqual(expected);
  });

  test('older dumps have an image for each type of file', () => {
    const copy = copyOf('zdtm/extra-extfiles');
    const files: Record<'reg' | 'ext', object[]> = { reg: [], ext: [] };
    copy.edit('files.img', (entries) => {
      for (const { reg, ext } of entries) {
        if (reg) files.reg.push(reg);
        if (ext) files.ext.push(ext);
      }
    });
    copy.remove('files.img');
    expect(files.ext.length).toBeGreaterThan(0);
    copy.json('reg-files.img', 'REG_FILES', files.reg).json('ext-files.img', 'EXT_FILES', files.ext);
    expect(linesOf(copy.path)).toEqual([]);
    copy.edit('ext-files.img', (entries) => entries.pop());
    expect(linesOf(copy.path)).toEqual([
      'NO_FILE fdinfo-2.img entry 5: expected file 8 (EXT) of descriptor 5 in the images of its files, found none',
    ]);
  });
});
