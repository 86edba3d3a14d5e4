/** Dumps of version 1, as CRIU up to 1.5 wrote them: each image has one magic number, and the inventory says so. */
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it, test } from 'vitest';
import { typeOfName } from '../src/image/magic.js';
import { archiveOf } from './helpers/archives.js';
import { cli } from './helpers/cli.js';
import { dumpAndOut, tempDir } from './helpers/temp.js';
import { findingsOf } from './verify/harness.js';

/** Makes a dump of CRIU 4.2.1 one of version 1. */
async function versionOne(): Promise<{ dump: string; out: string }> {
  const { dump, out } = dumpAndOut('mosaic-criu-4.2.1');
  for (const name of readdirSync(dump)) {
    const type = typeOfName(name);
    if (!type || type === 'INVENTORY') continue;
    writeFileSync(join(dump, name), readFileSync(join(dump, name)).subarray(4));
  }
  expect(await cli(['edit', join(dump, 'inventory.img'), '--set', 'entries[0].img_version=1'])).toMatchObject({
    code: 0,
  });
  return { dump, out };
}

const imagesOf = (dump: string): Record<string, string> =>
  Object.fromEntries(readdirSync(dump).map((name) => [name, readFileSync(join(dump, name), 'latin1')]));

describe('a dump of version 1', () => {
  test('is sound', async () => {
    const { dump } = await versionOne();
    expect(findingsOf(dump)).toEqual([]);
  });

  test('has two magic numbers nowhere', async () => {
    const { dump } = await versionOne();
    const name = join(dump, 'mm-15.img');
    writeFileSync(name, Buffer.concat([Buffer.of(0x19, 0x43, 0x56, 0x54), readFileSync(name)]));
    expect(findingsOf(dump)).toEqual([
      expect.objectContaining({
        code: 'WRONG_MAGIC',
        file: 'mm-15.img',
        message: 'expected 1 magic number in a dump of img_version 1, found 2',
      }),
    ]);
  });

  it.each([
    ['a directory', (dump: string) => dump],
    ['a compressed archive', (dump: string) => archiveOf(dump, join(tempDir(), 'gz'), '--gzip')],
  ])('is copied byte for byte from %s', async (_, place) => {
    const { dump, out } = await versionOne();
    expect(await cli(['copy', place(dump), out])).toMatchObject({ code: 0, stderr: '' });
    expect(imagesOf(out)).toEqual(imagesOf(dump));
  });

  test('passes a page stream', async () => {
    const { dump, out } = await versionOne();
    const stream = join(tempDir(), 'stream');
    writeFileSync(stream, '');
    expect(await cli(['read', dump], { stdout: stream })).toMatchObject({ code: 0, stderr: '' });
    expect(await cli(['write', out], { stdin: stream })).toMatchObject({ code: 0 });
    expect(imagesOf(out)).toEqual(imagesOf(dump));
  });

  test('stays one without its lazy pages, and comes back whole', async () => {
    const { dump, out } = await versionOne();
    const [hot, cold] = [`${out}-hot`, `${out}-cold`];
    expect(await cli(['split', dump, hot, cold])).toMatchObject({ code: 0 });
    expect(readFileSync(join(hot, 'pagemap-15.img')).subarray(0, 4)).toEqual(Buffer.of(0x25, 0x40, 0x08, 0x56));
    expect(findingsOf(hot).filter(({ severity }) => severity === 'error')).toEqual([]);
    expect(await cli(['merge', hot, cold, out])).toMatchObject({ code: 0 });
    expect(imagesOf(out)).toEqual(imagesOf(dump));
  });
});
