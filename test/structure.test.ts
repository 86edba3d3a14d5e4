/** `npm run structure`: the order of folders, and what breaks it. */
import { describe, expect, it } from 'vitest';
import { analyze, analyzeProject } from '../scripts/structure.mjs';

const ORDER = ['errors.ts', 'io', 'box', ['box/one', 'box/two'], ['left', 'right'], 'index.ts'];
const analyzeFiles = (files: Record<string, string>, allowed: string[] = []) =>
  analyze(new Map(Object.entries(files)), ORDER, allowed);

describe('the structure of a tree', () => {
  it('is in order when each folder imports what is before it', () => {
    const found = analyzeFiles({
      'errors.ts': "import { readFile } from 'node:fs';\n",
      'io/fd.ts': "import {\n  A,\n  type B,\n} from '../errors.js';\n\nexport const x = 1;\n",
      'box/one/read.ts': "import { x } from '../../io/fd.js';\nimport { base } from '../base.js';\n",
      'box/base.ts': "export * from '../io/fd.js';\n",
      'index.ts': "export { x } from './box/one/read.js';\n",
    });
    expect(found).toMatchObject({ upward: [], unlisted: [], fileCircles: [], folderCircles: [] });
    expect(found.places.filter(({ files }) => files > 0)).toEqual([
      { name: 'errors.ts', rank: 0, files: 1, lines: 1 },
      { name: 'io', rank: 1, files: 1, lines: 6 },
      { name: 'box', rank: 2, files: 1, lines: 1 },
      { name: 'box/one', rank: 3, files: 1, lines: 2 },
      { name: 'index.ts', rank: 5, files: 1, lines: 1 },
    ]);
  });

  it.each([
    ['a value', "import { x } from '../left/a.js';\n"],
    ['a type', "import type { X } from '../left/a.js';\n"],
    ['all of it', "export * from '../left/a.js';\n"],
    ['effects', "import '../left/a.js';\n"],
    ['later', "const f = async () => (await import('../left/a.js')).x;\n"],
    ['the type of an import', "const f = (x: import('../left/a.js').X) => x;\n"],
  ])('names an import of what comes later: %s', (_, text) => {
    expect(analyzeFiles({ 'io/fd.ts': text, 'left/a.ts': '' })).toMatchObject({
      upward: ['io/fd.ts -> left/a.ts'],
      fileCircles: [],
      folderCircles: [],
    });
  });

  it('names imports between folders side by side, unless they are allowed', () => {
    const files = { 'left/a.ts': "import { b } from '../right/b.js';\n", 'right/b.ts': '' };
    expect(analyzeFiles(files).upward).toEqual(['left/a.ts -> right/b.ts']);
    expect(analyzeFiles(files, ['left -> right']).upward).toEqual([]);
    expect(analyzeFiles(files, ['right -> left']).upward).toEqual(['left/a.ts -> right/b.ts']);
  });

  it('names circles between files of one folder', () => {
    const found = analyzeFiles({
      'io/a.ts': "import { b } from './b.js';\n",
      'io/b.ts': "import { c } from './c.js';\n",
      'io/c.ts': "import type { A } from './a.js';\n",
      'io/d.ts': "import { a } from './a.js';\n",
    });
    expect(found).toMatchObject({
      fileCircles: ['io/a.ts -> io/b.ts -> io/c.ts -> io/a.ts'],
      folderCircles: [],
      upward: [],
    });
  });

  it('names circles between folders that no file closes', () => {
    const found = analyzeFiles({
      'io/a.ts': "import { x } from '../left/x.js';\n",
      'left/x.ts': '',
      'left/y.ts': "import { b } from '../io/b.js';\n",
      'io/b.ts': '',
    });
    expect(found).toMatchObject({
      fileCircles: [],
      folderCircles: ['io -> left -> io'],
      upward: ['io/a.ts -> left/x.ts'],
    });
  });

  it('names files that are in no folder of the order', () => {
    expect(analyzeFiles({ 'other/a.ts': '', 'errors.ts': '' }).unlisted).toEqual(['other/a.ts']);
  });
});

describe('the structure of the project', () => {
  it('counts the sources, without generated ones', () => {
    const { places } = analyzeProject();
    const memory = places.find(({ name }) => name === 'memory');
    expect(memory?.files).toBeGreaterThan(3);
    expect(memory?.lines).toBeGreaterThan(500);
    expect(places.some(({ name }) => name.startsWith('generated'))).toBe(false);
  });

  it('has no circle, and no import of what comes later', () => {
    const { upward, unlisted, fileCircles, folderCircles } = analyzeProject();
    expect({ upward, unlisted, fileCircles, folderCircles }).toEqual({
      upward: [],
      unlisted: [],
      fileCircles: [],
      folderCircles: [],
    });
  });
});
