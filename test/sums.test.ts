/** Sums of blocks: every container keeps them, every reader compares them, and what changes a dump makes new ones. */

import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, renameSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { openRandom } from '../src/arrival/open.js';
import { decodeSums } from '../src/dump/sums.js';
import { cli, type InProcessOptions, type Outcome } from './helpers/cli.js';
import { sourceFiles } from './helpers/dump-files.js';
import { ANON, diffMemory, PE, readMemory, writeDump } from './helpers/dump-writer.js';
import { describeTree, fixture, openFiles, tempDir } from './helpers/temp.js';

const SUMS = 'pagepipe-sums.json';
const BLOCK = 2 ** 20;

/** Pages: more than two blocks. */
const PAGES = 600;

/** A dump of one process whose pages are in three blocks. */
function plainDump(dir: string): string {
  const dump = join(dir, 'plain');
  const end = 0x10000n + BigInt(PAGES * 4096);
  writeDump(dump, {
    tasks: [{ pid: 7, vmas: [{ start: 0x10000n, end, ...ANON }], entries: [{ vaddr: 0x10000n, pages: PAGES }] }],
    content: (_, address) => Buffer.alloc(4096, `${address}`),
  });
  return dump;
}

async function run(words: readonly string[], options: InProcessOptions = {}): Promise<Outcome> {
  const outcome = await cli(words, options);
  expect(outcome.code, outcome.stderr).toBe(0);
  return outcome;
}

/** The same dump with sums, in a container of this name. */
async function summed(dir: string, name = 'dump'): Promise<string> {
  const place = join(dir, name);
  await run(['copy', plainDump(dir), place, '--sums']);
  return place;
}

interface Listed {
  name: string;
  bytes: number;
  sums: string;
}

const listOf = (dump: string): Listed[] => JSON.parse(readFileSync(join(dump, SUMS), 'utf8')).files;

const sha256 = (bytes: Uint8Array) => createHash('sha256').update(bytes).digest();

/** The sums of a directory, made by hand. */
function expectRightSums(dump: string): void {
  const names = describeTree(dump)
    .filter((line) => / 1?0?0?[0-7]{3} /.test(line) || line.includes('.img'))
    .map((line) => line.split(' ')[0] as string);
  const listed = listOf(dump);
  expect(listed.map(({ name }) => name)).toEqual(names.filter((name) => name.endsWith('.img')).sort());
  for (const { name, bytes, sums } of listed) {
    const content = readFileSync(join(dump, name));
    const expected: Buffer[] = [];
    for (let at = 0; at < content.length; at += BLOCK) expected.push(sha256(content.subarray(at, at + BLOCK)));
    expect([name, bytes, sums]).toEqual([name, content.length, Buffer.concat(expected).toString('base64')]);
  }
}

/** Changes a byte of a file. */
function damage(path: string, at: number): void {
  const bytes = readFileSync(path);
  bytes[at] = (bytes[at] as number) ^ 1;
  writeFileSync(path, bytes);
}

/** One error that names the file, and nothing of the output is there. */
async function expectWrong(words: readonly string[], out: string, message: RegExp | string): Promise<void> {
  const { code, stderr } = await cli(words);
  expect(code, stderr).toBe(1);
  expect(stderr.match(/pagepipe: error: /g), stderr).toHaveLength(1);
  expect(stderr).toMatch(message);
  expect(existsSync(out)).toBe(false);
}

const WRONG = /pages-1\.img@0x100000: expected a block with the SHA-256 [0-9a-f]{64}, found [0-9a-f]{64}\n/;
/** In the second block of the pages. */
const PLACE = BLOCK + 5;

const ARCHIVES = ['a.tar', 'a.tar.gz', 'a.oci.tar'] as const;

