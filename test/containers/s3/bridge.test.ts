import { afterAll, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest';
import { type S3Bridge, s3Bridge } from '../../../src/containers/s3/bridge.js';
import { S3Server } from '../../helpers/s3-server.js';

const BUCKET = 'dumps';
const PART_BYTES = 5 * 2 ** 20;
const bytes = (text: string) => new TextEncoder().encode(text);
let server: S3Server;
let bridge: S3Bridge;

beforeAll(async () => {
  server = await S3Server.start(BUCKET);
});
beforeEach(() => {
  server.stubEnvironment();
  bridge = s3Bridge({ endpointUrl: server.endpointUrl });
});
afterAll(() => server.close());

describe('objects', () => {
  it('writes, looks at, lists and removes them', async () => {
    const { etag } = bridge.put({ bucket: BUCKET, key: 'a/1', bytes: bytes('one'), ifAbsent: true });
    bridge.put({ bucket: BUCKET, key: 'a/b/2', bytes: bytes('two!'), ifAbsent: false });
    expect(bridge.head({ bucket: BUCKET, key: 'a/1' })).toMatchObject({ key: 'a/1', size: 3, etag });
    expect(bridge.head({ bucket: BUCKET, key: 'a' })).toBeUndefined();
    const all = bridge.list({ bucket: BUCKET, prefix: 'a/', most: 10 });
    expect(all.objects.map(({ key, size }) => [key, size])).toEqual([
      ['a/1', 3],
      ['a/b/2', 4],
    ]);
    const top = bridge.list({ bucket: BUCKET, prefix: 'a/', delimiter: '/', most: 10 });
    expect([top.objects.length, top.prefixes]).toEqual([1, ['a/b/']]);
    for (const key of ['a/1', 'a/b/2', 'none']) bridge.remove({ bucket: BUCKET, key });
    expect(await server.keys(BUCKET)).toEqual([]);
  });

  it('does not replace one if it must be absent', async () => {
    await server.set(BUCKET, 'there', bytes('old'));
    const write = () => bridge.put({ bucket: BUCKET, key: 'there', bytes: bytes('new'), ifAbsent: true });
    expect(write).toThrow('s3://dumps/there: expected no object, found one');
    expect(await server.get(BUCKET, 'there')).toEqual(bytes('old'));
    await server.remove(BUCKET, 'there');
  });

  it('lists more than one answer holds, and not more than it may', async () => {
    for (let i = 0; i < 1500; i++) await server.set(BUCKET, `many/${i}`, bytes(''));
    const { objects } = bridge.list({ bucket: BUCKET, prefix: 'many/', most: 1500 });
    expect(new Set(objects.map(({ key }) => key)).size).toBe(1500);
    expect(() => bridge.list({ bucket: BUCKET, prefix: 'many/', most: 1200 })).toThrow(
      's3://dumps/many/: expected at most 1200 objects, found more',
    );
    for (const { key } of objects) await server.remove(BUCKET, key);
  });
});

describe('uploads', () => {
  it('sends parts at the same time, and gives their memory back', async () => {
    const upload = bridge.createUpload({ bucket: BUCKET, key: 'large' });
    const parts = [1, 2].map((number) =>
      bridge.startPart({ upload, number, bytes: new Uint8Array(PART_BYTES).fill(number) }),
    );
    const done = [await parts[0]?.settled(), parts[1]?.wait()];
    expect(parts.map(({ memory }) => memory?.byteLength)).toEqual([PART_BYTES, PART_BYTES]);
    expect(await server.keys(BUCKET)).toEqual([]);
    bridge.completeUpload({ upload, parts: done.flatMap((part) => part ?? []), ifAbsent: true });
    const object = await server.get(BUCKET, 'large');
    expect([object?.length, object?.[0], object?.[PART_BYTES]]).toEqual([2 * PART_BYTES, 1, 2]);
    expect(bridge.usage().bytesSent).toBeGreaterThanOrEqual(2 * PART_BYTES);
    await server.remove(BUCKET, 'large');
  });

  it('leaves nothing when it is aborted, twice too', async () => {
    const upload = bridge.createUpload({ bucket: BUCKET, key: 'large' });
    bridge.startPart({ upload, number: 1, bytes: bytes('part') }).wait();
    expect(await server.uploads()).toBe(1);
    bridge.abortUpload(upload);
    bridge.abortUpload(upload);
    expect(await server.uploads()).toBe(0);
    expect(() => bridge.completeUpload({ upload, parts: [{ number: 1, etag: 'x' }], ifAbsent: false })).toThrow(
      's3://dumps/large: cannot complete the object: there is no such upload',
    );
  });
});

describe('failures', () => {
  it('says what bucket is missing', () => {
    expect(() => bridge.list({ bucket: 'none', prefix: '', most: 1 })).toThrow(
      's3://none/: cannot list the objects: there is no such bucket',
    );
  });

  it('says that nobody answers, after all attempts', () => {
    vi.stubEnv('AWS_MAX_ATTEMPTS', '2');
    const nobody = s3Bridge({ endpointUrl: 'http://127.0.0.1:9' });
    expect(() => nobody.head({ bucket: BUCKET, key: 'a' })).toThrow(
      's3://dumps/a: cannot look at the object: connection refused (ECONNREFUSED)',
    );
    expect(nobody.usage().requests).toBe(2);
  });

  it('does not repeat an endpoint that has a password', () => {
    const wrong = s3Bridge({ endpointUrl: 'http://user:secret@127.0.0.1:9' });
    expect(() => wrong.head({ bucket: BUCKET, key: 'a' })).toThrow(
      'the endpoint URL: expected http://HOST[:PORT] or https://HOST[:PORT], without a user',
    );
  });
});
