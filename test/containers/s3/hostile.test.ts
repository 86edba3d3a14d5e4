/**
 * A server that answers wrongly: never does a wrong byte get out, and every failure is one error that names the object. Bytes
 * that are wrong under right headers are found by sums, and else only by what the dump itself shows.
 */
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest';
import { openDumpFiles } from '../../../src/library/open-dump.js';
import { cli } from '../../helpers/cli.js';
import { ANON, writeDump } from '../../helpers/dump-writer.js';
import { type Misbehaviour, S3Server } from '../../helpers/s3-server.js';
import { describeTree, openFiles, tempDir } from '../../helpers/temp.js';

const BUCKET = 'dumps';

let server: S3Server;
let folder: string;
/** A dump with sums, of three blocks of pages; and one whose pages are larger than a part of an upload. */
let dump: string;
let large: string;
let dir: string;

async function summed(name: string, pages: number): Promise<string> {
  const end = 0x10000n + BigInt(pages * 4096);
  writeDump(join(folder, `plain-${name}`), {
    tasks: [{ pid: 7, vmas: [{ start: 0x10000n, end, ...ANON }], entries: [{ vaddr: 0x10000n, pages }] }],
    content: (_, address) => Buffer.alloc(4096, `${address}`),
  });
  expect((await cli(['copy', join(folder, `plain-${name}`), join(folder, name), '--sums'])).code).toBe(0);
  return join(folder, name);
}

beforeAll(async () => {
  server = await S3Server.start(BUCKET);
  folder = mkdtempSync(join(tmpdir(), 'pagepipe-hostile-'));
  dump = await summed('dump', 600);
  large = await summed('large', 2600);
});
beforeEach(async () => {
  server.stubEnvironment();
  // No long pauses between attempts.
  vi.stubEnv('AWS_MAX_ATTEMPTS', '2');
  dir = tempDir();
  await server.setFolder(BUCKET, 'in/', dump);
});
afterEach(async () => {
  await server.misbehave();
  for (const key of await server.keys(BUCKET)) await server.remove(BUCKET, key);
});
afterAll(async () => {
  rmSync(folder, { recursive: true });
  await server.close();
});

const PAGES_FILE = /\/in\/pages-1\.img/;

/** The errors of a copy out of the store; of several attempts, those that it takes. */
async function failure(rule: Misbehaviour, source = `s3://${BUCKET}/in`): Promise<[code: number, message: string]> {
  const before = describeTree(dir);
  await server.misbehave(rule);
  const { code, stderr } = await cli(['copy', source, join(dir, 'out')]);
  expect(stderr.match(/^pagepipe: error: /gm), stderr).toHaveLength(1);
  expect(describeTree(dir)).toEqual(before);
  expect(openFiles(dir)).toEqual([]);
  return [code, stderr.split('\n')[0] as string];
}

