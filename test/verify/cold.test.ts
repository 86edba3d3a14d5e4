/** The halves of a split dump: nothing is wrong with them, and what is damaged in the cold one is found. */

import { readdirSync, readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeEach, describe, expect, it } from 'vitest';
import { type Finding, formatFinding } from '../../src/verify/findings.js';
import { quickFindings, verify } from '../../src/verify/verify.js';
import { cli } from '../helpers/cli.js';
import { directory } from '../helpers/dump-files.js';
import { fixture, tempDir } from '../helpers/temp.js';

const DUMP = 'mosaic-criu-4.2.1';
const COLD_HALF =
  'original-pagemap-15.img: warning: expected a whole dump, found the cold half of a split one: pagepipe merge makes it whole';

function findings(path: string): string[] {
  const found: Finding[] = [];
  verify(directory(path), (finding) => found.push(finding));
  return found.map(formatFinding);
}

describe('the halves of a split dump', () => {
  let hot = '';
  let cold = '';
  beforeEach(async () => {
    const dir = tempDir();
    [hot, cold] = [join(dir, 'hot'), join(dir, 'cold')];
    expect((await cli(['split', fixture(DUMP), hot, cold])).code).toBe(0);
  });

  it('have no errors', () => {
    expect(findings(hot)).toEqual([
      'pagemap-15.img: warning: 170 pages are not in this dump: it can only be restored lazily, ' +
        'by criu restore --lazy-pages with the full dump or a page server behind it',
    ]);
    expect(findings(cold)).toEqual([COLD_HALF]);
    expect(quickFindings(directory(cold)).map(formatFinding)).toEqual([COLD_HALF]);
  });

  it.each<[string, (at: (file: string) => string) => void, string]>([
    [
      'without an mm image',
      (at) => rmSync(at('mm-15.img')),
      'mm-15.img: expected this image, named by pstree.img, found none',
    ],
    [
      'without a pagemap',
      (at) => {
        rmSync(at('pagemap-15.img'));
        rmSync(at('pages-2.img'));
      },
      'pagemap-15.img: expected this image, named by pstree.img, found none',
    ],
    [
      'without the core of a thread',
      (at) => rmSync(at('core-17.img')),
      'core-17.img: expected this image, named by pstree.img, found none',
    ],
    [
      'with short pages',
      (at) => truncateSync(at('pages-2.img'), 4096),
      'pages-2.img@0x1000: expected 696320 bytes of pages by pagemap-15.img, found 4096: pages are missing from entry 1 on',
    ],
    [
      'with a cut original',
      (at) => truncateSync(at('original-pagemap-15.img'), 100),
      'original-pagemap-15.img@0x5a entry 5: expected an entry of 18 bytes with its size, found 10',
    ],
    [
      'with an original that is none',
      (at) => writeFileSync(at('original-pagemap-15.img'), readFileSync(at('mm-15.img'))),
      'original-pagemap-15.img@0x4: expected PAGEMAP magic 0x56084025, found 0x57492820 (MM)',
    ],
  ])('%s', (_, damage, found) => {
    damage((file) => join(cold, file));
    expect(findings(cold).filter((line) => line !== COLD_HALF)).toEqual([found]);
  });

  it('are one only as long as it has pagemaps as they were', () => {
    for (const name of readdirSync(cold)) if (name.startsWith('original-')) rmSync(join(cold, name));
    expect(findings(cold)).toContain('files.img: expected this image, named by pstree.img, found none');
  });
});
