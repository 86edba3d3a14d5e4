/** Dumps that are written to an object store: complete or not at all, by as few requests as it takes. */
import { cpSync, mkdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { gunzipSync } from 'node:zlib';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { s3Bridge } from '../../../src/containers/s3/bridge.js';
import { partBytes, S3Output } from '../../../src/containers/s3/output.js';
import { PartQueue } from '../../../src/containers/s3/parts.js';
import { cli, type InProcessOptions } from '../../helpers/cli.js';
import { ANON, writeDump } from '../../helpers/dump-writer.js';
import { S3Server } from '../../helpers/s3-server.js';
import { describeTree, fixture, openFiles, tempDir } from '../../helpers/temp.js';

const BUCKET = 'dumps';
const MIB = 2 ** 20;
const FAMILY = 'family-criu-4.2.1';

let server: S3Server;

beforeAll(async () => {
  server = await S3Server.start(BUCKET);
});
beforeEach(async () => {
  server.stubEnvironment();
  for (const key of await server.keys(BUCKET)) await server.remove(BUCKET, key);
  await server.log();
});
afterAll(() => server.close());

const run = async (words: readonly string[], options: InProcessOptions = {}) => {
  const outcome = await cli(words, options);
  expect(outcome.code, outcome.stderr).toBe(0);
  return outcome;
};

/** What a directory and the objects below a prefix have in common: names and bytes. */
async function expectSame(prefix: string, dump: string): Promise<void> {
  const names = describeTree(dump)
    .slice(1)
    .map((line) => line.split(' ')[0] as string);
  expect(await server.keys(BUCKET)).toEqual(names.map((name) => `${prefix}${name}`).sort());
  for (const name of names) {
    expect(
      Buffer.compare((await server.get(BUCKET, `${prefix}${name}`)) as Uint8Array, readFileSync(join(dump, name))),
    ).toBe(0);
  }
}

/** A dump whose pages are larger than a part. */
function largeDump(dir: string, pages = 2600): string {
  const dump = join(dir, 'large');
  const end = 0x10000n + BigInt(pages * 4096);
  writeDump(dump, {
    tasks: [{ pid: 7, vmas: [{ start: 0x10000n, end, ...ANON }], entries: [{ vaddr: 0x10000n, pages }] }],
    content: (_, address) => Buffer.alloc(4096, Number(address >> 12n) & 0xff),
  });
  return dump;
}

const methods = async (): Promise<string[]> =>
  (await server.log()).map(({ method, url }) => `${method} ${url.split('?')[0]}`);

describe('a prefix', () => {
  it('gets every file as an object, the inventory as the last', async () => {
    await run(['copy', fixture(FAMILY), `s3://${BUCKET}/jobs/1`]);
    const log = await methods();
    expect(log.filter((line) => line.startsWith('PUT ')).at(-1)).toBe(`PUT /${BUCKET}/jobs/1/inventory.img`);
    await expectSame('jobs/1/', fixture(FAMILY));
    // A question for an object of this name, a list, and a request for each file.
    expect(log).toHaveLength(2 + (await server.keys(BUCKET)).length);
  });

  it('gets large files in parts, several at a time, and keeps nothing of them in memory', async () => {
    const dir = tempDir();
    const dump = largeDump(dir);
    await run(['copy', dump, `s3://${BUCKET}/large/`, '--sums']);
    expect((await methods()).filter((line) => line.endsWith('/pages-1.img'))).toEqual([
      `POST /${BUCKET}/large/pages-1.img`,
      `PUT /${BUCKET}/large/pages-1.img`,
      `PUT /${BUCKET}/large/pages-1.img`,
      `POST /${BUCKET}/large/pages-1.img`,
    ]);
    await run(['copy', dump, join(dir, 'summed'), '--sums']);
    await expectSame('large/', join(dir, 'summed'));
    expect(await server.uploads()).toBe(0);
  });

  it('gets what every command writes', async () => {
    const dir = tempDir();
    await run(['make-lazy', fixture(FAMILY), join(dir, 'lazy')]);
    await run(['make-lazy', fixture(FAMILY), `s3://${BUCKET}/lazy`]);
    await expectSame('lazy/', join(dir, 'lazy'));
    await run(['read', fixture(FAMILY)], { stdout: join(dir, 'stream') });
    await run(['write', `s3://${BUCKET}/lazy`, '--force'], { stdin: join(dir, 'stream') });
    await expectSame('lazy/', fixture(FAMILY));
  });

  it('is not touched if there is anything, and is replaced with --force if that is a dump', async () => {
    const place = `s3://${BUCKET}/jobs/1`;
    await run(['copy', fixture(FAMILY), place]);
    await server.set(BUCKET, 'jobs/1/core-99.img', Buffer.from('old'));
    const before = await server.keys(BUCKET);
    const { code, stderr } = await cli(['copy', fixture('mosaic-criu-4.2.1'), place]);
    expect([code, stderr]).toEqual([
      1,
      `pagepipe: error: ${place}: expected nothing below it, found a dump\npagepipe: hint: use --force to replace it\n`,
    ]);
    expect(await server.keys(BUCKET)).toEqual(before);
    await server.log();
    await run(['copy', fixture('mosaic-criu-4.2.1'), place, '--force']);
    const changes = (await methods()).filter((line) => /^(PUT|DELETE) /.test(line));
    expect([changes[0], changes.at(-1)]).toEqual([
      `DELETE /${BUCKET}/jobs/1/inventory.img`,
      `PUT /${BUCKET}/jobs/1/inventory.img`,
    ]);
    await expectSame('jobs/1/', fixture('mosaic-criu-4.2.1'));
    await server.set(BUCKET, 'notes/a.txt', Buffer.from('mine'));
    expect((await cli(['copy', fixture(FAMILY), `s3://${BUCKET}/notes`, '--force'])).stderr).toBe(
      `pagepipe: error: s3://${BUCKET}/notes: expected nothing below it, found 1 object of something else\n`,
    );
    expect(await server.keys(BUCKET)).toContain('notes/a.txt');
  });

  it('can be completed with --force where a writer has died', async () => {
    await server.set(BUCKET, 'jobs/1/pages-2.img', Buffer.from('half'));
    expect((await cli(['copy', fixture(FAMILY), `s3://${BUCKET}/jobs/1`])).code).toBe(1);
    await run(['copy', fixture(FAMILY), `s3://${BUCKET}/jobs/1`, '--force']);
    await expectSame('jobs/1/', fixture(FAMILY));
  });

  it('is left as it was if the source is damaged, or if it is told to stop', async () => {
    const dir = tempDir();
    const dump = largeDump(dir);
    await run(['copy', dump, join(dir, 'a.tar.gz'), '--sums']);
    const cut = readFileSync(join(dir, 'a.tar.gz'));
    await run(['copy', dump, join(dir, 'summed'), '--sums']);
    const pages = readFileSync(join(dir, 'summed', 'pages-1.img'));
    pages[9 * MIB] = (pages[9 * MIB] as number) ^ 1;
    writeFileSync(join(dir, 'summed', 'pages-1.img'), pages);
    writeFileSync(join(dir, 'cut.tar.gz'), cut.subarray(0, -3000));
    await server.set(BUCKET, 'other/file', Buffer.from('other'));
    for (const source of ['summed', 'cut.tar.gz']) {
      for (const out of ['large', 'large.tar', 'large.tar.zst']) {
        expect((await cli(['copy', join(dir, source), `s3://${BUCKET}/${out}`])).code).toBe(1);
        expect([await server.keys(BUCKET), await server.uploads()]).toEqual([['other/file'], 0]);
      }
    }
    for (const out of ['large', 'large.tar']) {
      const { code } = await cli(['copy', dump, `s3://${BUCKET}/${out}`], {
        signal: AbortSignal.abort(new Error('x')),
      });
      expect(code).not.toBe(0);
      expect([await server.keys(BUCKET), await server.uploads()]).toEqual([['other/file'], 0]);
    }
    expect(openFiles(dir)).toEqual([]);
  });

  it('has content in the place of links, and the way to the parent as text', async () => {
    const dir = tempDir();
    const dump = join(dir, 'dump');
    cpSync(fixture(FAMILY), dump, { recursive: true });
    mkdirSync(join(dump, 'folder'));
    cpSync(join(dump, 'fs-15.img'), join(dump, 'folder', 'fs.img'));
    symlinkSync('folder/fs.img', join(dump, 'link'));
    symlinkSync('../other', join(dump, 'parent'));
    mkdirSync(join(dir, 'other'));
    await run(['copy', dump, `s3://${BUCKET}/d`]);
    const text = async (name: string) =>
      Buffer.from((await server.get(BUCKET, `d/${name}`)) as Uint8Array).toString('latin1');
    expect(await text('parent')).toBe('../other');
    expect(await text('link')).toBe(await text('folder/fs.img'));
    symlinkSync('nowhere', join(dump, 'broken'));
    const { stderr } = await cli(['copy', dump, `s3://${BUCKET}/e`]);
    expect(stderr).toBe('pagepipe: error: broken: an object store cannot hold a link to no file of the dump\n');
    expect((await server.keys(BUCKET)).filter((key) => key.startsWith('e/'))).toEqual([]);
  });
});

describe('an object', () => {
  it('gets the archive that a file of this name would get', async () => {
    const dir = tempDir();
    const dump = largeDump(dir);
    for (const name of ['a.tar', 'a.tar.gz', 'a.oci.tar']) {
      await run(['copy', dump, join(dir, name)]);
      await run(['copy', dump, `s3://${BUCKET}/x/${name}`]);
      const bytes = (await server.get(BUCKET, `x/${name}`)) as Uint8Array;
      expect(Buffer.compare(bytes, readFileSync(join(dir, name)))).toBe(0);
    }
    expect(await server.uploads()).toBe(0);
    expect(gunzipSync((await server.get(BUCKET, 'x/a.tar.gz')) as Uint8Array).length).toBeGreaterThan(10 * MIB);
  });

  it('is not replaced without --force', async () => {
    const place = `s3://${BUCKET}/a.tar`;
    await server.set(BUCKET, 'a.tar', Buffer.from('mine'));
    const { code, stderr } = await cli(['copy', fixture(FAMILY), place]);
    expect([code, stderr]).toEqual([
      1,
      `pagepipe: error: ${place}: expected no object, found one\npagepipe: hint: use --force to replace it\n`,
    ]);
    await run(['copy', fixture(FAMILY), place, '--force']);
    expect((await server.get(BUCKET, 'a.tar'))?.length).toBeGreaterThan(MIB);
  });

  it('is done once with --if-absent', async () => {
    for (const place of [`s3://${BUCKET}/a.tar.gz`, `s3://${BUCKET}/a`]) {
      await run(['copy', fixture(FAMILY), place, '--if-absent']);
      await server.log();
      expect((await run(['copy', fixture(FAMILY), place, '--if-absent'])).stderr).toContain('already there');
      expect((await server.log()).every(({ method }) => method === 'HEAD')).toBe(true);
    }
  });

  it('is no place for what else is written', async () => {
    const refusals: [words: string[], message: string][] = [
      [['copy', fixture(FAMILY), `s3://${BUCKET}/0,s3://${BUCKET}/1`, '--to', 'shards'], 'shards are pipes or files'],
      [
        ['template', fixture(FAMILY), `s3://${BUCKET}/t`, '--memory', join(tempDir(), 'm')],
        'only dumps can be written',
      ],
      [['map', fixture(FAMILY), '-o', `s3://${BUCKET}/map.html`], 'only dumps can be written there'],
      [['copy', fixture(FAMILY), `s3://${BUCKET}/x/`, '--to', 'tar'], 'expected the key of an object, found a prefix'],
    ];
    for (const [words, message] of refusals) {
      const { code, stderr } = await cli(words);
      expect(code).toBeGreaterThan(0);
      expect(stderr).toContain(message);
    }
    expect(await server.keys(BUCKET)).toEqual([]);
  });
});

describe('a writer of an object', () => {
  const outputAt = (key: string, ifAbsent = true) => {
    const bridge = s3Bridge({ endpointUrl: server.endpointUrl });
    return new S3Output(bridge, new PartQueue(bridge), { bucket: BUCKET, key }, ifAbsent);
  };

  it.each([0, 1, 16 * 1024 + 1, 8 * MIB, 17 * MIB])('takes %i bytes', async (size) => {
    const bytes = Buffer.alloc(size, 'pagepipe');
    const output = outputAt('o');
    for (let at = 0; at < size; at += 300_001) {
      output.write(bytes.subarray(at, at + 300_001));
      await output.drain();
    }
    await output.commit();
    expect(Buffer.compare((await server.get(BUCKET, 'o')) as Uint8Array, bytes)).toBe(0);
    expect(await server.uploads()).toBe(0);
  });

  it('does not replace an object that has come meanwhile, and takes its own for its own', async () => {
    for (const size of [100, 9 * MIB]) {
      const [first, second, again] = [outputAt('o'), outputAt('o'), outputAt('o')];
      first.write(Buffer.alloc(size, 1));
      second.write(Buffer.alloc(size, 2));
      again.write(Buffer.alloc(size, 1));
      await first.commit();
      await expect(second.commit()).rejects.toThrow(`s3://${BUCKET}/o: expected no object, found one`);
      await second.discard();
      // As when the answer to the first attempt was lost.
      await again.commit();
      await again.discard();
      expect((await server.get(BUCKET, 'o'))?.[0]).toBe(1);
      expect(await server.uploads()).toBe(0);
      await server.remove(BUCKET, 'o');
    }
  });

  it('has parts that grow, so that an object of 2 TiB is possible', () => {
    const sizes = Array.from({ length: 10_000 }, (_, i) => partBytes(i + 1) as number);
    expect(sizes.reduce((sum, bytes) => sum + bytes)).toBeGreaterThan(2.5 * 2 ** 40);
    expect([sizes[0], sizes[4999], sizes[5000], partBytes(10_001)]).toEqual([8 * MIB, 8 * MIB, 32 * MIB, undefined]);
  });
});