describe('a store that is read', () => {
  const PLACE = `pagepipe: error: s3://${BUCKET}/in/pages-1.img`;
  const rows: [what: string, rule: Omit<Misbehaviour, 'url'>, code: number, message: RegExp][] = [
    [
      'other bytes, of a dump with sums',
      { how: 'otherBytes' },
      1,
      /pages-1\.img@0x\w+: expected a block with the SHA-256/,
    ],
    ['another range', { how: 'header', name: 'content-range', value: 'bytes 0-9/99' }, 1, /expected the range "bytes /],
    ['no range', { how: 'header', name: 'content-range' }, 1, /expected the range "bytes .*, found none/],
    ['all of the object', { how: 'whole' }, 1, /asked for a range, expected the answer 206, found 200/],
    [
      'another object',
      { how: 'header', name: 'etag', value: '"other"' },
      75,
      /the object has changed since it was opened/,
    ],
    ['412', { how: 'status', status: 412 }, 75, /the object has changed since it was opened/],
    ['404', { how: 'status', status: 404 }, 75, /the object has been removed since it was opened/],
    ['403', { how: 'status', status: 403, code: 'AccessDenied' }, 1, /access denied \(AccessDenied\)/],
    ['500', { how: 'status', status: 500, code: 'InternalError' }, 75, /the server answers 500/],
    ['503', { how: 'status', status: 503, code: 'SlowDown' }, 75, /the server answers 503 \(SlowDown\)/],
    ['nothing', { how: 'close' }, 75, /cannot read the object: /],
  ];

  it.each(rows)('with %s, has nothing made of it', async (_, rule, expected, message) => {
    const [code, text] = await failure({ ...rule, method: 'GET', url: PAGES_FILE });
    expect([code, text]).toEqual([expected, expect.stringMatching(message)]);
    if (rule.how !== 'otherBytes') expect(text.startsWith(PLACE)).toBe(true);
  });

  it('with other bytes, of a dump without sums, is found only by what the images show', async () => {
    await server.setFolder(BUCKET, 'plain/', join(folder, 'plain-dump'));
    const [code, text] = await failure(
      { how: 'otherBytes', method: 'GET', url: /\/plain\/inventory\.img/ },
      `s3://${BUCKET}/plain`,
    );
    expect([code, text]).toEqual([1, expect.stringContaining('inventory.img')]);
    await server.setFolder(BUCKET, 'again/', join(folder, 'plain-dump'));
    // The bytes of a page can be any: this is what sums are for.
    await server.misbehave({ how: 'otherBytes', method: 'GET', url: /\/again\/pages-1\.img/ });
    expect((await cli(['copy', `s3://${BUCKET}/again`, join(dir, 'wrong')])).code).toBe(0);
    const [page, right] = [join(dir, 'wrong'), dump].map((path) => readFileSync(join(path, 'pages-1.img')));
    expect(Buffer.compare(page as Buffer, right as Buffer)).not.toBe(0);
  });

  it.each(['in', 'in.tar'])('with other bytes once, is right when it is read again: %s', async (name) => {
    expect((await cli(['copy', dump, join(dir, 'in.tar'), '--sums'])).code).toBe(0);
    await server.set(BUCKET, 'in.tar', readFileSync(join(dir, 'in.tar')));
    const files = await openDumpFiles(`s3://${BUCKET}/${name}`);
    try {
      await server.misbehave({ how: 'otherBytes', method: 'GET', url: /pages-1\.img|in\.tar/, times: 1 });
      const page = Buffer.alloc(4096);
      const read = () => files.readSome('pages-1.img', page, 2 * 1024 * 1024);
      expect(read).toThrow(/expected a block with the SHA-256/);
      expect(read()).toBe(4096);
      expect(
        page.equals(readFileSync(join(dump, 'pages-1.img')).subarray(2 * 1024 * 1024, 2 * 1024 * 1024 + 4096)),
      ).toBe(true);
    } finally {
      files.close();
    }
  });

  it.each<[string, Omit<Misbehaviour, 'url'>]>([
    ['cut answers', { how: 'cut', times: 3 }],
    ['longer answers than they say', { how: 'long', times: 1 }],
    ['503 for a while', { how: 'status', status: 503, code: 'SlowDown', times: 1 }],
    ['a connection that breaks', { how: 'close', times: 1 }],
  ])('with %s, is read all the same or is an error', async (_, rule) => {
    await server.misbehave({ ...rule, method: 'GET', url: PAGES_FILE });
    const { code, stderr } = await cli(['copy', `s3://${BUCKET}/in`, join(dir, 'out')]);
    if (code === 0)
      expect(readFileSync(join(dir, 'out', 'pages-1.img'))).toEqual(readFileSync(join(dump, 'pages-1.img')));
    else {
      expect(stderr.match(/^pagepipe: error: /gm), stderr).toHaveLength(1);
      expect(existsSync(join(dir, 'out'))).toBe(false);
    }
    if (rule.how !== 'long') expect(code, stderr).toBe(0);
  });

  it.each<[string, Omit<Misbehaviour, 'url' | 'how'>, RegExp]>([
    ['of nothing without an end', { keys: [], endless: true }, /the list of objects does not end/],
    ['with a key elsewhere', { keys: ['other/core-1.img'] }, /the server lists a key elsewhere/],
    ['with a name that leads outside', { keys: ['in/../x'] }, /expected a file name inside the dump, found "\.\.\/x"/],
    ['with a name twice', { keys: ['in/a', 'in/a'] }, /the name occurs twice/],
    ['with a control character', { keys: ['in/inventory.img', 'in/a\u001b[31m'] }, /pagepipe: error: /],
  ])('with a list %s, is refused', async (_, rule, message) => {
    const [code, text] = await failure({ ...rule, how: 'keys', method: 'GET', url: /list-type/ });
    expect([code, text]).toEqual([1, expect.stringMatching(message)]);
    expect(text).not.toMatch(/\p{Cc}/u);
  });
});

describe('a store that is written', () => {
  /** What a copy into the store says; nothing of it may be there. */
  async function refusal(out: string, ...rules: Misbehaviour[]): Promise<[code: number, message: string]> {
    await server.misbehave(...rules);
    const { code, stderr } = await cli(['copy', large, `s3://${BUCKET}/${out}`]);
    expect(stderr.match(/^pagepipe: error: /gm), stderr).toHaveLength(1);
    expect([(await server.keys(BUCKET)).filter((key) => key.startsWith(out)), await server.uploads()]).toEqual([[], 0]);
    return [code, stderr.split('\n')[0] as string];
  }

  const slow = { how: 'status', status: 503, code: 'SlowDown' } as const;
  const part = { method: 'PUT', url: /partNumber=2/ } as const;
  const refused: [rule: Misbehaviour, code: number, message: RegExp][] = [
    [{ ...part, ...slow }, 75, /cannot write part 2 of the object: the server answers 503 \(SlowDown\)/],
    [{ ...part, how: 'close' }, 75, /cannot write part 2 of the object: /],
    [{ ...part, how: 'status', status: 403, code: 'AccessDenied' }, 1, /access denied/],
    [{ method: 'POST', url: /\?uploads/, ...slow }, 75, /cannot write the object: the server answers 503/],
    [{ method: 'POST', url: /uploadId=/, ...slow }, 75, /cannot complete the object: the server answers 503/],
    [{ method: 'POST', url: /uploadId=/, how: 'status', status: 400, code: 'InvalidPart' }, 1, /InvalidPart/],
    [{ method: 'POST', url: /uploadId=/, how: 'status', status: 501, code: 'NotImplemented' }, 1, /answers 501/],
  ];

  // A part, the beginning and the end of an upload are the same for both: of a directory each fails once.
  it.each([
    ['out', [refused[0], refused[3], refused[5]] as typeof refused],
    ['out.tar', refused],
  ])('that refuses a request has nothing half-made: %s', async (out, rows) => {
    for (const [rule, code, message] of rows) {
      expect(await refusal(out, rule)).toEqual([code, expect.stringMatching(message)]);
    }
  });

  it('that refuses one object of a prefix has none of the others', async () => {
    for (const name of ['core-7.img', 'inventory.img', 'pagepipe-sums.json']) {
      const rule = { method: 'PUT', url: new RegExp(`/out/${name}`), how: 'status', status: 500 } as const;
      expect(await refusal('out', rule)).toEqual([
        75,
        expect.stringContaining(`s3://${BUCKET}/out/${name}: cannot write`),
      ]);
    }
  });

  it('whose answers get lost has the dump once', async () => {
    const lost = { how: 'silence', times: 1 } as const;
    await server.misbehave(
      { method: 'PUT', url: /\/out\/core-7\.img/, ...lost },
      { method: 'PUT', url: /\/out\/inventory\.img/, ...lost },
      { method: 'PUT', url: /partNumber=1/, ...lost },
      { method: 'POST', url: /uploadId=/, ...lost },
    );
    const { code, stderr } = await cli(['copy', large, `s3://${BUCKET}/out`]);
    expect(code).toBe(0);
    expect(stderr).toMatch(/^pagepipe: s3: \d+ requests, 0 bytes fetched, \d+ bytes sent\n$/);
    await server.misbehave();
    expect((await cli(['copy', `s3://${BUCKET}/out`, join(dir, 'back')])).code).toBe(0);
    expect(readFileSync(join(dir, 'back', 'pages-1.img'))).toEqual(readFileSync(join(large, 'pages-1.img')));
    expect(await server.uploads()).toBe(0);
  });

  it('that gets an object of another writer meanwhile keeps that', async () => {
    await server.misbehave({ method: 'HEAD', url: /\/out\.tar/, times: 1, how: 'status', status: 404 });
    await server.set(BUCKET, 'out.tar', Buffer.from('of another'));
    const { code, stderr } = await cli(['copy', large, `s3://${BUCKET}/out.tar`]);
    expect([code, stderr.split('\n')[0]]).toEqual([
      1,
      `pagepipe: error: s3://${BUCKET}/out.tar: expected no object, found one`,
    ]);
    expect(Buffer.from((await server.get(BUCKET, 'out.tar')) as Uint8Array).toString()).toBe('of another');
    expect(await server.uploads()).toBe(0);
  });
});
