/** What is written has nothing in common with what is read, whatever --force says; and --force replaces dumps alone. */
import { cpSync, linkSync, mkdirSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it, vi } from 'vitest';
import { cli, type InProcessOptions } from '../helpers/cli.js';
import { copyFixture, describeTree, fixture, tempDir } from '../helpers/temp.js';

const DUMP = 'mosaic-criu-4.2.1';

/** The command fails and leaves all as it was. */
async function refuses(dir: string, error: RegExp, words: string[], options: InProcessOptions = {}): Promise<void> {
  const before = describeTree(dir);
  const { code, stderr } = await cli(words, options);
  expect([code, stderr]).toEqual([1, expect.stringMatching(error)]);
  expect(describeTree(dir)).toEqual(before);
}

async function runs(words: string[], options: InProcessOptions = {}): Promise<string> {
  const { code, stderr } = await cli(words, options);
  expect(code, stderr).toBe(0);
  return stderr;
}

/** A dump as shards, in a folder that is a dump as well. */
async function shards(dir: string): Promise<string[]> {
  const folder = join(dir, 'folder');
  cpSync(fixture(DUMP), folder, { recursive: true });
  const names = ['s0', 's1'].map((name) => join(folder, name));
  await runs(['copy', fixture(DUMP), names.join(','), '--to', 'shards']);
  return names;
}

describe('an output that is, holds or lies in', () => {
  it('a shard', async () => {
    const dir = tempDir();
    const names = await shards(dir);
    const from = ['make-lazy', names.join(','), '--from', 'shards', '--force'];
    await refuses(dir, /does not hold what is read: .*s0/, [...from, join(dir, 'folder')]);
    await refuses(dir, /outside of what is read: .*s1/, [...from, `${join(dir, 'x')},${names[1]}`, '--to', 'shards']);
    linkSync(names[1] as string, join(dir, 'hard'));
    await refuses(dir, /outside of what is read: .*s1/, [...from, join(dir, 'hard'), '--to', 'tar']);
  });

  it('stdin', async () => {
    const dir = tempDir();
    const out = join(dir, 'out');
    cpSync(fixture(DUMP), out, { recursive: true });
    const stdin = join(out, 'in.tar');
    await runs(['copy', fixture(DUMP), stdin, '--to', 'tar']);
    await refuses(dir, /out: expected an output that does not hold what is read: \d+/, ['copy', '-', out, '--force'], {
      stdin,
    });
    await refuses(dir, /expected an output outside of/, ['copy', '-', stdin, '--to', 'tar', '--force'], { stdin });
    await runs(['read', fixture(DUMP)], { stdout: join(out, 'stream') });
    await refuses(dir, /does not hold/, ['write', out, '--force'], { stdin: join(out, 'stream') });
  });

  it('a half that is merged', async () => {
    const dir = tempDir();
    const [hot, cold] = [join(dir, 'hot'), join(dir, 'cold')];
    await runs(['split', fixture(DUMP), hot, cold]);
    for (const half of [hot, cold]) {
      await refuses(dir, /outside of what is read/, ['merge', hot, cold, half, '--force']);
      await refuses(dir, /outside of what is read/, ['merge', hot, cold, join(half, 'x')]);
    }
  });

  it('a dump that the source builds on', async () => {
    const dir = tempDir();
    const dump = copyFixture('chain/mprotect00/3', dir);
    const chain = join(dump, '..');
    await runs(['copy', fixture(DUMP), join(dir, 'other')]);
    for (const name of ['1', '2', '2/x']) {
      await refuses(dir, /outside of what is read/, ['make-lazy', dump, join(chain, name), '--force']);
    }
    await refuses(dir, /outside of what is read/, ['split', dump, join(dir, 'hot'), join(chain, '1'), '--force']);
    symlinkSync(join(chain, '2'), join(dir, 'link'));
    await refuses(dir, /outside of what is read/, ['copy', dump, join(dir, 'link'), '--force']);
    await runs(['make-lazy', dump, join(dir, 'other'), '--force']);
  });

  it('the list of pages', async () => {
    const dir = tempDir();
    const out = join(dir, 'out');
    cpSync(fixture(DUMP), out, { recursive: true });
    const list = join(out, 'faults');
    writeFileSync(list, '');
    const words = ['make-lazy', fixture(DUMP), out, '--force', '--eager-list', list];
    await refuses(dir, /does not hold what is read: .*faults/, words);
  });

  it('an image, of a recording', async () => {
    const dir = tempDir();
    const dump = copyFixture(DUMP, dir);
    await refuses(dir, /outside of what is read/, ['serve', dump, '--record', join(dump, 'inventory.img'), '--stdio']);
  });
});

describe('--force', () => {
  it('replaces nothing but a dump', async () => {
    const dir = tempDir();
    const out = join(dir, 'out');
    mkdirSync(out);
    for (const name of ['a', 'b', 'c', 'd']) writeFileSync(join(out, name), 'mine');
    const words = ['make-lazy', fixture(DUMP), out];
    await refuses(dir, /found files in it\n$/, words);
    await refuses(dir, /expected a dump to replace, found a, b, c and 1 more in it\n/, [...words, '--force']);
    // As of criu dump in a home directory.
    writeFileSync(join(out, 'inventory.img'), '');
    writeFileSync(join(out, '.profile'), '');
    await refuses(dir, /expected a dump to replace, found \.profile in it\n/, [...words, '--force']);
  });

  it('replaces no home directory', async () => {
    const dir = tempDir();
    const home = join(dir, 'above/home');
    mkdirSync(home, { recursive: true });
    for (const place of [join(dir, 'above'), home]) writeFileSync(join(place, 'inventory.img'), '');
    vi.stubEnv('HOME', home);
    for (const place of [join(dir, 'above'), home]) {
      await refuses(dir, /expected a dump to replace/, ['make-lazy', fixture(DUMP), place, '--force']);
    }
    vi.unstubAllEnvs();
  });

  it('replaces what every command made', async () => {
    const dir = tempDir();
    const [hot, cold] = [join(dir, 'hot'), join(dir, 'cold')];
    for (const options of [[], ['--force']]) await runs(['split', fixture(DUMP), hot, cold, ...options]);
  });

  it('has other names where it means something else, and is accepted there with a note', async () => {
    const note = /^pagepipe: note: --force is called --(incomplete|unsafe-policy) here/;
    const stdout = join(tempDir(), 'stream');
    expect(await runs(['read', fixture(DUMP), '--force'], { stdout })).toMatch(note);
    expect(await runs(['read', fixture(DUMP), '--incomplete'], { stdout })).toBe('');
    expect(await runs(['classify', '--policy', 'seed', '--force'], { stdin: stdout })).toMatch(note);
    const out = join(tempDir(), 'out');
    const seed = ['make-lazy', fixture(DUMP), out, '--policy', 'seed', '--dry-run'];
    expect(await runs([...seed, '--force'])).toMatch(note);
    expect(await runs([...seed, '--unsafe-policy'])).not.toMatch(note);
  });
});
