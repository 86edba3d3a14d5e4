/** Shards that were compressed, each for itself. */
import { execFileSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { shardsOf } from '../../helpers/archives.js';
import { cli } from '../../helpers/cli.js';
import { describeTree, fixture, tempDir } from '../../helpers/temp.js';

const DUMP = fixture('mosaic-criu-4.2.1');

test('shards may be compressed, and not all of them alike', async () => {
  const dir = tempDir();
  const [first, second, third] = shardsOf(DUMP, dir, 3) as [string, string, string];
  execFileSync('zstd', ['-q', first]);
  execFileSync('gzip', [second]);
  const out = join(dir, 'out');
  const words = ['copy', `${first}.zst,${second}.gz,${third}`, out, '--from', 'shards'];
  expect(await cli(words)).toMatchObject({ code: 0, stderr: '' });
  // Shards have no modes.
  const names = (path: string) => describeTree(path).map((line) => line.replace(/ [0-7]{3} /, ' '));
  expect(names(out).slice(1)).toEqual(names(DUMP).slice(1));
});

test('a compressed shard that is cut off is an error', async () => {
  const dir = tempDir();
  const [first, second] = shardsOf(DUMP, dir, 2) as [string, string];
  execFileSync('gzip', [first]);
  writeFileSync(`${first}.gz`, readFileSync(`${first}.gz`).subarray(0, -100));
  const { code, stderr } = await cli(['copy', `${first}.gz,${second}`, join(dir, 'out'), '--from', 'shards']);
  expect(code).toBe(1);
  expect(stderr).toMatch(
    /^pagepipe: error: \S+\.gz: the gzip data is cut off or damaged after \d+ plain bytes: [^\n]+\n$/,
  );
});
