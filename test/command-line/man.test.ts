/** Man pages: in the package, one for each command, and set without complaints. */
import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { manPages } from '../../src/command-line/man.js';
import { ROOT } from '../helpers/temp.js';

const PACKAGE = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8')) as { version: string; man: string[] };
const PAGES = manPages(PACKAGE.version);

describe('man pages', () => {
  it('are named in package.json, and made by the build', () => {
    expect(PACKAGE.man).toEqual([...PAGES.keys()].map((name) => `./man/${name}`));
    for (const [name, text] of PAGES) expect(readFileSync(join(ROOT, 'man', name), 'utf8')).toBe(text);
  });

  it.each([...PAGES])('%s is ASCII', (_, page) => {
    expect(page).toMatch(/^[\n -~]+$/);
  });

  it('are set without a complaint', () => {
    // What man runs for each of them.
    const { error, status, stdout, stderr } = spawnSync('groff', ['-mandoc', '-Tutf8', '-ww', '-rcR=1', '-P-cbou'], {
      input: [...PAGES.values()].join(''),
      encoding: 'utf8',
    });
    // Without groff there is nothing to ask.
    if ((error as NodeJS.ErrnoException | undefined)?.code === 'ENOENT') return;
    expect([status, stderr]).toEqual([0, '']);
    const titles = [...PAGES.keys()].map((name) => name.replace(/\.1$/, ''));
    expect([...stdout.matchAll(/^NAME\n +(\S+) +- /gm)].map(([, title]) => title)).toEqual(titles);
    expect(stdout.match(/^SYNOPSIS$/gm)).toHaveLength(titles.length);
  });
});
