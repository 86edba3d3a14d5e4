/** Archives and shards as outputs: read again, they are the dump that went in. */
import { closeSync, existsSync, openSync, readdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { filesOf, rawMembers, tar } from '../helpers/archives.js';
import { cli } from '../helpers/cli.js';
import { copyFixture, describeTree, FIXTURES, fixture, openFiles, tempDir } from '../helpers/temp.js';

async function run(words: readonly string[], options: { stdin?: string; stdout?: string } = {}): Promise<string> {
  const { code, stderr } = await cli(words, options);
  expect(code, stderr).toBe(0);
  return stderr;
}

/** What the markers of a set of shards say, in order: a reader of its own. */
function markersOf(shards: readonly Buffer[]): { seq: number; what: string; bytes: number }[] {
  const markers = shards.flatMap((shard) => {
    const found = [];
    let last = -1;
    for (let at = 0; at < shard.length; ) {
      const end = at + 4 + shard.readUInt32LE(at);
      const values = new Map<number, number>();
      let name = '';
      for (let i = at + 4; i < end; ) {
        const field = (shard[i++] as number) >> 3;
        let value = 0;
        for (let scale = 1; ; scale *= 128) {
          const byte = shard[i++] as number;
          value += (byte & 127) * scale;
          if (byte < 128) break;
        }
        values.set(field, value);
        if (field !== 2) continue;
        name = shard.toString('utf8', i, i + value);
        i += value;
      }
      const seq = values.get(1) ?? 0;
      expect(seq).toBeGreaterThan(last);
      last = seq;
      const bytes = values.get(3) ?? 0;
      const what = values.has(2) ? `name ${name}` : values.has(3) ? 'data' : values.has(4) ? 'file end' : 'image end';
      found.push({ seq, what, bytes });
      at = end + bytes;
    }
    return found;
  });
  return markers.sort((a, b) => a.seq - b.seq);
}

describe('shards', () => {
  it('are what criu-image-streamer wants: markers without gaps, names where files change, one end of each', async () => {
    const dir = tempDir();
    const places = [0, 1, 2].map((i) => join(dir, `shard${i}`));
    await run(['make-lazy', fixture('family-criu-4.2.1'), places.join(','), '--to', 'shards']);
    const markers = markersOf(places.map((path) => readFileSync(path)));
    let current = '';
    let before = '';
    const ended: string[] = [];
    for (const [i, { seq, what, bytes }] of markers.entries()) {
      expect(seq).toBe(i);
      expect(bytes).toBeLessThanOrEqual(65536);
      if (what.startsWith('name ')) {
        // Something follows, and the file is another.
        expect(what).not.toBe(`name ${current}`);
        expect(before.startsWith('name ')).toBe(false);
        current = what.slice(5);
        expect(ended).not.toContain(current);
      } else if (what === 'data') expect(bytes).toBeGreaterThan(0);
      else if (what === 'file end') ended.push(current);
      else expect(i).toBe(markers.length - 1);
      before = what;
    }
    await run(['make-lazy', fixture('family-criu-4.2.1'), join(dir, 'lazy')]);
    expect(ended.sort()).toEqual(readdirSync(join(dir, 'lazy')).sort());
    const sizes = places.map((path) => readFileSync(path).length);
    expect(Math.max(...sizes) - Math.min(...sizes)).toBeLessThan(2 * 65536);
  });

  it('of a capture, by descriptors, give the capture again', async () => {
    const dir = tempDir();
    await run(['read', join(fixture('streamer'), 'single.stream')], { stdout: join(dir, 'stream') });
    const fds = [0, 1].map((i) => openSync(join(dir, `shard${i}`), 'w'));
    await run(['write', '--shard-fds', fds.join(',')], { stdin: join(dir, 'stream') });
    for (const fd of fds) closeSync(fd);
    const shards = [0, 1].map((i) => join(dir, `shard${i}`)).join(',');
    await run(['make-lazy', shards, join(dir, 'a'), '--from', 'shards']);
    await run(['make-lazy', join(fixture('streamer'), 'single.stream'), join(dir, 'b')]);
    expect(describeTree(join(dir, 'a'))).toEqual(describeTree(join(dir, 'b')));
  });

  it('hold no folders, no links and no parents, and say so', async () => {
    const dir = tempDir();
    const chain = copyFixture('chain/mprotect00/3', dir);
    const refused = async (dump: string, link: string) => {
      const { code, stderr } = await cli(['make-lazy', dump, join(dir, 'shard'), '--to', 'shards']);
      expect([code, stderr]).toEqual([1, `pagepipe: error: ${link}: shards cannot hold links\n`]);
      expect(readdirSync(dir).filter((name) => name.includes('shard'))).toEqual([]);
    };
    await refused(chain, 'parent');
    const dump = copyFixture('mosaic-criu-4.2.1', dir);
    symlinkSync('files.img', join(dump, 'aaa'));
    await refused(dump, 'aaa');
  });

  it('appear as a whole or not at all, and replace nothing', async () => {
    const dir = tempDir();
    await run(['read', fixture('mosaic-criu-4.2.1')], { stdout: join(dir, 'stream') });
    const stream = readFileSync(join(dir, 'stream'));
    writeFileSync(join(dir, 'cut'), stream.subarray(0, stream.length - 100));
    const places = [0, 1].map((i) => join(dir, `shard${i}`)).join(',');
    const before = describeTree(dir);
    expect((await cli(['write', places, '--to', 'shards'], { stdin: join(dir, 'cut') })).code).toBe(1);
    expect((await cli(['write', `${places},${places}`, '--to', 'shards'], { stdin: join(dir, 'stream') })).code).toBe(
      2,
    );
    const there = `${join(dir, 'shard0')},${join(dir, 'cut')}`;
    const { stderr } = await cli(['write', there, '--to', 'shards'], { stdin: join(dir, 'stream') });
    expect(stderr).toBe(
      `pagepipe write: error: ${join(dir, 'cut')}: expected a new file, found a file\n` +
        'pagepipe write: hint: use --force to replace it\n',
    );
    expect(describeTree(dir)).toEqual(before);
    expect(openFiles(dir)).toEqual([]);
  });
});

describe('archives', () => {
  it.each(FIXTURES)('of %s unpack to it', async (name) => {
    const dir = tempDir();
    const dump = copyFixture(name, dir);
    await run(['read', dump], { stdout: join(dir, 'stream') });
    // Compression does not depend on what is in the dump.
    const compressed = name === 'mosaic-criu-4.2.1' ? ['gzip', 'zstd'] : [];
    const shapes = [[], ...compressed.map((compression) => ['--compress', compression, '--buffer', '0'])];
    for (const [i, words] of shapes.entries()) {
      const archive = join(dir, `${i}.tar`);
      const options = ['--prefix', 'images/checkpoint', '--spill-dir', dir, ...words];
      await run(['write', archive, '--to', 'tar', ...options], { stdin: join(dir, 'stream') });
      tar(dir, '-xf', archive, '--one-top-level=unpacked');
      expect(describeTree(join(dir, 'unpacked/images/checkpoint')).slice(1)).toEqual(describeTree(dump).slice(1));
      await run(['read', archive], { stdout: join(dir, 'again') });
      await run(['write', join(dir, `out${i}`)], { stdin: join(dir, 'again') });
      expect(describeTree(join(dir, `out${i}`)).slice(1)).toEqual(describeTree(dump).slice(1));
    }
    expect(rawMembers(readFileSync(join(dir, '0.tar'))).length).toBe(readdirSync(dump).length);
  });

  it('go to stdout as -, and warn of holes', async () => {
    const dir = tempDir();
    const lazy = join(dir, 'lazy');
    await run(['make-lazy', fixture('mosaic-criu-4.2.1'), lazy]);
    await run(['read', lazy], { stdout: join(dir, 'stream') });
    const warning = await run(['write', '-', '--to', 'tar'], {
      stdin: join(dir, 'stream'),
      stdout: join(dir, 'out.tar'),
    });
    expect(warning).toBe(
      'pagepipe write: warning: -: never restore this archive without --lazy-pages: its lazy pages are not in it, and CRIU ' +
        'would spin forever, or restore a process that computes on zeros\n',
    );
    tar(dir, '-xf', join(dir, 'out.tar'), '--one-top-level=out');
    expect(filesOf(join(dir, 'out'))).toEqual(filesOf(lazy));
  });

  it('that cannot be written leave nothing', async () => {
    const dir = tempDir();
    for (const words of [[], ['--compress', 'gzip'], ['--compress', 'zstd']]) {
      await run(['read', fixture('mosaic-criu-4.2.1')], { stdout: join(dir, 'stream') });
      const out = await cli(['write', '/dev/full', '--to', 'tar', ...words], { stdin: join(dir, 'stream') });
      expect([out.code, out.stderr]).toEqual([
        75,
        'pagepipe write: error: /dev/full: no space left on device (ENOSPC)\n',
      ]);
    }
    expect(existsSync('/dev/full')).toBe(true);
    const words = ['--compress', 'gzip', '--to', 'directory'];
    expect((await cli(['write', join(dir, 'x'), ...words], { stdin: join(dir, 'stream') })).code).toBe(2);
  });
});
