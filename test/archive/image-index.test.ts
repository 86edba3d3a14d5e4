/** Images read where they are: by `x` from whatever holds a dump, by `serve` from a plain archive. */
import { appendFileSync, mkdirSync, readFileSync, truncateSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { describe, expect, it, onTestFinished } from 'vitest';
import { ImageIndex } from '../../src/archive/image-index.js';
import { DumpMemory } from '../../src/serve/memory.js';
import { END, filesOf, header, member, putAll, tar, writeShards } from '../helpers/archives.js';
import { cli } from '../helpers/cli.js';
import { readMemory } from '../helpers/dump-writer.js';
import { FIXTURES, fixture, openFiles, tempDir } from '../helpers/temp.js';

const DUMPS = FIXTURES.filter((name) => !name.startsWith('chain/'));

/** A dump in all forms but a directory: the words that name it. */
function forms(dump: string, dir: string): Record<string, string[]> {
  const [parent, name] = [dirname(dump), dump.slice(dirname(dump).length + 1)];
  const put = (file: string, ...words: string[]) => {
    tar(parent, '-cf', join(dir, file), ...words, name);
    return [join(dir, file)];
  };
  const shards = putAll(dir, 'shard', writeShards(filesOf(dump), { shards: 1 }));
  let turn = 0;
  const several = writeShards(filesOf(dump), { shards: 3, pick: (count) => turn++ % count });
  return {
    ustar: put('ustar.tar', '--format=ustar'),
    pax: put('pax.tar', '--format=pax', `--transform=s,^${name},checkpoint,`),
    gzip: put('dump.tar.gz', '--gzip'),
    zstd: put('dump.tar.zst', '--zstd'),
    shard: shards,
    shards: [putAll(dir, 'of', several).join(','), '--from', 'shards'],
  };
}

async function explore(path: string, topic: string, ...words: string[]): Promise<string> {
  const out = join(tempDir(), 'out');
  const { code, stderr } = await cli(['x', path, topic, ...words], { stdout: out });
  expect(code, stderr).toBe(0);
  return readFileSync(out, 'utf8');
}

describe('x', () => {
  it.each(DUMPS)('says of %s what it says of the directory', async (name) => {
    const dir = tempDir();
    for (const [path, ...words] of Object.values(forms(fixture(name), dir)) as [string, ...string[]][]) {
      for (const topic of ['ps', 'fds', 'mems', 'rss']) {
        expect(await explore(path, topic, ...words)).toBe(await explore(fixture(name), topic));
        expect(await explore(path, topic, ...words, '--json')).toBe(await explore(fixture(name), topic, '--json'));
      }
    }
    expect(openFiles(dir)).toEqual([]);
  });

  it('says which image is missing, and what is no dump', async () => {
    const dir = tempDir();
    const files = filesOf(fixture('mosaic-criu-4.2.1'));
    files.delete('pstree.img');
    const archive = join(dir, 'in.tar');
    writeFileSync(archive, Buffer.concat([...[...files].map(([name, bytes]) => member(name, bytes)), END]));
    const run = await cli(['x', archive, 'ps']);
    expect([run.code, run.stderr]).toEqual([1, expect.stringMatching(/pstree\.img: expected/)]);
    writeFileSync(archive, 'no dump at all\n'.repeat(50));
    expect((await cli(['x', archive, 'ps'])).stderr).toMatch(/expected a dump directory, tar, shards or a page stream/);
  });
});

describe('the memory of a plain archive', () => {
  it.each(DUMPS)('of %s is that of the directory', async (name) => {
    const dir = tempDir();
    for (const form of ['ustar', 'pax']) {
      const [path] = forms(fixture(name), dir)[form] as [string];
      const index = await ImageIndex.ofTar(path);
      if (!index) throw new Error('no archive');
      const memory = new DumpMemory(path, { index });
      onTestFinished(() => memory.close());
      for (const [pagemap, pages] of readMemory(fixture(name))) {
        if (pagemap.includes('shmem')) continue;
        const pid = Number(/\d+/.exec(pagemap)?.[0]);
        const space = memory.space(pid);
        for (const [address, bytes] of pages) {
          const [page] = space?.read(Number(address / 4096n), 1) ?? [];
          expect(Buffer.compare(page?.bytes ?? new Uint8Array(0), bytes)).toBe(0);
        }
      }
    }
  });

  it('is refused when the archive has changed, is cut off, or holds pages in pieces', async () => {
    const dir = tempDir();
    const { ustar } = forms(fixture('mosaic-criu-4.2.1'), dir) as { ustar: [string] };
    const index = await ImageIndex.ofTar(ustar[0]);
    const memory = new DumpMemory(ustar[0], index ? { index } : {});
    appendFileSync(ustar[0], 'x');
    expect(() => memory.space(memory.pids[0] as number)).toThrow(/expected the file as it was, found it changed/);
    memory.close();
    const size = readFileSync(ustar[0]).length;
    for (const cut of [size >> 1, 5000, 512]) {
      truncateSync(ustar[0], cut);
      const run = await cli(['serve', ustar[0]]);
      expect([run.code, run.stderr]).toEqual([1, expect.stringMatching(/expected .*found/)]);
    }
    mkdirSync(join(dir, 'a'));
    for (const [members, error] of [
      [[member('pstree.img', Buffer.from('x')), member('./pstree.img', Buffer.from('x'))], /found it twice/],
      [[member('pstree.img', Buffer.from('x')), member('../x', Buffer.from('x'))], /a file name inside the dump/],
      [[member('pstree.img', Buffer.from('x')), header('fifo', 0, { type: '6' })], /found a hard link, device or fifo/],
      [[member('text', Buffer.from('x'))], /no image in the archive/],
      [[member('pstree.img', Buffer.from('x'))], /no pagemap of a task/],
    ] as const) {
      writeFileSync(join(dir, 'bad.tar'), Buffer.concat([...members, END]));
      const run = await cli(['serve', join(dir, 'bad.tar')]);
      expect([run.code, run.stderr]).toEqual([1, expect.stringMatching(error)]);
    }
    expect(openFiles(dir)).toEqual([]);
  });

  it('is not served from what can only be read in sequence', async () => {
    const dir = tempDir();
    const { gzip, shard } = forms(fixture('mosaic-criu-4.2.1'), dir) as { gzip: [string]; shard: [string] };
    for (const [path] of [gzip, shard]) {
      const run = await cli(['serve', path]);
      expect([run.code, run.stderr]).toEqual([
        1,
        expect.stringMatching(/expected a directory or a plain tar archive, found another file\npagepipe: hint:/),
      ]);
    }
  });
});