describe('a dump with sums', () => {
  it('has the SHA-256 of each MiB of each file, in a file that is the same from any container', async () => {
    const dir = tempDir();
    const dump = await summed(dir);
    expectRightSums(dump);
    const { files, ...head } = JSON.parse(readFileSync(join(dump, SUMS), 'utf8'));
    expect(head).toEqual({ version: 1, algorithm: 'sha256', blockBytes: BLOCK });
    for (const name of ARCHIVES) {
      await run(['copy', dump, join(dir, name)]);
      await run(['copy', join(dir, name), join(dir, `of-${name}`), '--to', 'directory']);
      expect(describeTree(join(dir, `of-${name}`)).slice(1)).toEqual(describeTree(dump).slice(1));
    }
    await run(['copy', dump, `${join(dir, 's0')},${join(dir, 's1')}`, '--to', 'shards']);
    await run(['copy', `${join(dir, 's0')},${join(dir, 's1')}`, join(dir, 'of-shards'), '--from', 'shards']);
    expect(readFileSync(join(dir, 'of-shards', SUMS))).toEqual(readFileSync(join(dump, SUMS)));
    expect(openFiles(dir)).toEqual([]);
  });

  it('has them at the end of an archive, and says so at its beginning', async () => {
    const names = execFileSync('tar', ['tf', await summed(tempDir(), 'a.tar')], { encoding: 'utf8' });
    expect(names.trim().split('\n')).toEqual(expect.arrayContaining(['pages-1.img']));
    expect([names.split('\n')[0], names.trim().split('\n').at(-1)]).toEqual(['pagepipe-sums', SUMS]);
  });

  it('keeps them through every command, made anew for what was changed', async () => {
    const dir = tempDir();
    const dump = await summed(dir);
    await run(['make-lazy', dump, join(dir, 'lazy')]);
    await run(['split', dump, join(dir, 'hot'), join(dir, 'cold')]);
    for (const name of ['lazy', 'hot', 'cold']) expectRightSums(join(dir, name));
    await run(['merge', join(dir, 'hot'), join(dir, 'cold'), join(dir, 'merged')]);
    expect(describeTree(join(dir, 'merged'))).toEqual(describeTree(dump));
    await run(['read', dump], { stdout: join(dir, 'stream') });
    await run(['write', join(dir, 'written')], { stdin: join(dir, 'stream') });
    expect(describeTree(join(dir, 'written'))).toEqual(describeTree(dump));
    await run(['make-lazy', join(dir, 'stream'), join(dir, 'lazy.tar.gz')]);
    await run(['copy', join(dir, 'lazy.tar.gz'), join(dir, 'again')]);
    expect(readFileSync(join(dir, 'again', SUMS))).toEqual(readFileSync(join(dir, 'lazy', SUMS)));
  });

  it('has none of a dump without them, unless they are asked for', async () => {
    const dir = tempDir();
    const plain = plainDump(dir);
    await run(['copy', plain, join(dir, 'copy')]);
    expect(describeTree(join(dir, 'copy')).join()).not.toContain('pagepipe-sums');
    await run(['copy', plain, join(dir, 'a.tar.gz')]);
    await run(['copy', join(dir, 'a.tar.gz'), join(dir, 'b'), '--sums']);
    expectRightSums(join(dir, 'b'));
  });

  it('gets new ones when an image is edited in place, and keeps those of the others', async () => {
    const dir = tempDir();
    const dump = await summed(dir);
    await run(['edit', join(dump, 'core-7.img'), '--set', 'entries[0].tc.comm=other']);
    expectRightSums(dump);
    await run(['copy', dump, join(dir, 'copy')]);
    damage(join(dump, 'core-7.img'), 30);
    const { code, stderr } = await cli(['edit', join(dump, 'core-7.img'), '--set', 'entries[0].tc.comm=third']);
    expect([code, stderr]).toEqual([1, expect.stringMatching(/core-7\.img@0x0: expected a block with the SHA-256/)]);
  });

  it('is verified with all its pages', async () => {
    const dir = tempDir();
    const dump = join(dir, 'dump');
    await run(['copy', fixture('mosaic-criu-4.2.1'), dump, '--sums']);
    const blocks = listOf(dump).filter(({ bytes }) => bytes > 0).length;
    const compared = new RegExp(`no errors, 0 warnings in \\d+ files, ${blocks} blocks compared with their sums\n$`);
    expect((await run(['verify', dump])).stderr).toMatch(compared);
    await run(['copy', dump, join(dir, 'a.tar.gz')]);
    expect((await run(['verify', join(dir, 'a.tar.gz')])).stderr).toMatch(compared);
    damage(join(dump, 'pages-2.img'), 70000);
    damage(join(dump, 'core-15.img'), 30);
    const stdout = join(dir, 'stdout');
    const { code } = await cli(['verify', dump, '--json'], { stdout });
    const lines = readFileSync(stdout, 'utf8')
      .split('\n')
      .map((line) => line && JSON.parse(line));
    expect(code).toBe(1);
    expect(lines.slice(0, 2)).toMatchObject([
      { code: 'WRONG_SUM', file: 'core-15.img', offset: 0 },
      { code: 'WRONG_SUM', file: 'pages-2.img', offset: 0 },
    ]);
    expect(lines.at(-2)).toMatchObject({ event: 'summary', summedBlocks: blocks });
  });
});

