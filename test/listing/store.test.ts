/** `ls` of an object store: which dumps are below a prefix, by lists alone. */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, beforeEach, expect, it } from 'vitest';
import { cli } from '../helpers/cli.js';
import { expectFits, jsonLines } from '../helpers/json-schema.js';
import { S3Server } from '../helpers/s3-server.js';
import { fixture } from '../helpers/temp.js';

const BUCKET = 'dumps';
const DUMP = fixture('mosaic-criu-4.2.1');
let server: S3Server;

beforeAll(async () => {
  server = await S3Server.start(BUCKET);
});
beforeEach(() => server.stubEnvironment());
afterAll(() => server.close());

async function list(place: string): Promise<unknown[]> {
  const { code, stdout, stderr } = await cli(['ls', place, '--json']);
  expect(code).toBe(0);
  expect(JSON.parse(stderr)).toMatchObject({ severity: 'info', s3: { bytesReceived: 0, bytesSent: 0 } });
  const lines = jsonLines<Record<string, unknown>>(stdout);
  for (const line of lines) expectFits('ls', line);
  return lines.map(({ path, kind, compression, bytes, complete }) => [path, kind, compression, bytes, complete]);
}

it('finds prefixes with images and archives, sorted, and reads nothing', async () => {
  const put = (key: string, bytes = 'x') => server.set(BUCKET, key, Buffer.from(bytes));
  for (const name of readdirSync(DUMP))
    await server.set(BUCKET, `jobs/b/whole/${name}`, readFileSync(join(DUMP, name)));
  await put('jobs/b/whole/parent/inventory.img', 'parent');
  await put('jobs/c/half/core-1.img');
  await put('jobs/a.tar.zst', 'archive');
  await put('jobs/d.tar');
  await put('jobs/.hidden/inventory.img');
  await put('jobs/notes.txt');
  await put('jobs-of-others/inventory.img');
  const bytes = readdirSync(DUMP).reduce((sum, name) => sum + readFileSync(join(DUMP, name)).length, 0) + 6;
  await server.log();
  expect(await list('s3://dumps/jobs')).toEqual([
    ['s3://dumps/jobs/a.tar.zst', 'tar', 'zstd', 7, null],
    ['s3://dumps/jobs/b/whole', 'directory', null, bytes, true],
    ['s3://dumps/jobs/c/half', 'directory', null, 1, false],
    ['s3://dumps/jobs/d.tar', 'tar', null, 1, null],
  ]);
  const seen = await server.log();
  expect(seen.filter(({ method, url }) => method === 'GET' && !url.includes('list-type=2'))).toEqual([]);
  expect(await list('s3://dumps/jobs/d.tar')).toHaveLength(1);
  expect(await list('s3://dumps/jobs/c/half/')).toHaveLength(1);
  expect(await list('s3://dumps')).toHaveLength(5);
});

it('says if nothing is there', async () => {
  const { code, stderr } = await cli(['ls', 's3://dumps/nothing/']);
  expect([code, stderr]).toEqual([1, 'pagepipe: error: s3://dumps/nothing/: there are no objects below it\n']);
  await server.set(BUCKET, 'text', Buffer.from('x'));
  expect((await cli(['ls', 's3://dumps/text'])).stderr).toBe(
    'pagepipe: error: s3://dumps/text: expected a prefix or an archive, found something else\n',
  );
});
