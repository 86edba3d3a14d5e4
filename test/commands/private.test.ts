/** A dump that its folder kept private stays private where it is copied to, by every command that writes a directory or a file. */
import { chmodSync, mkdirSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { cli } from '../helpers/cli.js';
import { copyFixture, tempDir } from '../helpers/temp.js';

const modeOf = (path: string): string => (statSync(path).mode & 0o7777).toString(8);

/** An open dump in a folder of this mode, a place elsewhere, and one next to it. */
function dumpIn(mode: number) {
  const root = tempDir();
  const folder = join(root, 'above/folder');
  mkdirSync(folder, { recursive: true });
  const dump = copyFixture('family-criu-4.2.1', folder);
  chmodSync(dump, 0o755);
  chmodSync(join(root, 'above'), mode);
  const at = (name: string) => join(root, name);
  return { dump, out: at('out'), cold: at('cold'), stream: at('stream'), beside: join(folder, 'out') };
}

type Places = ReturnType<typeof dumpIn>;

const COMMANDS: Record<string, (places: Places) => string[]> = {
  copy: ({ dump, out }) => ['copy', dump, out],
  'make-lazy': ({ dump, out }) => ['make-lazy', dump, out],
  split: ({ dump, out, cold }) => ['split', dump, cold, out],
  decode: ({ dump, out }) => ['decode', '-i', join(dump, 'core-15.img'), '-o', out],
  edit: ({ dump, out }) => ['edit', join(dump, 'core-15.img'), '--set', 'entries[0].tc.comm=x', '-o', out],
};

describe.each(Object.entries(COMMANDS))('%s', (name, words) => {
  it.each([
    [0o700, '700', '600'],
    [0o710, '750', '640'],
    [0o750, '750', '640'],
    [0o711, '755', '644'],
    [0o755, '755', '644'],
  ])('a folder of mode %o', async (mode, directory, file) => {
    const places = dumpIn(mode);
    expect((await cli(words(places))).code).toBe(0);
    expect(modeOf(places.out)).toBe(['decode', 'edit'].includes(name) ? file : directory);
  });
});

it('in the same private folder, the copy has the mode of the dump', async () => {
  const { dump, beside } = dumpIn(0o700);
  expect((await cli(['copy', dump, beside])).code).toBe(0);
  expect(modeOf(beside)).toBe('755');
});

it('a page stream says it, because it may go anywhere', async () => {
  const { dump, stream, beside } = dumpIn(0o700);
  await cli(['read', dump], { stdout: stream });
  expect((await cli(['write', beside], { stdin: stream })).code).toBe(0);
  expect(modeOf(beside)).toBe('700');
});

it('archives and shards are private in any case', async () => {
  const { dump, out } = dumpIn(0o755);
  await cli(['copy', dump, `${out}.tar`]);
  await cli(['copy', dump, `${out}.shard`, '--to', 'shards']);
  expect([modeOf(`${out}.tar`), modeOf(`${out}.shard`)]).toEqual(['600', '600']);
});