describe('a wrong block', () => {
  it('is never given on from a directory or a plain archive, whoever reads', async () => {
    const dir = tempDir();
    const dump = await summed(dir);
    const archive = join(dir, 'a.tar');
    await run(['copy', dump, archive]);
    damage(join(dump, 'pages-1.img'), PLACE);
    const start = readFileSync(archive).indexOf(readFileSync(join(dump, 'pages-1.img')).subarray(0, 4096));
    damage(archive, start + PLACE);
    const out = join(dir, 'out');
    for (const source of [dump, archive]) {
      await expectWrong(['copy', source, out], out, WRONG);
      await expectWrong(['copy', source, `${out}.tar`], `${out}.tar`, WRONG);
      await expectWrong(['make-lazy', source, out, '--policy', 'flags'], out, WRONG);
      await expectWrong(['search', source, 'no such text'], out, WRONG);
      await expectWrong(['extract', source, '--pid', '7', '--range', '0x10000-0x200000', '-o', out], out, WRONG);
      await expectWrong(['template', source, out, '--memory', join(dir, 'mem')], out, WRONG);
    }
  });

  it('does not spoil what is read of the other blocks', async () => {
    const dir = tempDir();
    const dump = await summed(dir);
    damage(join(dump, 'pages-1.img'), PLACE);
    const files = await sourceFiles(dump);
    const page = new Uint8Array(4096);
    const right = readFileSync(join(dump, 'pages-1.img'));
    for (const at of [0, BLOCK - 4096, 2 * BLOCK]) {
      expect(files.readSome('pages-1.img', page, at)).toBe(4096);
      expect(Buffer.compare(page, right.subarray(at, at + 4096))).toBe(0);
    }
    for (const at of [BLOCK, PLACE, 2 * BLOCK - 1])
      expect(() => files.readSome('pages-1.img', page, at)).toThrow(/SHA-256/);
    // A read ends with its block, so none mixes what was compared with what was not.
    expect(files.readSome('pages-1.img', page, BLOCK - 100)).toBe(100);
    expect(files.readSome('pages-1.img', page, right.length)).toBe(0);
  });

  it('is an error at the end of what arrives, and discards the output', async () => {
    const dir = tempDir();
    const right = await summed(dir, 'a.tar');
    const bytes = readFileSync(right);
    const pages = readFileSync(join(dir, 'plain', 'pages-1.img'));
    damage(right, bytes.indexOf(pages.subarray(0, 4096)) + PLACE);
    const packed = join(dir, 'a.tar.gz');
    writeFileSync(packed, execFileSync('gzip', ['-c', right], { maxBuffer: 2 ** 26 }));
    const out = join(dir, 'out');
    await expectWrong(['copy', packed, out], out, WRONG);
    await expectWrong(['copy', packed, `${out}.tar`], `${out}.tar`, WRONG);
    await expectWrong(['make-lazy', packed, out], out, WRONG);
    await expectWrong(['x', packed, 'ps'], out, WRONG);
    expect(openFiles(dir)).toEqual([]);
  });

  it('is found in a parent, too', async () => {
    const dir = tempDir();
    const dump = await summed(dir);
    const child = join(dir, 'child');
    writeDump(child, {
      tasks: [
        {
          pid: 7,
          vmas: [{ start: 0x10000n, end: 0x10000n + BigInt(PAGES * 4096), ...ANON }],
          entries: [{ vaddr: 0x10000n, pages: PAGES, flags: PE.PARENT }],
        },
      ],
    });
    symlinkSync('../dump', join(child, 'parent'));
    expect((await cli(['search', child, 'no such text'])).stderr).toBe('');
    damage(join(dump, 'pages-1.img'), PLACE);
    const { stderr } = await cli(['search', child, 'no such text']);
    expect(stderr).toMatch(WRONG);
  });
});

