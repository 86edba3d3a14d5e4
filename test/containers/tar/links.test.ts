/** Links in an archive: what unpacks it has files there, so the archive gives what the unpacked directory gives. */
import { execFileSync } from 'node:child_process';
import {
  cpSync,
  linkSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { describe, expect, it } from 'vitest';
import { END, filesOf, header, member, tar } from '../../helpers/archives.js';
import { cli } from '../../helpers/cli.js';
import { copyFixture, describeTree, fixture, tempDir } from '../../helpers/temp.js';

const REFUSED =
  'pagepipe: hint: links to small files are followed; tar -h --hard-dereference makes files of all links\n';

/** A dump of which some images are links. */
function linkedDump(dir: string): string {
  const dump = copyFixture('mosaic-criu-4.2.1', dir);
  const links = { 'core-15.img': 'aaa', 'mm-15.img': 'zzz', 'inventory.img': 'aab', 'files.img': 'aac' };
  for (const [name, file] of Object.entries(links)) {
    renameSync(join(dump, name), join(dump, file));
    symlinkSync(file, join(dump, name));
  }
  linkSync(join(dump, 'fs-15.img'), join(dump, 'fs-15.img.orig'));
  linkSync(join(dump, 'core-17.img'), join(dump, 'zz-core'));
  return dump;
}

const run = async (...words: string[]): Promise<string> => {
  const { code, stderr } = await cli(words);
  expect(code, stderr).toBe(0);
  return stderr;
};

/** Names, kinds and bytes of a directory; its modes are not those of an archive. */
const contents = (directory: string) => describeTree(directory).slice(1);

describe.each([
  ['plain', []],
  ['compressed', ['-z']],
])('in a %s archive', (_, options) => {
  const pack = (dump: string, ...names: string[]) => {
    const path = join(tempDir(), 'archive');
    tar(dump, '-cf', path, ...options, ...(names.length > 0 ? names : ['.']));
    return path;
  };

  it.each([['copy'], ['make-lazy']])('%s has files in their places', async (command) => {
    const dir = tempDir();
    const archive = pack(linkedDump(dir));
    const unpacked = join(dir, 'unpacked');
    mkdirSync(unpacked);
    execFileSync('tar', ['-C', unpacked, '-xf', archive]);
    await run(command, unpacked, join(dir, 'a'));
    await run(command, archive, join(dir, 'b'));
    expect(contents(join(dir, 'b'))).toEqual(contents(join(dir, 'a')));
    await run(command, archive, join(dir, 'c.tar'));
    await run('copy', join(dir, 'c.tar'), join(dir, 'c'));
    expect(contents(join(dir, 'c'))).toEqual(contents(join(dir, 'a')));
    for (const place of [archive, join(dir, 'a'), join(dir, 'c.tar')]) {
      expect((await cli(['x', place, 'mems'])).code).toBe(0);
      expect((await cli(['verify', place])).code).toBe(0);
    }
  });

  it('a link to nothing, or to what is not kept, is refused', async () => {
    const files = filesOf(fixture('mosaic-criu-4.2.1'));
    const members = [...files].map(([name, bytes]) => member(`checkpoint/${name}`, bytes));
    // In one that is read once 4 MiB are kept, in the other one 64 MiB may become copies.
    const large = member('checkpoint/large', Buffer.alloc((options.length > 0 ? 5 : 65) * 2 ** 20));
    const cases: [Buffer[], string, string][] = [
      [[header('checkpoint/a', 0, { type: '1', target: 'checkpoint/none' })], 'a', 'hard link'],
      [
        [header('checkpoint/a', 0, { type: '1', target: 'outside' }), member('outside', Buffer.of(1))],
        'a',
        'hard link',
      ],
      [[header('checkpoint/a', 0, { type: '1', target: 'checkpoint/pages-1.img' })], 'a', 'hard link'],
      [[large, header('checkpoint/a', 0, { type: '1', target: 'checkpoint/large' })], 'a', 'hard link'],
    ];
    for (const [more, name, kind] of cases) {
      const dir = tempDir();
      const path = join(dir, 'in');
      const archive = Buffer.concat([...members, ...more, END]);
      writeFileSync(path, options.length > 0 ? gzipSync(archive, { level: 1 }) : archive);
      const { code, stderr } = await cli(['copy', path, join(dir, 'out')]);
      expect([code, stderr]).toEqual([1, `pagepipe: error: ${name}: expected a file, found a ${kind}\n${REFUSED}`]);
    }
  });

  it('outside the dump, hard links stay', async () => {
    const dir = tempDir();
    const dump = copyFixture('mosaic-criu-4.2.1', dir);
    renameSync(dump, join(dir, 'checkpoint'));
    writeFileSync(join(dir, 'config.dump'), 'x');
    linkSync(join(dir, 'config.dump'), join(dir, 'spec.dump'));
    const archive = pack(dir, 'config.dump', 'spec.dump', 'checkpoint');
    await run('copy', archive, join(dir, 'out.tar'));
    mkdirSync(join(dir, 'unpacked'));
    execFileSync('tar', ['-C', join(dir, 'unpacked'), '-xf', join(dir, 'out.tar')]);
    const [a, b] = ['config.dump', 'spec.dump'].map((name) => statSync(join(dir, 'unpacked', name)).ino);
    expect(a).toBe(b);
  });
});

describe('a folder parent', () => {
  it.each([
    ['plain', []],
    ['compressed', ['-z']],
  ])('is not the dump, though it comes first in a %s archive', async (_, options) => {
    const dir = tempDir();
    const dump = join(dir, 'dump');
    cpSync(fixture('chain/mprotect00/3'), dump, { recursive: true, dereference: true });
    const names = readdirSync(dump).filter((name) => name !== 'parent');
    tar(dump, '-cf', join(dir, 'a'), ...options, 'parent', ...names);
    await run('copy', join(dir, 'a'), join(dir, 'out'));
    expect(contents(join(dir, 'out'))).toEqual(contents(dump));
    // The same in a folder, and a dump whose folder has that name.
    tar(dir, '-cf', join(dir, 'b'), ...options, 'dump/parent', ...names.map((name) => `dump/${name}`));
    await run('copy', join(dir, 'b'), join(dir, 'out2'));
    expect(contents(join(dir, 'out2'))).toEqual(contents(dump));
    renameSync(dump, join(dir, 'parent'));
    tar(dir, '-cf', join(dir, 'c'), ...options, 'parent/parent', ...names.map((name) => `parent/${name}`));
    await run('copy', join(dir, 'c'), join(dir, 'out3'));
    expect(contents(join(dir, 'out3'))).toEqual(contents(join(dir, 'parent')));
    expect(readFileSync(join(dir, 'out3', 'inventory.img'))).toEqual(
      readFileSync(join(dir, 'parent', 'inventory.img')),
    );
  });
});
