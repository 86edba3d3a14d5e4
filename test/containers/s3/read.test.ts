import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { openRandom } from '../../../src/arrival/open.js';
import { s3Bridge } from '../../../src/containers/s3/bridge.js';
import { S3Object } from '../../../src/containers/s3/object.js';
import { openDumpFiles } from '../../../src/library/open-dump.js';
import { ociArchive, tar } from '../../helpers/archives.js';
import { cli } from '../../helpers/cli.js';
import { S3Server } from '../../helpers/s3-server.js';
import { describeTree, fixture, tempDir } from '../../helpers/temp.js';

const BUCKET = 'dumps';
const MIB = 2 ** 20;
const MOSAIC = 'mosaic-criu-4.2.1';
let server: S3Server;

beforeAll(async () => {
  server = await S3Server.start(BUCKET);
  await server.setFolder(BUCKET, 'mosaic/', fixture(MOSAIC));
  await server.set(BUCKET, 'mosaic.tar', tar(fixture(MOSAIC), '-c', '.'));
});
beforeEach(async () => {
  server.stubEnvironment();
  await server.log();
});
afterAll(() => server.close());

/** Bytes that are different everywhere. */
function pattern(bytes: number): Uint8Array {
  const page = new Uint32Array(1024);
  const all = new Uint8Array(bytes);
  for (let at = 0; at < bytes; at += 4096) {
    page.fill(at + 1);
    all.set(new Uint8Array(page.buffer), at);
  }
  return all;
}

async function object(key: string, bytes: Uint8Array): Promise<S3Object> {
  await server.set(BUCKET, key, bytes);
  const bridge = s3Bridge({ endpointUrl: server.endpointUrl });
  const info = bridge.head({ bucket: BUCKET, key });
  await server.log();
  return new S3Object(bridge, { bucket: BUCKET, key }, info ?? { size: 0, etag: '' });
}

/** The ranges that were asked for, in MiB. */
const ranges = async () =>
  (await server.log()).flatMap(({ range }) => {
    const [, from = '', last = ''] = /^bytes=(\d+)-(\d+)$/.exec(range ?? '') ?? [];
    return from === '' ? [] : [[Number(from) / MIB, (Number(last) + 1) / MIB]];
  });

function readAt(file: S3Object, position: number, count: number): Uint8Array {
  const bytes = new Uint8Array(count);
  for (let done = 0; done < count; ) {
    const some = file.readSome(bytes.subarray(done), position + done);
    if (some === 0) return bytes.subarray(0, done);
    done += some;
  }
  return bytes;
}

describe('an object', () => {
  it('is read anywhere, also at its end', async () => {
    const bytes = pattern(3 * MIB);
    const file = await object('any', bytes);
    for (const [position, count] of [
      [0, 10],
      [2 * MIB + 5, MIB],
      [MIB - 1, 2],
      [3 * MIB - 1, 100],
      [3 * MIB, 1],
      [4 * MIB, 1],
    ] as const) {
      const part = readAt(file, position, count);
      expect(Buffer.compare(part, bytes.subarray(position, position + count)), `${position}`).toBe(0);
    }
    expect(file.readSome(new Uint8Array(0), 0)).toBe(0);
  });

  it('is fetched as planned: small gaps with what is read, large ones not', async () => {
    const bytes = pattern(36 * MIB);
    const file = await object('planned', bytes);
    const extents: number[] = [];
    for (let at = 0; at < 10; at += 2) extents.push(at * MIB, 1.875 * MIB);
    extents.push(30 * MIB, 4 * MIB);
    file.willRead(Float64Array.from(extents));
    for (let i = 0; i < extents.length; i += 2) {
      const [position, count] = [extents[i] as number, extents[i + 1] as number];
      expect(Buffer.compare(readAt(file, position, count), bytes.subarray(position, position + count))).toBe(0);
    }
    expect(await ranges()).toEqual([
      [0, 4.9375],
      [4.9375, 9.875],
      [30, 34],
    ]);
  });

  it('comes in sequence, a few megabytes with each request', async () => {
    const bytes = pattern(12 * MIB);
    const file = await object('sequence', bytes);
    let at = 0;
    for await (const chunk of file.chunks(new AbortController().signal)) {
      expect(Buffer.compare(chunk, bytes.subarray(at, at + chunk.length))).toBe(0);
      at += chunk.length;
    }
    expect(at).toBe(bytes.length);
    expect((await ranges()).length).toBe(2);
  });

  it('is fetched ahead of who reads on, at most as much as was read', async () => {
    const file = await object('ahead', pattern(12 * MIB));
    for (let at = 0; at < 12 * MIB; at += MIB / 8) readAt(file, at, MIB / 8);
    expect((await ranges()).length).toBeLessThan(16);
    const other = await object('jumps', pattern(12 * MIB));
    for (let at = 0; at < 12 * MIB; at += 2 * MIB) readAt(other, at, 4096);
    const fetched = (await ranges()).reduce((sum, [from = 0, to = 0]) => sum + to - from, 0);
    expect(fetched).toBeLessThanOrEqual(1);
  });

  it.each(['replaced', 'removed'])('that is %s meanwhile is an error with its name and the offset', async (how) => {
    const file = await object('changing', pattern(2 * MIB));
    readAt(file, 0, 100);
    if (how === 'replaced') await server.set(BUCKET, 'changing', new Uint8Array(2 * MIB));
    else await server.remove(BUCKET, 'changing');
    const what = how === 'replaced' ? 'has changed' : 'has been removed';
    expect(() => readAt(file, MIB, 100)).toThrow(
      `s3://dumps/changing@0x100000: the object ${what} since it was opened`,
    );
  });
});