describe('an archive that others made of such a dump', () => {
  const pack = (dir: string, dump: string, ...names: string[]): string => {
    const archive = join(dir, 'others.tar.gz');
    execFileSync('tar', ['czf', archive, '-C', dump, ...names]);
    return archive;
  };

  it('is compared as far as the order of its files allows', async () => {
    const dir = tempDir();
    const dump = await summed(dir);
    damage(join(dump, 'pages-1.img'), PLACE);
    const sorted = pack(dir, dump, '--sort=name', '.');
    await expectWrong(['copy', sorted, join(dir, 'out')], join(dir, 'out'), WRONG);
    const images = listOf(dump).map(({ name }) => name);
    const { stderr } = await run(['copy', pack(dir, dump, ...images, SUMS), join(dir, 'out')]);
    expect(stderr).toBe(
      `pagepipe: warning: pages-1.img: not compared with ${SUMS}, which came after it in the archive\n`,
    );
    expect(existsSync(join(dir, 'out', SUMS))).toBe(false);
    damage(join(dump, 'pages-1.img'), PLACE);
    damage(join(dump, 'core-7.img'), 30);
    await expectWrong(['copy', pack(dir, dump, ...images, SUMS), join(dir, 'o2')], join(dir, 'o2'), /core-7\.img@0x0/);
  });

  it('says that the sums do not go on from files that came before them', async () => {
    const dir = tempDir();
    const dump = await summed(dir);
    const { stderr } = await run(['copy', pack(dir, dump, '--sort=name', '.'), join(dir, 'out.tar')]);
    expect(stderr).toBe(
      `pagepipe: warning: ${SUMS} came after other files, so what is written has no sums without --sums\n`,
    );
  });
});

