/** The directory of a dump that is being written: its files, and what may not be in it. */
import { existsSync, readdirSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import fc from 'fast-check';
import { describe, expect, it, onTestFinished } from 'vitest';
import { DumpDirectory } from '../../../src/containers/directory/dump-directory.js';
import { followLinks } from '../../../src/dump/files.js';
import { AtomicFile } from '../../../src/io/atomic-file.js';
import { describeTree, openFiles, tempDir } from '../../helpers/temp.js';

/** Gathered writes are as large. */
const GATHER_BYTES = 128 * 1024;

describe('a file', () => {
  it('is what was written to it, in pieces of any size and with holes', async () => {
    const dir = tempDir();
    let run = 0;
    const bytes = fc.oneof(
      fc.integer({ min: 0, max: 5000 }),
      fc.constantFrom(GATHER_BYTES - 1, GATHER_BYTES, GATHER_BYTES + 1, 3 * GATHER_BYTES),
    );
    const steps = fc.array(fc.record({ bytes, hole: fc.boolean() }), { maxLength: 12 });
    await fc.assert(
      fc.asyncProperty(steps, steps, async (first, second) => {
        const out = join(dir, `out${run++}`);
        const directory = new DumpDirectory(out);
        const files = { first, second };
        const expected = new Map<string, Buffer>();
        for (const [name, pieces] of Object.entries(files)) {
          const file = directory.addFile(name, 0o640);
          // One buffer for all pieces: none is looked at again.
          const shared = new Uint8Array(3 * GATHER_BYTES);
          const parts = pieces.map((piece, i) => {
            file.write(shared.subarray(0, piece.bytes).fill(piece.hole ? 0 : i + 1));
            return Buffer.alloc(piece.bytes, piece.hole ? 0 : i + 1);
          });
          shared.fill(255);
          expected.set(name, Buffer.concat(parts));
          await directory.finishFile(file);
        }
        await directory.commit(0o750);
        for (const [name, content] of expected) expect(readFileSync(join(out, name)).equals(content)).toBe(true);
        expect(directory.written.bytes).toBe([...expected.values()].reduce((sum, { length }) => sum + length, 0));
        expect(statSync(join(out, 'first')).mode & 0o777).toBe(0o640);
        expect(statSync(out).mode & 0o777).toBe(0o750);
      }),
      { numRuns: 40 },
    );
    expect(openFiles(dir)).toEqual([]);
  });

  it('takes no room for a hole', async () => {
    const dir = tempDir();
    const directory = new DumpDirectory(join(dir, 'out'));
    const file = directory.addFile('file', 0o600);
    for (const bytes of [new Uint8Array(10_000_000), Buffer.from('middle'), new Uint8Array(10_000_000)])
      file.write(bytes);
    await directory.finishFile(file);
    await directory.commit(0o700);
    const { size, blocks } = statSync(join(dir, 'out/file'));
    expect(size).toBe(20_000_006);
    expect(blocks * 512).toBeLessThan(100_000);
  });
});

describe('a directory', () => {
  it('counts what is in it, and appears as a whole', async () => {
    const dir = tempDir();
    const directory = new DumpDirectory(join(dir, 'out'));
    directory.addFolder('folder', 0o500);
    const file = directory.addFile('folder/file', 0o400);
    file.write(Buffer.from('hello'));
    directory.addLink('folder/link', Buffer.from('file'));
    directory.addLink('parent', Buffer.from('../none'));
    expect(existsSync(join(dir, 'out'))).toBe(false);
    await directory.finishFile(file);
    await directory.commit(0o700);
    expect(directory.written).toEqual({ files: 4, bytes: 5, holePages: 0, isPartial: false, parentMissing: true });
    expect(describeTree(join(dir, 'out')).map((line) => line.replace(/ [0-9a-f]{40}$/, ''))).toEqual([
      '. 700',
      'folder/ 500',
      'folder/file 400',
      'folder/link -> file',
      'parent -> ../none',
    ]);
  });

  it('refuses what is in no folder, behind a link, outside, or a parent that is a file', async () => {
    const dir = tempDir();
    const directory = new DumpDirectory(join(dir, 'out'));
    directory.addLink('link', Buffer.from('.'));
    expect(() => directory.addFile('folder/file', 0o600)).toThrow(
      'folder/file: expected a folder "folder" before this file, found none',
    );
    expect(() => directory.addFile('link/file', 0o600)).toThrow(
      'link/file: expected a folder "link" before this file, found none',
    );
    expect(() => directory.addLink('out', Buffer.from('../x'))).toThrow('out: the link leads outside the dump');
    expect(() => directory.addFile('parent', 0o600)).toThrow(
      'parent: expected a link to the parent dump, found a file',
    );
    directory.addFile('open', 0o600).write(Buffer.from('half'));
    await directory.discard();
    expect(readdirSync(dir)).toEqual([]);
    expect(openFiles(dir)).toEqual([]);
  });
});

describe('links', () => {
  const LINKS: [what: string, links: [name: string, target: string][]][] = [
    [
      'through parent',
      [
        ['parent', '/'],
        ['x', 'parent/etc/passwd'],
      ],
    ],
    [
      'through parent, which comes later',
      [
        ['x', 'parent/etc/passwd'],
        ['parent', '/'],
      ],
    ],
    [
      'to parent',
      [
        ['parent', '/'],
        ['x', 'parent'],
      ],
    ],
    [
      'up from another link',
      [
        ['a/b/d', '../..'],
        ['x', 'a/b/d/../s'],
      ],
    ],
    [
      'up from another link, in small steps',
      [
        ['a/b/d', '../..'],
        ['a/x', './b//d/.././s'],
      ],
    ],
  ];

  it.each(LINKS)('that lead out %s are refused', async (_what, links) => {
    const dir = tempDir();
    const directory = new DumpDirectory(join(dir, 'out'));
    directory.addFolder('a', 0o755);
    directory.addFolder('a/b', 0o755);
    for (const [name, target] of links) directory.addLink(name, Buffer.from(target));
    await expect(directory.commit(0o755)).rejects.toThrow(
      `${links.at(-1)?.[0] === 'a/x' ? 'a/x' : 'x'}: the link leads outside the dump`,
    );
    await directory.discard();
    expect(readdirSync(dir)).toEqual([]);
  });

  it('to links and to nothing stay', async () => {
    const out = join(tempDir(), 'out');
    const directory = new DumpDirectory(out);
    directory.addFolder('a', 0o755);
    directory.addLink('a/x', Buffer.from('../y'));
    directory.addLink('y', Buffer.from('a/../z'));
    directory.addLink('parent', Buffer.from('../before'));
    await directory.commit(0o755);
    expect(readdirSync(out).sort()).toEqual(['a', 'parent', 'y']);
  });

  it('are not followed through links', () => {
    const link = (name: string, target: string) => ({
      name,
      kind: 'link' as const,
      mode: 0,
      size: 0,
      target: Buffer.from(target),
    });
    const entries = [
      link('a/b/d', '../..'),
      link('x', 'a/b/d/../s'),
      link('y', 's2'),
      link('s2', 'a/s'),
      link('long', `${'b/../'.repeat(100_000)}a/s`),
      { name: 'a/s', kind: 'regular' as const, mode: 0, size: 1 },
    ];
    const files = new Map(entries.map((entry) => [entry.name, entry]));
    expect(followLinks(files, 'x')).toBeUndefined();
    expect(followLinks(files, 'long')).toBeUndefined();
    expect(followLinks(files, 'y')?.name).toBe('a/s');
  });
});

it('modes are what the umask allows, without setuid, setgid and sticky bits', async () => {
  const before = process.umask(0o027);
  onTestFinished(() => {
    process.umask(before);
  });
  const out = join(tempDir(), 'out');
  const directory = new DumpDirectory(out);
  directory.addFolder('folder', 0o3777);
  await directory.finishFile(directory.addFile('file', 0o6755));
  await directory.commit(0o2777);
  const modes = ['', 'folder', 'file'].map((name) => (statSync(join(out, name)).mode & 0o7777).toString(8));
  expect(modes).toEqual(['750', '750', '750']);
  const file = new AtomicFile(join(out, 'json'), { mode: 0o4666 });
  file.commit();
  expect((statSync(join(out, 'json')).mode & 0o7777).toString(8)).toBe('640');
});
