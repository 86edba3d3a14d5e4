/** A parent that is a folder instead of a link, as `scp -r` and `cp -rL` make it, is a parent. */
import { execFileSync } from 'node:child_process';
import { lstatSync, readFileSync, readlinkSync, realpathSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { archiveOf } from '../helpers/archives.js';
import { cli } from '../helpers/cli.js';
import { describeTree, fixture, tempDir } from '../helpers/temp.js';

const SOUND = /: no errors, \d warnings? in 16 files\n$/;

/** A dump with its parents in folders. */
function foldedDump(): string {
  const dump = join(tempDir(), 'dump');
  execFileSync('cp', ['-rL', fixture('chain/mprotect00/3'), dump]);
  expect(lstatSync(join(dump, 'parent')).isDirectory()).toBe(true);
  return dump;
}

/** Runs a command line that must succeed. */
async function run(words: string[], options = {}): Promise<string> {
  const { code, stderr } = await cli(words, options);
  expect(code, stderr).toBe(0);
  return stderr;
}

describe('in a directory', () => {
  it('is checked', async () => {
    expect(await run(['verify', foldedDump()])).toMatch(SOUND);
  });

  it.each(['copy', 'make-lazy'])('is linked to by %s', async (command) => {
    const [dump, out] = [foldedDump(), join(tempDir(), 'out')];
    await run([command, dump, out]);
    expect(readlinkSync(join(out, 'parent'))).toBe(realpathSync(join(dump, 'parent')));
    expect(await run(['verify', out])).toMatch(SOUND);
  });

  it('is linked to by what is read and written again', async () => {
    const [dump, stream, out] = [foldedDump(), join(tempDir(), 'stream'), join(tempDir(), 'out')];
    await run(['read', dump], { stdout: stream });
    await run(['write', out], { stdin: stream });
    expect(readlinkSync(join(out, 'parent'))).toBe(realpathSync(join(dump, 'parent')));
  });

  it.each(['ps', 'mems', 'rss', 'fds'])('changes nothing for x %s', async (topic) => {
    const [found, expected] = [join(tempDir(), 'found'), join(tempDir(), 'expected')];
    await run(['x', foldedDump(), topic], { stdout: found });
    await run(['x', fixture('chain/mprotect00/3'), topic], { stdout: expected });
    expect(readFileSync(found, 'utf8')).toBe(readFileSync(expected, 'utf8'));
  });
});

describe.each([
  ['a plain archive', []],
  ['a compressed archive', ['-z']],
])('in %s', (_, options) => {
  const archive = (dump: string) => archiveOf(dump, join(tempDir(), 'archive'), ...options);

  it('is copied with its files', async () => {
    const [dump, out] = [foldedDump(), join(tempDir(), 'out')];
    await run(['copy', archive(dump), out]);
    expect(describeTree(out).slice(1)).toEqual(describeTree(dump).slice(1));
    expect(await run(['verify', out])).toMatch(SOUND);
  });

  it('is kept by make-lazy', async () => {
    const [dump, out] = [foldedDump(), join(tempDir(), 'out')];
    await run(['make-lazy', archive(dump), out]);
    expect(describeTree(join(out, 'parent'))).toEqual(describeTree(join(dump, 'parent')));
    expect(await run(['verify', out])).toMatch(SOUND);
  });

  it('is said not to be checked', async () => {
    const stdout = join(tempDir(), 'stdout');
    expect((await cli(['verify', archive(foldedDump())], { stdout })).code).toBe(1);
    expect(readFileSync(stdout, 'utf8')).toBe(
      'parent: the parent dump has pages of this one, but a parent in a folder is only checked in a directory: ' +
        'unpack the dump first\n',
    );
  });
});
