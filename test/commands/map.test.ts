/** The command map: from any container, into any kind of output, and never over what must stay. */
import { existsSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeEach, describe, expect, it } from 'vitest';
import type { MemoryMap } from '../../src/map/model.js';
import { cli } from '../helpers/cli.js';
import { expectFits } from '../helpers/json-schema.js';
import { fixture, tempDir } from '../helpers/temp.js';

const DUMP = fixture('family-criu-4.2.1');

let dir: string;
beforeEach(() => {
  dir = tempDir();
});
const at = (name: string): string => join(dir, name);

async function json(words: string[], options = {}): Promise<MemoryMap> {
  const { code, stdout, stderr } = await cli(['map', ...words, '--json'], options);
  expect([code, stderr]).toEqual([0, '']);
  return JSON.parse(stdout) as MemoryMap;
}

describe('pagepipe map', () => {
  it('writes a page that only its owner can read, and replaces nothing', async () => {
    const out = at('map.html');
    expect(await cli(['map', DUMP, '-o', out])).toMatchObject({ code: 0, stdout: '', stderr: '' });
    expect(statSync(out).mode & 0o777).toBe(0o600);
    const page = readFileSync(out, 'utf8');
    expect(page).toMatch(/^<!doctype html>/);
    const again = await cli(['map', DUMP, '-o', out]);
    expect(again.code).toBe(1);
    expect(again.stderr).toContain('use --force to replace it');
    writeFileSync(out, 'old');
    expect(await cli(['map', DUMP, '-o', out, '--force'])).toMatchObject({ code: 0, stderr: '' });
    expect(readFileSync(out, 'utf8')).toBe(page);
  });

  it('writes an SVG image', async () => {
    await cli(['map', DUMP, '-o', at('map.svg')]);
    expect(readFileSync(at('map.svg'), 'utf8')).toMatch(/^<svg xmlns=.*pid 15 mosaic.*<\/svg>\n$/s);
  });

  it('writes a page to stdout', async () => {
    await cli(['map', DUMP, '-o', '-'], { stdout: at('out') });
    expect(readFileSync(at('out'), 'utf8')).toMatch(/^<!doctype html>/);
  });

  it('draws in the terminal, with letters or colors', async () => {
    const screen = (columns: number, hasColors: boolean) => () => ({ columns, hasColors });
    await cli(['map', DUMP], { stdout: at('plain'), screen: screen(60, false) });
    const lines = readFileSync(at('plain'), 'utf8').split('\n');
    expect(lines[0]).toBe('pid 15 mosaic           740 KiB in the dump, 18.1 MiB mapped');
    expect(lines[1]).toMatch(/^f+a?h+a+[map]+k?s+$/);
    expect(Math.max(...lines.map(({ length }) => length))).toBe(60);
    expect(lines.join()).not.toContain('\x1b');
    await cli(['map', DUMP], { stdout: at('colors'), screen: screen(60, true) });
    expect(readFileSync(at('colors'), 'utf8')).toContain('\x1b[38;5;36m\x1b[48;5;');
  });

  it('gives the same from every container', async () => {
    const map = await json([DUMP]);
    expectFits('map', map);
    const plain = at('dump.tar');
    const packed = at('dump.tar.gz');
    const stream = at('stream');
    await cli(['copy', DUMP, plain]);
    await cli(['copy', DUMP, packed]);
    await cli(['read', DUMP], { stdout: stream });
    expect(await json([plain])).toEqual(map);
    expect(await json([packed])).toEqual(map);
    expect(await json(['-'], { stdin: stream })).toEqual(map);
    const content = await json([DUMP, '--content']);
    expectFits('map', content);
    expect(await json([packed, '--content'])).toEqual(content);
  });

  it.each([
    ['no dump', [], 'expected DUMP, found nothing'],
    [
      'a name that says nothing',
      [DUMP, '-o', 'map.png'],
      'expected a name that ends in .html or .svg, found "map.png"',
    ],
    ['two things on stdout', [DUMP, '-o', '-', '--json'], '--json and -o - are both stdout'],
  ])('refuses %s', async (_, words, message) => {
    const { code, stderr } = await cli(['map', ...words]);
    expect(code).toBe(2);
    expect(stderr).toContain(message);
  });

  it('does not write into what it reads, and leaves nothing when it fails', async () => {
    await cli(['copy', DUMP, at('dump')]);
    const inside = await cli(['map', at('dump'), '-o', at('dump/map.html')]);
    expect([inside.code, existsSync(at('dump/map.html'))]).toEqual([1, false]);
    expect(inside.stderr).toContain('the output must be outside of what is read');
    writeFileSync(at('dump/pagemap-15.img'), 'damaged');
    expect((await cli(['map', at('dump'), '-o', at('map.html')])).code).toBe(1);
    expect(existsSync(at('map.html'))).toBe(false);
  });
});
