/** A file that appears whole or not at all: whichever system call fails, and however little each of them does. */
import { chmodSync, existsSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { AtomicFile } from '../../src/io/atomic-file.js';
import { cli } from '../helpers/cli.js';
import { CALLS, type Call, faults } from '../helpers/faults.js';
import { noise, pipeData } from '../helpers/image-samples.js';
import { imageOf, toJson } from '../helpers/images.js';
import { describeTree, fixture, openFiles, tempDir } from '../helpers/temp.js';

const IMAGE = imageOf('PIPES_DATA', pipeData(20_000), noise(20_000), pipeData(3), noise(3));

/** A directory with an image, its JSON, and an older file; a command that writes a file there. */
function box(command: string): { root: string; words: string[]; out: string } {
  const root = tempDir();
  const path = (name: string) => join(root, name);
  writeFileSync(path('pipes-data.img'), IMAGE);
  writeFileSync(path('x.json'), toJson(IMAGE));
  writeFileSync(path('old'), 'old');
  chmodSync(path('old'), 0o640);
  symlinkSync('old', path('link'));
  const words = {
    'decode into a new file': ['decode', '-i', path('pipes-data.img'), '-o', path('new')],
    'decode into another file, behind a link': ['decode', '-i', path('pipes-data.img'), '-o', path('link')],
    'encode into another file': ['encode', '-i', path('x.json'), '-o', path('old')],
    'edit in place': ['edit', path('pipes-data.img'), '--set', 'entries[*].pipe_id=9'],
  }[command] as string[];
  const out = command === 'edit in place' ? path('pipes-data.img') : (words.at(-1) as string);
  return { root, words, out };
}

const COMMANDS = [
  'decode into a new file',
  'decode into another file, behind a link',
  'encode into another file',
  'edit in place',
];

/** That the names in a directory last is asked for when the file is in its place already. */
const isAfterwards = (call: Call, root: string) =>
  (call === 'openSync' && faults.lastFailure === `openSync ${root}`) || call === 'fsyncSync';

describe.each(COMMANDS)('%s', (command) => {
  it.each(CALLS)('fails whole with each %s', async (call) => {
    const { root, words, out } = box(command);
    faults.count(call);
    expect((await cli(words)).code).toBe(0);
    const total = faults.disarm();
    const whole = readFileSync(out, 'latin1');

    for (let nth = 1; nth <= total; nth++) {
      const again = box(command);
      const before = describeTree(again.root);
      faults.fail(call, nth);
      const outcome = await cli(again.words).catch(() => undefined);
      const { lastFailure } = faults;
      const where = `${call} ${nth}: ${lastFailure}`;
      const late = isAfterwards(call, again.root);
      faults.disarm();
      // The standard streams of a command in this process are opened by the test.
      if (/\/dev\/null$/.test(lastFailure)) continue;
      expect(outcome?.code, where).toBe(1);
      expect(outcome?.stderr, where).toMatch(/^pagepipe: error: .*: (input\/output error|.*made to fail).*\n$/);
      const after = describeTree(again.root);
      const isWhole = late && existsSync(again.out) && readFileSync(again.out, 'latin1') === whole;
      if (!isWhole) expect(after, where).toEqual(before);
      expect(openFiles(again.root), where).toEqual([]);
    }
    expect(openFiles(root)).toEqual([]);
  });

  it('writes the same where each call does little', async () => {
    const { words, out } = box(command);
    expect((await cli(words)).code).toBe(0);
    const whole = readFileSync(out);
    const again = box(command);
    faults.shorten(777);
    expect((await cli(again.words)).code).toBe(0);
    faults.disarm();
    expect(readFileSync(again.out).equals(whole)).toBe(true);
  });
});

describe('the file', () => {
  it('appears when it is committed', () => {
    const root = tempDir();
    const place = join(root, 'out');
    writeFileSync(place, 'old');
    const file = new AtomicFile(place);
    const bytes = Buffer.from('new');
    file.write(bytes);
    // What was given may change.
    bytes.fill(0);
    expect(readFileSync(place, 'utf8')).toBe('old');
    file.commit();
    file.discard();
    expect(readFileSync(place, 'utf8')).toBe('new');
    expect(describeTree(root)).toHaveLength(2);
  });

  it('leaves nothing when it is discarded', () => {
    const root = tempDir();
    const before = describeTree(root);
    const file = new AtomicFile(join(root, 'out'));
    file.write(Buffer.alloc(100_000));
    expect(describeTree(root)).toHaveLength(2);
    file.discard();
    file.discard();
    expect(describeTree(root)).toEqual(before);
  });
});

it.each(['file', 'directory'])('a link to something that is not there does not become a %s', async (kind) => {
  const root = tempDir();
  const link = join(root, kind === 'file' ? 'link.tar' : 'link');
  symlinkSync('nowhere', link);
  const { code, stderr } = await cli(['copy', fixture('mosaic-criu-4.2.1'), link]);
  expect([code, stderr.split('\n')[0]]).toEqual([
    1,
    `pagepipe: error: ${link}: it is a link to something that is not there`,
  ]);
  expect(describeTree(root)).toHaveLength(2);
});
