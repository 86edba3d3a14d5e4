/** `--if-absent`: what is done is not done again, and what is not complete is never taken for it. */
import {
  cpSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it, vi } from 'vitest';
import { runIfAbsent } from '../../src/commands/if-absent.js';
import { DumpError } from '../../src/errors.js';
import { cli } from '../helpers/cli.js';
import { expectFits } from '../helpers/json-schema.js';
import { describeTree, fixture, tempDir } from '../helpers/temp.js';

const DUMP = fixture('mosaic-criu-4.2.1');

/** Command lines, and what they write into a folder. */
const ROWS: [name: string, words: (out: string) => string[]][] = [
  ['copy to a directory', (out) => ['copy', DUMP, join(out, 'dump')]],
  ['copy to a plain archive', (out) => ['copy', DUMP, join(out, 'dump.tar')]],
  ['copy to gzip', (out) => ['copy', DUMP, join(out, 'dump.tar.gz')]],
  ['copy to an image', (out) => ['copy', DUMP, join(out, 'dump.oci.tar')]],
  ['copy to shards', (out) => ['copy', DUMP, `${join(out, '0')},${join(out, '1')}`, '--to', 'shards']],
  ['make-lazy', (out) => ['make-lazy', DUMP, join(out, 'lazy')]],
  ['split', (out) => ['split', DUMP, join(out, 'hot'), join(out, 'cold.tar')]],
  ['template', (out) => ['template', DUMP, join(out, 'template')]],
  ['core', (out) => ['core', DUMP, '-o', join(out, 'core')]],
  ['core --all', (out) => ['core', DUMP, '--all', '-o', join(out, 'cores')]],
  ['map', (out) => ['map', DUMP, '-o', join(out, 'map.svg')]],
  ['decode', (out) => ['decode', join(DUMP, 'core-15.img'), '-o', join(out, 'core.json')]],
  ['edit', (out) => ['edit', join(DUMP, 'core-15.img'), '--set', 'entries[0].tc.comm=x', '-o', join(out, 'core.img')]],
  ['diff', (out) => ['diff', DUMP, DUMP, '-o', join(out, 'diff.html')]],
  ['extract', (out) => ['extract', DUMP, '--pid', '15', '--all', '-o', join(out, 'memory')]],
];

describe('what is there', () => {
  it.each(ROWS)('%s is not made again', async (_, words) => {
    const out = tempDir();
    const command = [...words(out), '--if-absent'];
    expect((await cli(command)).code).toBe(0);
    const before = describeTree(out);
    const inodes = () => readdirSync(out).map((name) => statSync(join(out, name)).ino);
    const first = inodes();
    const again = await cli([...command, '--json']);
    expect(again).toMatchObject({ code: 0, stderr: '' });
    const report = JSON.parse(again.stdout);
    expectFits('already there', report);
    expect(report.outputs.map(({ out: place }: { out: string }) => place).join()).toContain(out);
    expect(describeTree(out)).toEqual(before);
    expect(inodes()).toEqual(first);
    const text = await cli(command);
    expect([text.code, text.stdout]).toEqual([0, '']);
    expect(text.stderr).toMatch(/^pagepipe: .*: already there\n$/);
  });

  it('is not even compared with its input, which may be gone', async () => {
    const out = join(tempDir(), 'dump');
    await cli(['copy', DUMP, out]);
    expect((await cli(['copy', '/nowhere', out, '--if-absent'])).code).toBe(0);
    expect((await cli(['copy', '/nowhere', `${out}2`, '--if-absent'])).code).toBe(1);
  });

  it('is made again if a part of it is missing, which then fits', async () => {
    const out = tempDir();
    const [hot, cold] = [join(out, 'hot'), join(out, 'cold')];
    await cli(['split', DUMP, hot, cold]);
    const before = describeTree(out);
    rmSync(cold, { recursive: true });
    const { code, stderr } = await cli(['split', DUMP, hot, cold, '--if-absent']);
    expect([code, stderr.split('\n')[0]]).toEqual([
      0,
      'pagepipe: note: a part of the output is there; it is made again with the rest',
    ]);
    expect(describeTree(out)).toEqual(before);
  });
});

describe('what is there and not complete', () => {
  const INCOMPLETE = 'something is there, but not the complete output';

  it.each<[name: string, words: (out: string) => string[], damage: (out: string) => void]>([
    ['a directory without inventory', (out) => ['copy', DUMP, out], (out) => rmSync(join(out, 'inventory.img'))],
    ['an empty inventory', (out) => ['copy', DUMP, out], (out) => truncateSync(join(out, 'inventory.img'))],
    [
      'a dump that is not delivered',
      (out) => ['copy', DUMP, out],
      (out) => writeFileSync(join(out, '.pagepipe-undelivered'), ''),
    ],
    ['an archive that was cut', (out) => ['copy', DUMP, out, '--to', 'tar'], (out) => truncateSync(out, 10 * 512)],
    [
      'another kind of archive',
      (out) => ['copy', DUMP, out, '--to', 'tar', '--compress', 'gzip'],
      (out) => writeFileSync(out, 'text'),
    ],
    ['an empty file', (out) => ['core', DUMP, '-o', out], (out) => truncateSync(out)],
    [
      'a file in place of a directory',
      (out) => ['copy', DUMP, out],
      (out) => {
        rmSync(out, { recursive: true });
        writeFileSync(out, 'text');
      },
    ],
    [
      'a directory of something else',
      (out) => ['core', DUMP, '--all', '-o', out],
      (out) => {
        rmSync(out, { recursive: true });
        mkdirSync(out);
        writeFileSync(join(out, 'text'), 'text');
      },
    ],
  ])('%s is an error', async (_, words, damage) => {
    const out = join(tempDir(), 'out');
    expect((await cli(words(out))).code).toBe(0);
    damage(out);
    const { code, stdout, stderr } = await cli([...words(out), '--if-absent']);
    expect([code, stdout]).toEqual([1, '']);
    expect(stderr.split('\n')[0]).toBe(`pagepipe: error: ${out}: ${INCOMPLETE}`);
  });

  it('an empty directory is filled', async () => {
    const out = tempDir();
    expect((await cli(['copy', DUMP, out, '--if-absent'])).code).toBe(0);
    expect(existsSync(join(out, 'inventory.img'))).toBe(true);
  });
});