describe('sums that are wrong themselves', () => {
  const file = { name: 'core-7.img', bytes: 3, sums: Buffer.alloc(32).toString('base64') };
  const head = { version: 1, algorithm: 'sha256', blockBytes: BLOCK };
  const rows: [what: string, sums: unknown, message: string][] = [
    ['of another version', { ...head, version: 2 }, 'expected version 1, found 2'],
    ['of no version', {}, 'expected version 1, found undefined'],
    ['by another algorithm', { ...head, algorithm: 'md5' }, 'expected algorithm sha256, found "md5"'],
    ['of other blocks', { ...head, blockBytes: 0 }, 'expected blockBytes 1048576, found 0'],
    ['that are no object', 1, 'not the sums of a dump: an object is missing'],
    ['without files', head, 'not the sums of a dump: it has no list of files'],
    ['with a file without a name', { ...head, files: [{}] }, 'not the sums of a dump: a file has no name'],
    [
      'with a name that leads outside',
      { ...head, files: [{ ...file, name: '../x' }] },
      'expected a file name inside the dump, found "../x"',
    ],
    [
      'with a name twice',
      { ...head, files: [file, file] },
      'not the sums of a dump: "core-7.img" does not belong there',
    ],
    [
      'of themselves',
      { ...head, files: [{ ...file, name: SUMS }] },
      `not the sums of a dump: "${SUMS}" does not belong there`,
    ],
    [
      'with a size that is none',
      { ...head, files: [{ ...file, bytes: -1 }] },
      'not the sums of a dump: core-7.img has no size',
    ],
    [
      'with too few sums',
      { ...head, files: [{ ...file, bytes: BLOCK + 1 }] },
      'not the sums of a dump: expected 64 bytes of sums for core-7.img, found 32',
    ],
    [
      'with a size beyond all sums',
      { ...head, files: [{ ...file, bytes: Number.MAX_SAFE_INTEGER }] },
      'not the sums of a dump: expected 274877906944 bytes of sums for core-7.img, found 32',
    ],
  ];

  it.each(rows)('%s', (_, sums, message) => {
    expect(() => decodeSums(Buffer.from(JSON.stringify(sums)))).toThrow(`${SUMS}: ${message}`);
  });

  it('that are cut', async () => {
    const dir = tempDir();
    const dump = await summed(dir);
    writeFileSync(join(dump, SUMS), readFileSync(join(dump, SUMS)).subarray(0, -9));
    const archive = join(dir, 'a.tar.gz');
    execFileSync('tar', ['czf', archive, '-C', dump, '--sort=name', '.']);
    for (const source of [dump, archive]) {
      await expectWrong(
        ['copy', source, join(dir, 'out')],
        join(dir, 'out'),
        `${SUMS}: not the sums of a dump: it is no JSON`,
      );
    }
  });

  it('that name a file that is missing, or has another size', async () => {
    const dir = tempDir();
    const dump = await summed(dir);
    const archive = join(dir, 'a.tar.gz');
    const expectBoth = async (message: string) => {
      execFileSync('tar', ['czf', archive, '-C', dump, '--sort=name', '.']);
      for (const source of [dump, archive]) {
        await expectWrong(['copy', source, join(dir, 'out')], join(dir, 'out'), message);
      }
    };
    writeFileSync(join(dump, 'core-99.img'), readFileSync(join(dump, 'core-7.img')));
    await expectBoth(`core-99.img: expected the sums of this image in ${SUMS}, found none`);
    rmSync(join(dump, 'core-99.img'));
    const { length } = readFileSync(join(dump, 'mm-7.img'));
    writeFileSync(join(dump, 'mm-7.img'), Buffer.concat([readFileSync(join(dump, 'mm-7.img')), Buffer.alloc(1)]));
    await expectBoth(`mm-7.img: expected ${length} bytes by ${SUMS}, found ${length + 1}`);
    renameSync(join(dump, 'mm-7.img'), join(dir, 'gone'));
    await expectBoth(`mm-7.img: expected this file, named by ${SUMS}, found none`);
  });

  it('that an archive announces and does not have', async () => {
    const dir = tempDir();
    const dump = join(dir, 'cut');
    mkdirSync(dump);
    execFileSync('tar', ['xf', await summed(dir, 'a.tar'), '-C', dump]);
    rmSync(join(dump, SUMS));
    for (const flags of ['cf', 'czf']) {
      execFileSync('tar', [flags, join(dir, 'b.tar'), '-C', dump, '--sort=name', '.']);
      const message = `${SUMS}: expected this file, announced by pagepipe-sums, found none`;
      await expectWrong(['copy', join(dir, 'b.tar'), join(dir, 'out')], join(dir, 'out'), message);
    }
  });

  it('that are larger than any', async () => {
    const dir = tempDir();
    const dump = await summed(dir);
    const large = Buffer.alloc(2 ** 26 + 1, ' ');
    writeFileSync(join(dump, SUMS), large);
    const { stderr } = await cli(['x', dump, 'ps']);
    expect(stderr).toBe(`pagepipe: error: ${SUMS}: expected at most 67108864 bytes, found 67108865\n`);
  });

  it('do not concern what CRIU puts there later', async () => {
    const dir = tempDir();
    const dump = await summed(dir);
    writeFileSync(join(dump, 'restore.log'), 'Restore finished');
    await run(['copy', dump, join(dir, 'copy')]);
    expect(listOf(join(dir, 'copy')).map(({ name }) => name)).toContain('restore.log');
    expect(diffMemory(readMemory(dump), readMemory(join(dir, 'copy')))).toEqual([]);
    expect((await openRandom(dump))?.summed?.toCompare.has('pages-1.img')).toBe(true);
  });
});
