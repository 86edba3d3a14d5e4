/** The name of OUT says what is written, in every command that writes a dump. */
import { mkdtempSync, readFileSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { SOUND } from '../helpers/broken-dumps.js';
import { cli, type InProcessOptions } from '../helpers/cli.js';
import { writeDump } from '../helpers/dump-writer.js';
import { describeTree, tempDir } from '../helpers/temp.js';

const inputs = mkdtempSync(join(tmpdir(), 'pagepipe-test-'));
const at = (name: string) => join(inputs, name);
const DUMP = at('dump');

async function run(words: readonly string[], options: InProcessOptions = {}): Promise<void> {
  const { code, stderr } = await cli(words, options);
  expect(code, stderr).toBe(0);
}

beforeAll(async () => {
  writeDump(DUMP, SOUND);
  await run(['copy', DUMP, at('dump.tar')]);
  await run(['read', DUMP], { stdout: at('stream') });
  await run(['split', DUMP, at('hot'), at('cold')]);
});

afterAll(() => rmSync(inputs, { recursive: true }));

/** What is in a place, by its first bytes. */
function kindOf(place: string): string {
  if (statSync(place).isDirectory()) return 'directory';
  const bytes = readFileSync(place);
  if (bytes[0] === 0x1f && bytes[1] === 0x8b) return 'gzip';
  if (bytes.readUInt32LE(0) === 0xfd2fb528) return 'zstd';
  return bytes.toString('latin1', 257, 262) === 'ustar' ? 'tar' : 'unknown';
}

type Command = (out: string) => [words: string[], options?: InProcessOptions];

const COMMANDS: Record<string, Command> = {
  'make-lazy of a directory': (out) => [['make-lazy', DUMP, out]],
  'make-lazy of an archive': (out) => [['make-lazy', at('dump.tar'), out]],
  copy: (out) => [['copy', DUMP, out]],
  'copy of an archive': (out) => [['copy', at('dump.tar'), out]],
  write: (out) => [['write', out], { stdin: at('stream') }],
  'hot of split': (out) => [['split', DUMP, out, join(tempDir(), 'cold')]],
  'cold of split': (out) => [['split', DUMP, join(tempDir(), 'hot'), out]],
  merge: (out) => [['merge', at('hot'), at('cold'), out]],
};

describe.each(Object.entries(COMMANDS))('the name of OUT decides: %s', (_, command) => {
  const made = async (name: string, ...more: string[]) => {
    const dir = tempDir();
    const [words, options] = command(join(dir, name));
    await run([...words, ...more], options);
    return kindOf(join(dir, name));
  };

  it.each([
    ['out', 'directory'],
    ['out.tar', 'tar'],
    ['out.tar.gz', 'gzip'],
    ['out.tzst', 'zstd'],
  ])('%s is a %s', async (name, kind) => {
    expect(await made(name)).toBe(kind);
  });

  it('--compress and --to come first', async () => {
    expect(await made('out.tar', '--compress', 'zstd')).toBe('zstd');
    expect(await made('out.tgz', '--compress', 'none')).toBe('tar');
  });

  it.each([
    [
      'out.tar.xz',
      [],
      'DIR/out.tar.xz: expected .tar, .tar.gz or .tar.zst, found .tar.xz; --to tar writes a plain archive',
    ],
    ['out.zip', [], 'DIR/out.zip: expected .tar, .tar.gz or .tar.zst, found .zip; --to tar writes a plain archive'],
    ['out', ['--compress', 'gzip'], '--compress is for archives; name one (DIR/out.tar) or use --to tar'],
    ['out', ['--prefix', 'checkpoint'], '--prefix is for archives; name one (DIR/out.tar) or use --to tar'],
    ['out.tar', ['--compress', 'xz'], '--compress: expected gzip, zstd, none, found "xz"'],
  ])('%s %j is refused', async (name, more, message) => {
    const dir = tempDir();
    const [words, options] = command(join(dir, name));
    const { code, stderr } = await cli([...words, ...more], options);
    // The cold half has the name of the hot one in its hint.
    const said = stderr.replace(/[^\s(]*\/pagepipe-test-[^/]+\/(hot\b)?/g, (_match, hot) => (hot ? 'DIR/out' : 'DIR/'));
    const prefix = words[0] === 'write' ? 'pagepipe write' : 'pagepipe';
    expect([code, said]).toEqual([2, `${prefix}: ${message}\n${prefix}: hint: pagepipe ${words[0]} --help\n`]);
    expect(describeTree(dir)).toHaveLength(1);
  });
});

it.each([
  ['out.tgz', 'gzip'],
  ['out.tar.zst', 'zstd'],
  ['out.target', 'directory'],
  ['tar', 'directory'],
])('so does %s', async (name, kind) => {
  const dir = tempDir();
  await run(['copy', DUMP, join(dir, name)]);
  expect(kindOf(join(dir, name))).toBe(kind);
});

it.each(['make-lazy', 'copy'])('--to decides before the name, and - needs it: %s', async (command) => {
  const dir = tempDir();
  await run([command, DUMP, join(dir, 'a.tar'), '--to', 'directory']);
  await run([command, DUMP, join(dir, 'b'), '--to', 'tar']);
  await run([command, DUMP, join(dir, 'c.tgz'), '--to', 'tar']);
  expect(['a.tar', 'b', 'c.tgz'].map((name) => kindOf(join(dir, name)))).toEqual(['directory', 'tar', 'gzip']);
  const { code, stderr } = await cli([command, DUMP, '-'], { stdout: join(dir, 'out') });
  expect([code, stderr.split('\n')[0]]).toEqual([
    2,
    'pagepipe: - is stdout: expected --to tar, --to oci or --to shards with it',
  ]);
  expect(readFileSync(join(dir, 'out'))).toHaveLength(0);
});

it('split takes --to for the half on stdout, and the name of the other', async () => {
  const dir = tempDir();
  await run(['split', DUMP, '-', join(dir, 'cold'), '--to', 'tar'], { stdout: join(dir, 'hot') });
  expect(['hot', 'cold'].map((name) => kindOf(join(dir, name)))).toEqual(['tar', 'directory']);
});

it('write to descriptors of shards has no archive to compress', async () => {
  const { code, stderr } = await cli(['write', '--shard-fds', '10', '--compress', 'zstd'], { stdin: at('stream') });
  expect([code, stderr.split('\n')[0]]).toEqual([
    2,
    'pagepipe write: --compress is for archives, and --shard-fds writes shards',
  ]);
});
