/** What is given for a dump and is none is named, with what to do; what is nearly one is found. */
import { cpSync, mkdirSync, renameSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { cli } from '../helpers/cli.js';
import { describeTree, fixture, tempDir } from '../helpers/temp.js';

const MOSAIC = fixture('mosaic-criu-4.2.1');

/** The error of a command, with its hint. */
async function refused(...words: string[]): Promise<string> {
  const { code, stderr } = await cli(words);
  expect(code, stderr).toBe(1);
  return stderr.replaceAll('pagepipe: ', '').trim();
}

const none = 'expected a dump directory, tar, shards or a page stream, found';

describe('files that are no dump', () => {
  it.each<[string, Uint8Array, string]>([
    [
      'xz',
      Buffer.from('fd377a585a000004', 'hex'),
      'data compressed by xz\nhint: decompress it on the way: xz -dc FILE | pagepipe COMMAND -',
    ],
    [
      'bzip2',
      Buffer.from('BZh91AY'),
      'data compressed by bzip2\nhint: decompress it on the way: bzip2 -dc FILE | pagepipe COMMAND -',
    ],
    [
      'lz4',
      Buffer.from('04224d18644070b9', 'hex'),
      'data compressed by lz4\nhint: decompress it on the way: lz4 -dc FILE | pagepipe COMMAND -',
    ],
    [
      'zip',
      Buffer.from('504b0304140000', 'hex'),
      'a zip archive\nhint: unpack it, and name the folder with the images',
    ],
    ['an image', Buffer.from('1943565420283057', 'hex'), 'an image\nhint: name the directory that it is in'],
    ['text', Buffer.from('hello, hello'), 'none of them'],
  ])('%s', async (_, bytes, found) => {
    const path = join(tempDir(), 'in');
    writeFileSync(path, bytes);
    expect(await refused('verify', path)).toBe(`error: ${path}: ${none} ${found}`);
  });

  it.each([
    [['copy', '-', 'OUT'], 'a dump directory, tar, shards or a page stream'],
    [['verify', '-'], 'a dump directory, tar, shards or a page stream'],
    [['x', '-', 'ps'], 'a dump directory, tar, shards or a page stream'],
    [['decode'], 'an image'],
    [['info', '-'], 'an image'],
  ])('nothing on stdin: %j', async (words, expected) => {
    const out = join(tempDir(), 'out');
    const given = words.map((word) => (word === 'OUT' ? out : word));
    expect(await refused(...given)).toBe(`error: stdin: it is empty; expected ${expected}`);
  });

  it('several shards without --from', async () => {
    const path = [0, 1, 2].map((i) => fixture(`streamer/shard${i}`)).join(',');
    expect(await refused('x', path, 'ps')).toBe(
      `error: ${path}: no such file or directory (ENOENT)\nhint: several shards need --from shards`,
    );
  });

  it('pages that the CRIU of CRaC has compressed', async () => {
    const dump = join(tempDir(), 'dump');
    cpSync(MOSAIC, dump, { recursive: true });
    renameSync(join(dump, 'pages-1.img'), join(dump, 'pages-1.comp.img'));
    expect(await refused('make-lazy', dump, join(tempDir(), 'out'))).toBe(
      'error: pages-1.img: expected plain pages, found pages-1.comp.img\n' +
        'hint: the CRIU of CRaC has compressed these pages; make the checkpoint without compression',
    );
  });

  it('an image that is a hole', async () => {
    const dump = join(tempDir(), 'dump');
    cpSync(MOSAIC, dump, { recursive: true });
    writeFileSync(join(dump, 'files.img'), '');
    truncateSync(join(dump, 'files.img'), 2 ** 40);
    const message = (name: string) => `error: ${name}: expected at most 1073741824 bytes of holes, found 1099511627776`;
    expect(await refused('copy', dump, join(tempDir(), 'out'))).toBe(message('files.img'));
    expect(await refused('x', dump, 'fds')).toBe(message('files.img'));
    expect(await refused('info', join(dump, 'files.img'))).toBe(message(join(dump, 'files.img')));
  });
});

describe('a folder above the images', () => {
  function above(): string {
    const path = join(tempDir(), 'unpacked');
    mkdirSync(path);
    cpSync(MOSAIC, join(path, 'checkpoint'), { recursive: true });
    writeFileSync(join(path, 'stats-dump'), '');
    writeFileSync(join(path, 'spec.dump'), '{}');
    return path;
  }

  it('is the folder that an archive of it has', async () => {
    const path = above();
    const [out, expected] = [join(tempDir(), 'out'), join(tempDir(), 'out')];
    expect((await cli(['copy', path, out])).code).toBe(0);
    expect((await cli(['copy', join(path, 'checkpoint'), expected])).code).toBe(0);
    expect(describeTree(out)).toEqual(describeTree(expected));
    expect((await cli(['verify', path])).code).toBe(0);
    const { stderr } = await cli(['make-lazy', path, join(tempDir(), 'lazy')]);
    expect(stderr).toContain(`criu lazy-pages -D ${path}/checkpoint -W `);
  });

  it('is not guessed where there are two', async () => {
    const path = above();
    cpSync(MOSAIC, join(path, 'other'), { recursive: true });
    expect(await refused('copy', path, join(tempDir(), 'out'))).toBe(
      `error: ${path}: expected a dump, found no inventory.img`,
    );
  });
});
