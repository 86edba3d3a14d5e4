/** Images read where they are, or held: by `x` and `verify` from whatever holds a dump, by `serve` from a plain archive. */
import { execFileSync } from 'node:child_process';
import {
  appendFileSync,
  copyFileSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import type { DumpFiles } from '../../src/dump/files.js';
import { DumpMemory } from '../../src/serve/memory.js';
import { archiveOf, END, filesOf, member, rawMembers, shardsOf, tar } from '../helpers/archives.js';
import { BIN, cli, runProcess } from '../helpers/cli.js';
import { contentOf, namesOf, openSource, sourceFiles } from '../helpers/dump-files.js';
import { readMemory } from '../helpers/dump-writer.js';
import { StreamWriter } from '../helpers/stream-writer.js';
import { FIXTURES, fixture, openFiles, tempDir } from '../helpers/temp.js';

const DUMPS = FIXTURES.filter((name) => !name.startsWith('chain/'));
const MOSAIC = fixture('mosaic-criu-4.2.1');

/** The page stream of a dump. */
async function streamOf(dump: string, dir: string): Promise<string> {
  const stream = join(dir, 'stream');
  const { code, stderr } = await cli(['read', dump], { stdout: stream });
  expect(code, stderr).toBe(0);
  return stream;
}

async function explore(path: string, topic: string, ...words: string[]): Promise<string> {
  const out = join(tempDir(), 'out');
  const { code, stderr } = await cli(['x', path, topic, ...words], { stdout: out });
  expect(code, stderr).toBe(0);
  return readFileSync(out, 'utf8');
}

/** Names of files whose content is not that of the directory. */
const differences = (files: DumpFiles, dump: string): string[] => {
  const expected = filesOf(dump);
  expect(namesOf(files).sort()).toEqual([...expected.keys()].sort());
  return [...expected].filter(([name, bytes]) => !contentOf(files, name).equals(bytes)).map(([name]) => name);
};

/** A dump whose files have holes where there are zeros, in archives of all forms of sparse files. */
function sparseArchives(dump: string, dir: string): string[] {
  const copy = join(dir, 'sparse');
  execFileSync('cp', ['-r', '--sparse=always', dump, copy]);
  return ['gnu', 'pax'].flatMap((format) =>
    (format === 'gnu' ? ['1.0'] : ['0.0', '0.1', '1.0']).map((version) => {
      const path = join(dir, `${format}-${version}.tar`);
      tar(dir, '-cf', path, '--sparse', `--sparse-version=${version}`, `--format=${format}`, 'sparse');
      const plain = filesOf(dump).get('pages-2.img') as Buffer;
      const stored = rawMembers(readFileSync(path)).find(({ name }) => name.endsWith('pages-2.img'));
      expect(stored?.data.length).toBeLessThan(plain.length);
      return path;
    }),
  );
}

describe('x', () => {
  it('reads a sparse archive, one from stdin, and a named pipe', async () => {
    const dir = tempDir();
    const expected = await explore(MOSAIC, 'rss');
    for (const path of sparseArchives(MOSAIC, dir)) expect(await explore(path, 'rss')).toBe(expected);
    const archive = archiveOf(MOSAIC, join(dir, 'tar'));
    const out = join(dir, 'out');
    expect(await cli(['x', '-', 'rss'], { stdin: archive, stdout: out })).toMatchObject({ code: 0, stderr: '' });
    expect(readFileSync(out, 'utf8')).toBe(expected);
    const script = 'mkfifo "$1/fifo" && (cat "$2" > "$1/fifo" & "$NODE" "$BIN" x "$1/fifo" rss)';
    const env = { ...process.env, NODE: process.execPath, BIN };
    const run = await runProcess('timeout', ['60', 'sh', '-c', script, 'sh', dir, archive], { env });
    expect(run).toMatchObject({ code: 0, stderr: '', stdout: expected });
  });

  it('spills what is beyond its budget, and leaves nothing', async () => {
    const dir = tempDir();
    const gzip = archiveOf(MOSAIC, join(dir, 'gz'), '--gzip');
    mkdirSync(join(dir, 'spill'));
    const options = ['--buffer', '0', '--spill-dir', join(dir, 'spill')];
    expect(await explore(gzip, 'mems', ...options)).toBe(await explore(MOSAIC, 'mems'));
    expect(readdirSync(join(dir, 'spill'))).toEqual([]);
    const run = await cli(['x', gzip, 'ps', '--buffer', '0', '--spill-dir', join(dir, 'none')]);
    expect([run.code, run.stderr.split('\n')]).toEqual([
      1,
      [
        `pagepipe: error: ${join(dir, 'none')}: no such file or directory (ENOENT)`,
        'pagepipe: hint: pages wait in a temporary file; --spill-dir or TMPDIR names another folder for it',
        '',
      ],
    ]);
    expect(openFiles(dir)).toEqual([]);
  });

  it('says which image is missing, and what is no dump', async () => {
    const dir = tempDir();
    const files = filesOf(MOSAIC);
    files.delete('pstree.img');
    const archive = join(dir, 'in.tar');
    writeFileSync(archive, Buffer.concat([...[...files].map(([name, bytes]) => member(name, bytes)), END]));
    const run = await cli(['x', archive, 'ps']);
    expect([run.code, run.stderr]).toEqual([
      1,
      'pagepipe: error: pstree.img: the image is missing; every dump of processes has it\n' +
        'pagepipe: hint: a pre-dump holds memory alone: explore the last dump of its chain\n',
    ]);
    writeFileSync(archive, 'no dump at all\n'.repeat(50));
    expect((await cli(['x', archive, 'ps'])).stderr).toBe(
      `pagepipe: error: ${archive}: expected a dump directory, tar, shards or a page stream, found none of them\n`,
    );
  });
});

describe('files at random', () => {
  it('of a sparse archive has zeros in the holes', async () => {
    for (const path of sparseArchives(MOSAIC, tempDir())) {
      const files = await sourceFiles(path);
      expect(differences(files, MOSAIC)).toEqual([]);
      const pages = filesOf(MOSAIC).get('pages-2.img') as Buffer;
      const part = Buffer.alloc(5000);
      for (let at = 0; at < pages.length + 5000; at += 3333) {
        const count = files.readSome('pages-2.img', part, at);
        expect(count === 0).toBe(at >= pages.length);
        expect(Buffer.compare(part.subarray(0, count), pages.subarray(at, at + count))).toBe(0);
      }
    }
  });

  it('of a page stream that was filtered has the files that write makes of it', async () => {
    const dir = tempDir();
    const [stream, filtered, out] = ['stream', 'filtered', 'out'].map((name) => join(dir, name)) as [
      string,
      string,
      string,
    ];
    await streamOf(MOSAIC, dir);
    for (const [words, stdin, stdout] of [
      [['classify'], stream, join(dir, 'classified')],
      [['filter', '--drop', 'lazy'], join(dir, 'classified'), filtered],
      [['write', out], filtered, '/dev/null'],
    ] as const) {
      expect((await cli(words, { stdin, stdout })).code).toBe(0);
    }
    expect(differences(await sourceFiles(filtered, { pages: 'hold' }), out)).toEqual([]);
  });

  it('of a page stream with a space without pages has its empty images', async () => {
    const stream = join(tempDir(), 'stream');
    const writer = new StreamWriter().header(8192).file('pstree.img', 'x');
    for (const i of [0, 1]) writer.space(i, `pagemap-${7 + i}.img`, i + 1);
    writeFileSync(stream, writer.end());
    const files = await sourceFiles(stream);
    expect(files.pageSize).toBe(8192);
    expect(namesOf(files)).toEqual(['pstree.img', 'pagemap-7.img', 'pages-1.img', 'pagemap-8.img', 'pages-2.img']);
    expect([files.stat('pagemap-8.img')?.size, files.stat('pages-2.img')?.size]).toEqual([14, 0]);
  });

  it('is refused beyond --max-bytes, also where holes of a sparse file add up', async () => {
    const dir = tempDir();
    const gzip = archiveOf(MOSAIC, join(dir, 'gz'), '--gzip');
    const [shard] = shardsOf(MOSAIC, dir, 1) as [string];
    for (const [path, error] of [
      [gzip, `${gzip}: expected at most 100000 plain bytes, found more`],
      [shard, 'pages-2.img: expected a dump of at most 100000 bytes, found more'],
    ] as const) {
      await expect(sourceFiles(path, { maxBytes: 100_000 })).rejects.toMatchObject({ message: error });
    }
    execFileSync('truncate', ['-s', '1T', join(dir, 'pages-9.img')]);
    copyFileSync(join(MOSAIC, 'pstree.img'), join(dir, 'pstree.img'));
    tar(dir, '-czSf', join(dir, 'sparse.tar.gz'), 'pstree.img', 'pages-9.img');
    await expect(sourceFiles(join(dir, 'sparse.tar.gz'), { maxBytes: 2 ** 30 })).rejects.toMatchObject({
      message: 'pages-9.img: expected a dump of at most 1073741824 bytes, found more',
    });
  });
});

describe('the memory of a plain archive', () => {
  it.each(DUMPS)('of %s is that of the directory', async (name) => {
    const dir = tempDir();
    const dump = fixture(name);
    const archives = ['ustar', 'pax', 'gnu'].map((form) => archiveOf(dump, join(dir, form), `--format=${form}`));
    for (const path of [...archives, ...(dump === MOSAIC ? sparseArchives(dump, dir) : [])]) {
      const memory = new DumpMemory(await sourceFiles(path));
      for (const [pagemap, pages] of readMemory(dump)) {
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

  it('is refused when the archive has changed, or is cut off', async () => {
    const dir = tempDir();
    const archive = archiveOf(MOSAIC, join(dir, 'tar'));
    const memory = new DumpMemory(await openSource(archive));
    appendFileSync(archive, 'x');
    expect(() => memory.space(memory.pids[0] as number)).toThrow(
      `${archive}: the file has changed since it was opened`,
    );
    memory.close();
    const size = readFileSync(archive).length;
    for (const [cut, error] of [
      [size >> 1, '@0x68500: expected 422144 more bytes of a file, found the end of the archive'],
      [5000, '@0x1200: expected 120 more bytes of a header, found the end of the archive'],
      [512, '@0x200: expected the end of the archive, found something else'],
    ] as const) {
      truncateSync(archive, cut);
      const run = await cli(['serve', archive]);
      expect([run.code, run.stderr]).toEqual([1, `pagepipe: error: ${archive}${error}\n`]);
    }
    writeFileSync(join(dir, 'bad.tar'), Buffer.concat([member('pstree.img', Buffer.from('x')), END]));
    const run = await cli(['serve', join(dir, 'bad.tar')]);
    expect([run.code, run.stderr]).toEqual([
      1,
      `pagepipe: error: ${join(dir, 'bad.tar')}: expected a dump, found no pagemap of a task\n`,
    ]);
    expect(openFiles(dir)).toEqual([]);
  });
});
