/** What criu-image-streamer wrote, and what it could have written: any order, any pieces, any number of shards. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { filesOf, marker, putAll, sha256Of, writeShards } from '../../helpers/archives.js';
import { cli } from '../../helpers/cli.js';
import { diffMemory, readMemory } from '../../helpers/dump-writer.js';
import { describeTree, FIXTURES, fixture, openFiles, tempDir } from '../../helpers/temp.js';

const STREAMER = fixture('streamer');
const single = () => readFileSync(join(STREAMER, 'single.stream'));
const shard = (i: number) => join(STREAMER, `shard${i}`);

/** `read | write`, by files between them. */
async function readAndWrite(dir: string, out: string, ...source: string[]): Promise<void> {
  const stream = join(dir, 'stream');
  const read = await cli(['read', ...source], { stdout: stream });
  expect(read.code, read.stderr).toBe(0);
  const write = await cli(['write', join(dir, out)], { stdin: stream });
  expect(write.code, write.stderr).toBe(0);
}

/** This one line of an error, with no folder of the shards, and nothing written. */
async function expectRefused(
  parts: readonly Uint8Array[],
  error: string | RegExp,
  ...options: string[]
): Promise<void> {
  const dir = tempDir();
  const paths = putAll(dir, 'shard', parts);
  const before = describeTree(dir);
  const run = await cli(['make-lazy', paths.join(','), join(dir, 'out'), '--from', 'shards', ...options]);
  const [, line] =
    /^pagepipe(?: \w+)?: error: ([^\n]*)\n(?:pagepipe(?: \w+)?: hint: [^\n]*\n)?$/.exec(run.stderr) ?? [];
  const message = line?.replace(`${dir}/`, '');
  if (typeof error === 'string') expect(message).toBe(error);
  else expect(message).toMatch(error);
  expect(run.code).toBe(1);
  expect(describeTree(dir)).toEqual(before);
  expect(openFiles(dir)).toEqual([]);
}

describe('captures of criu-image-streamer', () => {
  it('gives the files that it extracted', async () => {
    const dir = tempDir();
    await readAndWrite(dir, 'out', join(STREAMER, 'single.stream'));
    const expected = readFileSync(join(STREAMER, 'single.extracted.sha256'), 'utf8')
      .split('\n')
      .filter((line) => line !== '')
      .map((line) => line.replace(/ {2}(.*\/)?/, '  '))
      .sort();
    expect(sha256Of(filesOf(join(dir, 'out')))).toEqual(expected);
  });

  it('takes three shards in any order, by name and by descriptor', async () => {
    const dir = tempDir();
    await readAndWrite(dir, 'first', [0, 1, 2].map(shard).join(','), '--from', 'shards');
    const first = describeTree(join(dir, 'first'));
    for (const order of [
      [0, 2, 1],
      [1, 0, 2],
      [1, 2, 0],
      [2, 0, 1],
      [2, 1, 0],
    ]) {
      await readAndWrite(dir, order.join(''), order.map(shard).join(','), '--from', 'shards');
      expect(describeTree(join(dir, order.join('')))).toEqual(first);
    }
    const { openSync, closeSync } = await import('node:fs');
    const fds = [2, 0, 1].map((i) => openSync(shard(i), 'r'));
    await readAndWrite(dir, 'fds', '-', '--shard-fds', fds.join(','));
    for (const fd of fds) closeSync(fd);
    expect(describeTree(join(dir, 'fds'))).toEqual(first);
  });

  it.each(['flags', 'vma', 'auto'])('makes a lazy dump of them as of the directory, by %s', async (policy) => {
    const dir = tempDir();
    await readAndWrite(dir, 'plain', [0, 1, 2].map(shard).join(','), '--from', 'shards');
    const words = ['--policy', policy];
    const a = await cli(['make-lazy', [2, 1, 0].map(shard).join(','), join(dir, 'a'), '--from', 'shards', ...words]);
    expect(a.code, a.stderr).toBe(0);
    expect((await cli(['make-lazy', join(dir, 'plain'), join(dir, 'b'), ...words])).code).toBe(0);
    expect(describeTree(join(dir, 'a'))).toEqual(describeTree(join(dir, 'b')));
  });

  it.each(['0', '1', '64'])('spills what is above %s MiB, to the same effect', async (buffer) => {
    const dir = tempDir();
    await readAndWrite(dir, 'plain', join(STREAMER, 'single.stream'));
    await readAndWrite(dir, 'out', join(STREAMER, 'single.stream'), '--buffer', buffer, '--spill-dir', dir);
    expect(describeTree(join(dir, 'out'))).toEqual(describeTree(join(dir, 'plain')));
    expect(openFiles(dir)).toEqual([]);
  });
});