describe('a dump', () => {
  it('is read from an object, from objects below a prefix, and from the only folder there', async () => {
    await server.setFolder(BUCKET, 'pod/checkpoint/', fixture(MOSAIC));
    await server.set(BUCKET, 'pod/config.dump', Buffer.from('{}'));
    const expected = (await cli(['x', fixture(MOSAIC), 'mems'])).stdout;
    for (const place of ['s3://dumps/mosaic', 's3://dumps/mosaic/', 's3://dumps/mosaic.tar', 's3://dumps/pod/']) {
      expect((await cli(['x', place, 'mems'])).stdout, place).toBe(expected);
    }
  });

  it('is copied from an OCI image, an archive by gzip and shards', async () => {
    const dir = tempDir();
    await server.set(BUCKET, 'mosaic.tgz', gzipSync(tar(fixture(MOSAIC), '-c', '.')));
    await server.set(BUCKET, 'mosaic.oci', ociArchive(gzipSync(tar(fixture(MOSAIC), '-c', '.'))));
    expect((await cli(['copy', fixture(MOSAIC), `${dir}/a,${dir}/b`, '--to', 'shards'])).code).toBe(0);
    for (const name of ['a', 'b']) await server.set(BUCKET, name, readFileSync(join(dir, name)));
    const content = (path: string) =>
      describeTree(path)
        .slice(1)
        .map((line) => line.replace(/ \d+ /, ' '));
    for (const [i, words] of [
      ['s3://dumps/mosaic.tgz'],
      ['s3://dumps/mosaic.oci'],
      ['s3://dumps/a,s3://dumps/b', '--from', 'shards'],
    ].entries()) {
      const out = join(dir, `out${i}`);
      const { code, stderr } = await cli(['copy', words[0] as string, out, ...words.slice(1)]);
      expect(code, stderr).toBe(0);
      expect(content(out)).toEqual(content(fixture(MOSAIC)));
    }
  });

  it('says how many requests it took', async () => {
    const { stderr } = await cli(['x', 's3://dumps/mosaic.tar', 'ps']);
    expect(stderr).toMatch(/^pagepipe: s3: \d+ requests?, \d+ bytes fetched\n$/);
    const { stderr: json } = await cli(['verify', 's3://dumps/mosaic', '--json']);
    expect(JSON.parse(json.trim().split('\n').at(-1) as string)).toMatchObject({
      severity: 'info',
      s3: { requests: expect.any(Number), bytesSent: 0 },
    });
  });

  it('is not there, or is something else', async () => {
    const message = async (...words: string[]) => (await cli(words)).stderr.split('\n').at(-2);
    expect(await message('x', 's3://dumps/none', 'ps')).toBe(
      'pagepipe: error: s3://dumps/none: there is no such object, and none below it',
    );
    expect(await message('x', 's3://dumps/none/', 'ps')).toBe(
      'pagepipe: error: s3://dumps/none/: there are no objects below it',
    );
    expect(await message('x', 's3://dumps/mosaic', 'ps', '--from', 'tar')).toBe(
      'pagepipe: error: s3://dumps/mosaic: expected an object, found only objects below it',
    );
    expect(await message('show', 's3://dumps/mosaic/pstree.img')).toBe('pagepipe: hint: pagepipe show --help');
  });

  it('has a parent in the same bucket, by a relative target or as a copy', async () => {
    const chain = fixture('chain/mprotect00');
    for (const n of [1, 2, 3]) {
      await server.setFolder(BUCKET, `chain/${n}/`, join(chain, String(n)));
      if (n > 1) await server.set(BUCKET, `chain/${n}/parent`, Buffer.from(`../${n - 1}`));
    }
    const expected = await cli(['verify', join(chain, '3')]);
    const found = await cli(['verify', 's3://dumps/chain/3']);
    expect([found.code, found.stdout]).toEqual([expected.code, expected.stdout]);
    const out = join(tempDir(), 'out');
    await cli(['inspect', 's3://dumps/chain/3', '--json'], { stdout: out });
    expect(JSON.parse(readFileSync(out, 'utf8')).dump.written).toMatch(/^20\d\d-\d\d-\d\dT\d\d:\d\d:\d\dZ$/);
    const files = await openDumpFiles('s3://dumps/chain/3');
    expect([files.parent()?.path, files.parent()?.parent()?.path]).toEqual([
      's3://dumps/chain/2',
      's3://dumps/chain/1',
    ]);
    files.close();
    await server.set(BUCKET, 'chain/3/parent', Buffer.from('../../../secret'));
    const outside = await openRandom('s3://dumps/chain/3');
    expect(() => outside?.parent()).toThrow(
      'parent: expected a relative link inside the bucket, found one that leads elsewhere',
    );
    outside?.close();
    await server.remove(BUCKET, 'chain/3/parent');
    await server.setFolder(BUCKET, 'chain/3/parent/', join(chain, '2'));
    const copied = await openRandom('s3://dumps/chain/3');
    expect(copied?.parent()?.path).toBe('s3://dumps/chain/3/parent');
    expect(copied?.entries().find(({ name }) => name.startsWith('parent'))?.kind).toBe('link');
    copied?.close();
  });

  it('with a name that is no file is refused', async () => {
    await server.setFolder(BUCKET, 'hostile/', fixture(MOSAIC));
    await server.set(BUCKET, 'hostile/a/../b', Buffer.from('x'));
    await expect(openRandom('s3://dumps/hostile/')).rejects.toThrow(
      's3://dumps/hostile: expected a file name inside the dump, found "a/../b"',
    );
  });
});
