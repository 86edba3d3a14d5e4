/** What is written has nothing in common with what is read, whatever --force says; and --force replaces dumps alone. */
import { cpSync, linkSync, mkdirSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it, vi } from 'vitest';
import { cli, type InProcessOptions } from '../helpers/cli.js';
import { copyFixture, describeTree, fixture, tempDir } from '../helpers/temp.js';

const DUMP = 'mosaic-criu-4.2.1';

/** The command fails and leaves all as it was. */
async function refuses(dir: string, error: string, words: string[], options: InProcessOptions = {}): Promise<void> {
  const before = describeTree(dir);
  const { code, stderr } = await cli(words, options);
  expect([code, stderr.replace('pagepipe write: ', 'pagepipe: ').replace(/descriptor \d+/, 'descriptor N')]).toEqual([
    1,
    `pagepipe: error: ${error}\n`,
  ]);
  expect(describeTree(dir)).toEqual(before);
}

/** What is said of an output that is an input, or lies in one. */
const inside = (output: string, input: string): string =>
  `${output}: the output must be outside of what is read: ${input}`;
const holds = (output: string, input: string): string =>
  `${output}: the output must not contain what is read: ${input}`;

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
    const [first, second] = names as [string, string];
    await refuses(dir, holds(join(dir, 'folder'), first), [...from, join(dir, 'folder')]);
    await refuses(dir, inside(second, second), [...from, `${join(dir, 'x')},${second}`, '--to', 'shards']);
    const hard = join(dir, 'hard');
    linkSync(second, hard);
    await refuses(dir, inside(hard, second), [...from, hard, '--to', 'tar']);
  });

  it('stdin', async () => {
    const dir = tempDir();
    const out = join(dir, 'out');
    cpSync(fixture(DUMP), out, { recursive: true });
    const stdin = join(out, 'in.tar');
    await runs(['copy', fixture(DUMP), stdin, '--to', 'tar']);
    await refuses(dir, holds(out, 'descriptor N'), ['copy', '-', out, '--force'], { stdin });
    await refuses(dir, inside(stdin, 'descriptor N'), ['copy', '-', stdin, '--to', 'tar', '--force'], { stdin });
    await runs(['read', fixture(DUMP)], { stdout: join(out, 'stream') });
    await refuses(dir, holds(out, 'descriptor N'), ['write', out, '--force'], { stdin: join(out, 'stream') });
  });

  it('a half that is merged', async () => {
    const dir = tempDir();
    const [hot, cold] = [join(dir, 'hot'), join(dir, 'cold')];
    await runs(['split', fixture(DUMP), hot, cold]);
    for (const half of [hot, cold]) {
      await refuses(dir, inside(half, half), ['merge', hot, cold, half, '--force']);
      await refuses(dir, inside(join(half, 'x'), half), ['merge', hot, cold, join(half, 'x')]);
    }
  });

  it('a dump that the source builds on', async () => {
    const dir = tempDir();
    const dump = copyFixture('chain/mprotect00/3', dir);
    const chain = join(dump, '..');
    await runs(['copy', fixture(DUMP), join(dir, 'other')]);
    for (const name of ['1', '2', '2/x']) {
      const error = inside(join(chain, name), join(chain, name.slice(0, 1)));
      await refuses(dir, error, ['make-lazy', dump, join(chain, name), '--force']);
    }
    const first = join(chain, '1');
    await refuses(dir, inside(first, first), ['split', dump, join(dir, 'hot'), first, '--force']);
    const link = join(dir, 'link');
    symlinkSync(join(chain, '2'), link);
    await refuses(dir, inside(link, join(chain, '2')), ['copy', dump, link, '--force']);
    await runs(['make-lazy', dump, join(dir, 'other'), '--force']);
  });

  it('the list of pages', async () => {
    const dir = tempDir();
    const out = join(dir, 'out');
    cpSync(fixture(DUMP), out, { recursive: true });
    const list = join(out, 'faults');
    writeFileSync(list, '');
    const words = ['make-lazy', fixture(DUMP), out, '--force', '--eager-list', list];
    await refuses(dir, holds(out, list), words);
  });

  it('an image, of a recording', async () => {
    const dir = tempDir();
    const dump = copyFixture(DUMP, dir);
    const image = join(dump, 'inventory.img');
    await refuses(dir, inside(image, dump), ['serve', dump, '--record', image, '--stdio']);
  });
});

describe('--force', () => {
  const foreign = (place: string, found: string) =>
    `${place}: expected a dump to replace, found ${found} in it\n` +
    'pagepipe: hint: --force replaces nothing but dumps: remove it yourself if nothing of it is needed';

  it('replaces nothing but a dump', async () => {
    const dir = tempDir();
    const out = join(dir, 'out');
    mkdirSync(out);
    for (const name of ['a', 'b', 'c', 'd']) writeFileSync(join(out, name), 'mine');
    const words = ['make-lazy', fixture(DUMP), out];
    await refuses(dir, `${out}: expected a new or empty directory, found files in it`, words);
    await refuses(dir, foreign(out, 'a, b, c and 1 more'), [...words, '--force']);
    // As of criu dump in a home directory.
    writeFileSync(join(out, 'inventory.img'), '');
    writeFileSync(join(out, '.profile'), '');
    await refuses(dir, foreign(out, '.profile'), [...words, '--force']);
  });

  it('replaces no home directory', async () => {
    const dir = tempDir();
    const home = join(dir, 'above/home');
    mkdirSync(home, { recursive: true });
    for (const place of [join(dir, 'above'), home]) writeFileSync(join(place, 'inventory.img'), '');
    vi.stubEnv('HOME', home);
    for (const [place, found] of [
      [join(dir, 'above'), 'home, inventory.img'],
      [home, 'inventory.img'],
    ] as const) {
      await refuses(dir, foreign(place, found), ['make-lazy', fixture(DUMP), place, '--force']);
    }
    vi.unstubAllEnvs();
  });

  it('replaces what every command made', async () => {
    const dir = tempDir();
    const [hot, cold] = [join(dir, 'hot'), join(dir, 'cold')];
    for (const options of [[], ['--force']]) await runs(['split', fixture(DUMP), hot, cold, ...options]);
  });

  it('has other names where it means something else, and is accepted there with a note', async () => {
    const note = (name: string, stage = '') =>
      `pagepipe${stage}: note: --force is called --${name} here, and will not be accepted from 1.0 on\n`;
    const stdout = join(tempDir(), 'stream');
    expect(await runs(['read', fixture(DUMP), '--force'], { stdout })).toBe(note('incomplete', ' read'));
    expect(await runs(['read', fixture(DUMP), '--incomplete'], { stdout })).toBe('');
    expect(await runs(['classify', '--policy', 'seed', '--force'], { stdin: stdout })).toBe(
      note('unsafe-policy', ' classify'),
    );
    const out = join(tempDir(), 'out');
    const seed = ['make-lazy', fixture(DUMP), out, '--policy', 'seed', '--dry-run'];
    const report = await runs([...seed, '--unsafe-policy']);
    expect(await runs([...seed, '--force'])).toBe(note('unsafe-policy') + report);
  });
});