it('goes neither with --force nor with stdout', async () => {
  const out = join(tempDir(), 'out');
  for (const words of [
    ['copy', DUMP, out, '--force'],
    ['copy', DUMP, '-', '--to', 'tar'],
    ['core', DUMP],
    ['map', DUMP],
    ['template', '--memory', out],
    ['edit', join(DUMP, 'core-15.img'), '--set', 'entries[0].tc.comm=x'],
    ['diff', DUMP, DUMP],
  ]) {
    expect((await cli([...words, '--if-absent'])).code).toBe(2);
  }
  expect(existsSync(out)).toBe(false);
});

it('another run that was faster has done it', async () => {
  const out = join(tempDir(), 'out');
  const args = { input: [out], flags: { ifAbsent: true } };
  const tell = vi.fn();
  const taken = new DumpError('OUTPUT_EXISTS', 'expected a new or empty directory, found files in it', { file: out });
  const outputs = () => [{ out, kind: 'directory' as const }];
  const run = async () => {
    cpSync(DUMP, out, { recursive: true });
    throw taken;
  };
  await runIfAbsent({ run, outputs }, args, { tell } as never);
  expect(tell).toHaveBeenCalledWith(`${out}: already there`);
  rmSync(out, { recursive: true });
  const failing = async () => {
    throw taken;
  };
  await expect(runIfAbsent({ run: failing, outputs }, args, { tell } as never)).rejects.toBe(taken);
});

describe('the same input gives the same bytes', () => {
  /** The same dump elsewhere: other times, and files made in another order. */
  function sameDump(): string {
    const dump = join(tempDir(), 'elsewhere');
    mkdirSync(dump);
    for (const name of readdirSync(DUMP).sort().reverse())
      cpSync(join(DUMP, name), join(dump, name), { recursive: true });
    return dump;
  }

  const FORMS: [name: string, words: (dump: string, out: string) => string[]][] = [
    ['tar', (dump, out) => ['copy', dump, out, '--to', 'tar']],
    ['gzip', (dump, out) => ['copy', dump, out, '--to', 'tar', '--compress', 'gzip']],
    ['zstd', (dump, out) => ['copy', dump, out, '--to', 'tar', '--compress', 'zstd']],
    ['an image', (dump, out) => ['copy', dump, out, '--to', 'oci']],
    ['shards', (dump, out) => ['copy', dump, out, '--to', 'shards']],
    ['a lazy archive', (dump, out) => ['make-lazy', dump, out, '--to', 'tar']],
    ['a core', (dump, out) => ['core', dump, '-o', out]],
    ['memory', (dump, out) => ['extract', dump, '--pid', '15', '--all', '-o', out]],
  ];

  it.each(FORMS)('%s', async (_, words) => {
    const root = tempDir();
    const outs = ['a', 'b'].map((name) => join(root, name)) as [string, string];
    expect((await cli(words(DUMP, outs[0]))).code).toBe(0);
    const now = vi.spyOn(Date, 'now').mockReturnValue(2_000_000_000_000);
    try {
      expect((await cli(words(sameDump(), outs[1]))).code).toBe(0);
    } finally {
      now.mockRestore();
    }
    expect(readFileSync(outs[1]).equals(readFileSync(outs[0]))).toBe(true);
  });

  it('in a pipe, too', async () => {
    const root = tempDir();
    await cli(['copy', DUMP, join(root, 'a.tar')]);
    await cli(['read', DUMP], { stdout: join(root, 'stream') });
    await cli(['write', join(root, 'b.tar')], { stdin: join(root, 'stream') });
    expect(readFileSync(join(root, 'b.tar')).equals(readFileSync(join(root, 'a.tar')))).toBe(true);
  });

  it('with the time that SOURCE_DATE_EPOCH says', async () => {
    const root = tempDir();
    try {
      vi.stubEnv('SOURCE_DATE_EPOCH', '1700000000');
      await cli(['copy', DUMP, join(root, 'dump.tar')]);
      vi.stubEnv('SOURCE_DATE_EPOCH', 'today');
      expect((await cli(['copy', DUMP, join(root, 'other.tar')])).code).toBe(2);
    } finally {
      vi.unstubAllEnvs();
    }
    const header = readFileSync(join(root, 'dump.tar')).subarray(0, 512);
    expect(Number.parseInt(header.toString('latin1', 136, 147), 8)).toBe(1_700_000_000);
    expect(existsSync(join(root, 'other.tar'))).toBe(false);
  });
});
