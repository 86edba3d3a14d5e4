/** An archive that podman made, whose members stand in podman's order: statistics and more before `checkpoint/`. */
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { END, member, others, plain, rawMembers, tar } from '../../helpers/archives.js';
import { cli } from '../../helpers/cli.js';
import { describeTree, fixture, tempDir } from '../../helpers/temp.js';

const ARCHIVE = join(fixture('podman'), 'counter.tar.gz');

/** The archive without compression, and what GNU tar makes of it; returns their paths. */
function unpack(dir: string): { archive: string; folder: string } {
  const [archive, folder] = [join(dir, 'full.tar'), join(dir, 'full')];
  writeFileSync(archive, plain(ARCHIVE));
  mkdirSync(folder);
  tar(folder, '-xf', archive);
  return { archive, folder };
}

async function run(words: readonly string[], options: { stdin?: string; stdout?: string } = {}): Promise<void> {
  const { code, stderr } = await cli(words, options);
  expect(code, stderr).toBe(0);
}

describe('a checkpoint archive of podman', () => {
  it('has statistics at its top, before the folder of the images', () => {
    const names = rawMembers(plain(ARCHIVE)).map(({ name }) => name);
    expect(names.indexOf('stats-dump')).toBeLessThan(names.indexOf('checkpoint/'));
    expect(names.indexOf('stats-dump')).toBeGreaterThanOrEqual(0);
    expect(names.at(-1)).toBe('volumes/data.tar');
  });

  it('made lazy differs in its memory alone, as a file and through pipes', async () => {
    const dir = tempDir();
    const { archive, folder } = unpack(dir);
    await run(['make-lazy', join(folder, 'checkpoint'), join(dir, 'lazy')]);
    const [small, packed, piped] = ['small.tar', 'small.tar.gz', 'piped.tar'].map((name) => join(dir, name));
    await run(['make-lazy', archive, small as string]);
    await run(['make-lazy', ARCHIVE, packed as string]);
    await run(['make-lazy', '-', '-', '--to', 'tar'], { stdin: ARCHIVE, stdout: piped as string });
    for (const path of [small, packed, piped] as string[]) {
      expect(others(plain(path))).toEqual(others(plain(ARCHIVE)));
      const out = `${path}.unpacked`;
      mkdirSync(out);
      writeFileSync(`${path}.plain`, plain(path));
      tar(out, '-xf', `${path}.plain`);
      expect(describeTree(join(out, 'checkpoint'))).toEqual(describeTree(join(dir, 'lazy')));
    }
    expect(readFileSync(small as string).length).toBeLessThan(readFileSync(archive).length / 2);
  });

  it('is explored like the folder in it', async () => {
    const dir = tempDir();
    const { archive, folder } = unpack(dir);
    for (const topic of ['ps', 'fds', 'mems', 'rss']) {
      await run(['x', join(folder, 'checkpoint'), topic], { stdout: join(dir, 'expected') });
      for (const path of [ARCHIVE, archive]) {
        await run(['x', path, topic], { stdout: join(dir, 'found') });
        expect(readFileSync(join(dir, 'found'), 'utf8')).toBe(readFileSync(join(dir, 'expected'), 'utf8'));
      }
    }
  });

  it('is no dump by its statistics alone', async () => {
    const dir = tempDir();
    const stats = rawMembers(plain(ARCHIVE)).find(({ name }) => name === 'stats-dump');
    const archive = join(dir, 'in.tar');
    writeFileSync(archive, Buffer.concat([member('stats-dump', stats?.data ?? END), END]));
    for (const words of [
      ['make-lazy', archive, join(dir, 'out.tar')],
      ['x', archive, 'ps'],
    ]) {
      const { code, stderr } = await cli(words);
      expect([code, stderr]).toEqual([
        1,
        `pagepipe: error: ${archive}: expected a dump, found no image in the archive\n`,
      ]);
    }
  });
});