describe('any capture', () => {
  it('is read to the same files, however it is cut and mixed', async () => {
    const dumps = FIXTURES.filter((name) => !name.startsWith('chain/')).map((name) => filesOf(fixture(name)));
    const dir = tempDir();
    let run = 0;
    await fc.assert(
      fc.asyncProperty(
        fc.constantFrom(...dumps),
        fc.integer({ min: 1, max: 5 }),
        fc.infiniteStream(fc.nat()),
        fc.constantFrom(1000, 4096, 65536, 1_000_000),
        fc.constantFrom('0', '1', '64'),
        async (files, shards, picks, most, buffer) => {
          const next = (count: number) => (picks.next().value as number) % count;
          const parts = writeShards(files, { pick: next, piece: () => 1 + next(most), shards });
          const out = `out${run++}`;
          const paths = putAll(dir, 'shard', parts);
          await readAndWrite(dir, out, paths.join(','), '--from', 'shards', '--buffer', buffer);
          expect(sha256Of(filesOf(join(dir, out)))).toEqual(sha256Of(files));
        },
      ),
      { numRuns: 6 },
    );
  });

  it('is made lazy as its directory', async () => {
    const files = filesOf(fixture('family-criu-4.2.1'));
    const dir = tempDir();
    let run = 0;
    await fc.assert(
      fc.asyncProperty(fc.infiniteStream(fc.nat()), fc.constantFrom('flags', 'vma'), async (picks, policy) => {
        const next = (count: number) => (picks.next().value as number) % count;
        const parts = writeShards(files, { pick: next, piece: () => 1 + next(100_000), shards: 3 });
        const out = join(dir, `out${run}`);
        const paths = putAll(dir, 'shard', parts);
        const shards = await cli(['make-lazy', paths.join(','), out, '--from', 'shards', '--policy', policy]);
        expect(shards.code, shards.stderr).toBe(0);
        const expected = join(dir, `expected${run++}`);
        await cli(['make-lazy', fixture('family-criu-4.2.1'), expected, '--policy', policy]);
        expect(sha256Of(filesOf(out))).toEqual(sha256Of(filesOf(expected)));
        expect(diffMemory(readMemory(out), readMemory(expected))).toEqual([]);
      }),
      { numRuns: 4 },
    );
  });
});

const QUESTION = 'are these shards of one dump?';

describe('refused', () => {
  it('a set with one missing, twice, or of another dump', async () => {
    const parts = [0, 1, 2].map((i) => readFileSync(shard(i)));
    for (const left of [0, 1, 2]) {
      await expectRefused(
        parts.filter((_, i) => i !== left),
        `shard0: marker ${2 - left} is in no shard: one is cut off or missing`,
      );
    }
    await expectRefused(
      [...parts, parts[1] as Buffer],
      `shard3@0xa: marker 1 does not belong here: expected marker 2: ${QUESTION}`,
    );
    await expectRefused(
      [parts[0], single(), parts[2]] as Buffer[],
      `shard2@0x11: marker 0 does not belong here: expected marker 1: ${QUESTION}`,
    );
  });

  it('bytes behind the end', async () => {
    await expectRefused(
      [Buffer.concat([single(), Buffer.from('x')])],
      'shard0@0x23fdfe: expected a marker, found the end of the shard',
    );
    const last = marker(1_000_000, 'fileEnd');
    await expectRefused(
      [Buffer.concat([single(), last])],
      'shard0@0x23fe07: marker 1000000 does not belong here: expected nothing after the end of the dump',
    );
  });

  it.each([
    ['pstree.img', 'shard0: expected a dump, found no pstree.img'],
    ['inventory.img', 'shard0: expected a dump, found no inventory.img'],
    ['mm-15.img', 'mm-15.img: expected this image, named by pstree.img, found none'],
    ['core-15.img', 'core-15.img: expected this image, named by pstree.img, found none'],
    ['pagemap-15.img', 'pagemap-15.img: expected this image, named by pstree.img, found none'],
    [/^pages-/, 'pages-2.img: expected this image, named by pagemap-15.img, found none'],
  ])('a whole capture without %s: CRIU has died', async (image, error) => {
    const files = filesOf(fixture('family-criu-4.2.1'));
    for (const name of files.keys())
      if (typeof image === 'string' ? name === image : image.test(name)) files.delete(name);
    for (const policy of ['auto', 'flags']) await expectRefused(writeShards(files), error, '--policy', policy);
  });

  it.each(['a\0b', '', './x'])('the name %j', async (name) => {
    const files = new Map([...filesOf(fixture('mosaic-criu-4.2.1')), [name, Buffer.from('x')]]);
    await expectRefused(
      writeShards(files),
      `shard0@0x${(0xcc97f + name.length).toString(16)}: expected a file name inside the dump, found ${JSON.stringify(name)}`,
    );
  });

  it('data without a file, a file that goes on behind its end, one without an end', async () => {
    await expectRefused(
      [marker(0, { data: Buffer.from('x') })],
      'shard0@0x6: marker 0 does not belong here: expected a file name',
    );
    const twice = [marker(0, { name: 'a' }), marker(1, 'fileEnd'), marker(2, { name: 'a' })];
    await expectRefused([Buffer.concat(twice)], 'shard0@0x18: marker 2 does not belong here: expected no more of a');
    await expectRefused([Buffer.concat([twice[0] as Buffer, marker(1, 'imageEnd')])], 'a: the dump ends before a does');
  });

  it('a marker of an absurd size, and absurd data', async () => {
    await expectRefused(
      [Buffer.from('ffffffff00', 'hex')],
      'shard0@0x0: expected a marker of at most 4096 bytes, found a length of 4294967295',
    );
    const body = Buffer.from('1880808080f0ffffff01', 'hex').subarray(0, 9);
    await expectRefused(
      [Buffer.concat([marker(0, { name: 'a' }), Buffer.from([9, 0, 0, 0]), body])],
      'shard0@0xb: expected a varint, found the end of the message',
    );
  });
});
