/** Man pages: in the package, one for each command, and without complaints of man. */
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

  it.each([...PAGES])('%s is ASCII, and man has nothing to complain of', (_, page) => {
    expect(page).toMatch(/^[\n -~]+$/);
    const { error, status, stdout, stderr } = spawnSync('man', ['--warnings', '-E', 'UTF-8', '-l', '-'], {
      input: page,
      encoding: 'utf8',
      env: { ...process.env, MANROFFSEQ: '', MANWIDTH: '80', LC_ALL: 'C.UTF-8' },
    });
    // Without man there is nothing to ask.
    if ((error as NodeJS.ErrnoException | undefined)?.code === 'ENOENT') return;
    expect([status, stderr]).toEqual([0, '']);
    expect(stdout).toMatch(/NAME\n\s+pagepipe/);
    expect(stdout).toContain('SYNOPSIS');
  });
});
