/** `ls`: which dumps it finds in a folder, and what it does not look at. */
import {
  chmodSync,
  cpSync,
  mkdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  truncateSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { type FoundDump, findDumps } from '../../src/listing/find.js';
import { kindOfFile } from '../../src/listing/start.js';
import { cli } from '../helpers/cli.js';
import { faults } from '../helpers/faults.js';
import { expectFits, jsonLines } from '../helpers/json-schema.js';
import { fixture, tempDir } from '../helpers/temp.js';

const DUMP = fixture('mosaic-criu-4.2.1');
const SECONDS = 1_700_000_000;

async function list(place: string): Promise<{ path: string; kind: string; complete: boolean | null }[]> {
  const { code, stdout, stderr } = await cli(['ls', place, '--json']);
  expect([code, stderr]).toEqual([0, '']);
  const lines = jsonLines<FoundDump>(stdout);
  for (const line of lines) expectFits('ls', line);
  return lines.map(({ path, kind, compression, complete }) => ({
    path: path.slice(place.length + 1),
    kind: kind + (compression ? `.${compression}` : ''),
    complete,
  }));
}

describe('a folder of dumps', () => {
  it('in all containers, sorted', async () => {
    const root = tempDir();
    mkdirSync(join(root, 'b/deep'), { recursive: true });
    cpSync(DUMP, join(root, 'b/deep/dump'), { recursive: true });
    await cli(['copy', DUMP, join(root, 'z.tar')]);
    await cli(['copy', DUMP, join(root, 'c.tar.gz'), '--prefix', 'checkpoint']);
    await cli(['copy', DUMP, join(root, 'd.tar.zst')]);
    await cli(['copy', DUMP, join(root, 'e.oci.tar')]);
    await cli(['copy', DUMP, `${join(root, 's0')},${join(root, 's1')}`, '--to', 'shards']);
    await cli(['read', DUMP], { stdout: join(root, 'f.stream') });
    await cli(['split', DUMP, join(root, 'hot'), join(root, 'cold')]);
    cpSync(fixture('podman/counter.tar.gz'), join(root, 'checkpoint-web_default-app-2026-01-01T00:00:00Z.tar'));
    // What is no dump.
    writeFileSync(join(root, 'empty'), '');
    writeFileSync(join(root, 'text'), 'no dump at all\n'.repeat(100));
    writeFileSync(join(root, 'small'), Buffer.from([2, 0, 0, 0, 8, 0, 0, 0]));
    writeFileSync(join(root, 'image.img'), readFileSync(join(DUMP, 'inventory.img')));
    rmSync(join(root, 'image.img'));
    expect(await list(root)).toEqual([
      { path: 'b/deep/dump', kind: 'directory', complete: true },
      { path: 'c.tar.gz', kind: 'tar.gzip', complete: null },
      { path: 'checkpoint-web_default-app-2026-01-01T00:00:00Z.tar', kind: 'tar.gzip', complete: null },
      { path: 'cold', kind: 'directory', complete: true },
      { path: 'd.tar.zst', kind: 'tar.zstd', complete: null },
      { path: 'e.oci.tar', kind: 'oci', complete: true },
      { path: 'f.stream', kind: 'stream', complete: null },
      { path: 'hot', kind: 'directory', complete: true },
      { path: 's0', kind: 'shards', complete: null },
      { path: 's1', kind: 'shards', complete: null },
      { path: 'z.tar', kind: 'tar', complete: true },
    ]);
  });

  it('says what is cut off or not there yet', async () => {
    const root = tempDir();
    for (const name of ['a', 'b', 'c']) cpSync(DUMP, join(root, name), { recursive: true });
    rmSync(join(root, 'a/inventory.img'));
    truncateSync(join(root, 'b/inventory.img'));
    writeFileSync(join(root, 'c/.pagepipe-undelivered'), '');
    await cli(['copy', DUMP, join(root, 'd.tar')]);
    truncateSync(join(root, 'd.tar'), 20 * 512);
    expect((await list(root)).map(({ complete }) => complete)).toEqual([false, false, false, false]);
  });

  it('has sizes and times', async () => {
    const root = tempDir();
    const dump = join(root, 'dump');
    mkdirSync(join(dump, 'folder'), { recursive: true });
    writeFileSync(join(dump, 'inventory.img'), 'xxxx');
    writeFileSync(join(dump, 'folder/more'), 'xxxxxx');
    utimesSync(join(dump, 'inventory.img'), SECONDS, SECONDS);
    const { stdout } = await cli(['ls', root]);
    expect(stdout).toBe(
      '    SIZE  TIME                  KIND        COMPLETE    PATH\n' +
        `    10 B  2023-11-14T22:13:20Z  directory   yes         ${dump}\n`,
    );
    const json = await cli(['ls', dump, '--json']);
    expect(JSON.parse(json.stdout)).toEqual({
      path: dump,
      kind: 'directory',
      compression: null,
      bytes: 10,
      complete: true,
      time: '2023-11-14T22:13:20Z',
    });
  });
});

describe('it stays where it is', () => {
  it('links are not followed, hidden names are left out, and a dump is not searched for others', async () => {
    const root = tempDir();
    const outside = tempDir();
    cpSync(DUMP, join(outside, 'dump'), { recursive: true });
    cpSync(DUMP, join(root, 'dump'), { recursive: true });
    cpSync(DUMP, join(root, 'dump/parent'), { recursive: true });
    cpSync(DUMP, join(root, '.dump.pagepipe-1234'), { recursive: true });
    symlinkSync(outside, join(root, 'link'));
    symlinkSync(join(outside, 'dump'), join(root, 'other'));
    symlinkSync(root, join(root, 'circle'));
    expect((await list(root)).map(({ path }) => path)).toEqual(['dump']);
    // But the place itself may be one.
    expect((await list(join(root, 'link'))).map(({ path }) => path)).toEqual(['dump']);
  });

  it('names cannot command a terminal', async () => {
    const root = tempDir();
    cpSync(DUMP, join(root, 'a\u001b[2J\nb'), { recursive: true });
    const { stdout } = await cli(['ls', root]);
    expect(stdout.split('\n')).toHaveLength(3);
    expect(stdout).toContain('a\\u001b[2J\\u000ab');
    expect(await list(root)).toEqual([{ path: 'a\u001b[2J\nb', kind: 'directory', complete: true }]);
  });

  it('what cannot be read is said, and the list is not taken for complete', async () => {
    const root = tempDir();
    cpSync(DUMP, join(root, 'b'), { recursive: true });
    mkdirSync(join(root, 'a'));
    writeFileSync(join(root, 'a/file'), 'text');
    writeFileSync(Buffer.from(`${root}/c\xff`, 'latin1'), 'x');
    // Two are of the test itself.
    faults.fail('openSync', 3, 'EACCES');
    const { code, stdout, stderr } = await cli(['ls', root, '--json']);
    faults.disarm();
    expect(code).toBe(1);
    expect(jsonLines<FoundDump>(stdout).map(({ path }) => path)).toEqual([join(root, 'b')]);
    expect(jsonLines<{ message: string }>(stderr).map(({ message }) => message.replace(/c\ufffd/, 'c'))).toEqual([
      `${join(root, 'a/file')}: permission denied (EACCES)`,
      `${join(root, 'c')}: its name is not UTF-8`,
      'the list is not complete: 2 places could not be looked at',
    ]);
  });

  it('has a limit', async () => {
    const root = tempDir();
    for (let i = 0; i < 5; i++) mkdirSync(join(root, `${i}`));
    const all = async (limit: number) => {
      for await (const dump of findDumps(root, () => {}, limit)) expect(dump).toBeUndefined();
    };
    await all(5);
    await expect(all(4)).rejects.toThrow(`${root}: expected at most 4 files and folders, found more`);
  });

  it('a file that is no dump, and nothing at all', async () => {
    const root = tempDir();
    writeFileSync(join(root, 'text'), 'text');
    chmodSync(join(root, 'text'), 0o600);
    expect(await list(root)).toEqual([]);
    expect((await cli(['ls', join(root, 'text')])).stderr).toBe(
      `pagepipe: error: ${join(root, 'text')}: expected a folder or a dump, found something else\n`,
    );
    expect((await cli(['ls', join(root, 'none')])).code).toBe(1);
    expect((await cli(['ls', root, root])).code).toBe(2);
  });
});

it('archives of other things are no dumps, and damaged ones no errors', async () => {
  const archive = readFileSync(fixture('podman/counter.tar.gz'));
  expect(await kindOfFile(archive.subarray(0, 4096))).toEqual({ kind: 'tar', compression: 'gzip' });
  expect(await kindOfFile(archive.subarray(0, 20))).toBeUndefined();
  const damaged = Buffer.from(archive.subarray(0, 4096));
  damaged.fill(0xff, 30, 100);
  expect(await kindOfFile(damaged)).toBeUndefined();
  expect(await kindOfFile(Buffer.from([0x28, 0xb5, 0x2f, 0xfd, 1, 2, 3]))).toBeUndefined();
});
