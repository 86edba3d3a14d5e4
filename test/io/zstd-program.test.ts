/** The zstd program where it is needed, and is not there or ends early. */
import { execFileSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { chmodSync, closeSync, openSync, readdirSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import * as zlib from 'node:zlib';
import { describe, expect, it } from 'vitest';
import { openOutput } from '../../src/io/byte-output.js';
import { unzstdFile } from '../../src/io/zstd-program.js';
import { tar } from '../helpers/archives.js';
import { pagepipe } from '../helpers/cli.js';
import { fixture, tempDir } from '../helpers/temp.js';

/** Node has a zstd of its own since 22.15. */
const NEEDED = !('createZstdCompress' in zlib);

/** Runs a command line where the program is something else: a script, or nothing. */
function withZstd(script: string | undefined) {
  const path = tempDir();
  for (const program of ['sh', 'head']) symlinkSync(`/bin/${program}`, join(path, program));
  if (script !== undefined) {
    writeFileSync(join(path, 'zstd'), `#!/bin/sh\n${script}\n`);
    chmodSync(join(path, 'zstd'), 0o755);
  }
  return (words: string[], input?: Uint8Array) =>
    pagepipe(words, { env: { ...process.env, PATH: path }, ...(input ? { input } : {}) });
}

describe.runIf(NEEDED)('the zstd program', () => {
  const dump = fixture('mosaic-criu-4.2.1');
  const MISSING =
    /^pagepipe: error: the zstd program cannot be run\npagepipe: hint: install it, or use Node\.js 24 or later, which does not need it\n$/;

  it('is asked for where there is none', async () => {
    const dir = tempDir();
    const archive = tar(dump, '-c', '--zstd', '.');
    writeFileSync(join(dir, 'dump.tar.zst'), archive);
    const run = withZstd(undefined);
    const runs = [
      await run(['copy', dump, join(dir, 'out'), '--to', 'tar', '--compress', 'zstd']),
      await run(['copy', join(dir, 'dump.tar.zst'), join(dir, 'out')]),
      await run(['copy', '-', join(dir, 'out')], archive),
    ];
    for (const { code, stderr } of runs) expect([code, stderr]).toEqual([1, expect.stringMatching(MISSING)]);
    expect(readdirSync(dir)).toEqual(['dump.tar.zst']);
  });

  it.each(['exit 1', 'head -c 70000 >/dev/null; kill -9 $$', 'head -c 70000'])(
    'that ends early is a failure, and no reader that has seen enough: %s',
    async (script) => {
      const dir = tempDir();
      const words = ['copy', dump, join(dir, 'out'), '--to', 'tar', '--compress', 'zstd'];
      const { code, stderr } = await withZstd(script)(words);
      expect([code, stderr]).toEqual([1, expect.stringMatching(/^pagepipe: error: the compressor exited early: /)]);
      expect(readdirSync(dir)).toEqual([]);
    },
  );

  it('writes a file itself, and takes what the kernel moves in its place among the bytes', async () => {
    const dir = tempDir();
    const content = randomBytes(400_000);
    writeFileSync(join(dir, 'content'), content);
    const fd = openSync(join(dir, 'content'), 'r');
    const output = openOutput(join(dir, 'out'), 'zstd');
    output.write(content.subarray(0, 100));
    const moved = output.copyFrom?.({ fd, offset: 50 }, 50, 300_000) ?? 0;
    output.write(content.subarray(100 + moved));
    await output.commit();
    closeSync(fd);
    expect(execFileSync('zstd', ['-dcq', join(dir, 'out')]).equals(content)).toBe(true);
  });

  it('leaves no file, and does not go on, when the output is discarded', async () => {
    const dir = tempDir();
    const output = openOutput(join(dir, 'out'), 'zstd');
    output.write(randomBytes(100_000));
    await output.discard();
    expect(readdirSync(dir)).toEqual([]);
  });

  it('gives a large file the same through plain reads', async () => {
    const dir = tempDir();
    const content = randomBytes(5_000_000);
    writeFileSync(join(dir, 'content'), content);
    execFileSync('zstd', ['-q', join(dir, 'content')]);
    const fd = openSync(join(dir, 'content.zst'), 'r');
    const parts: Uint8Array[] = [];
    for await (const bytes of unzstdFile('in', fd)) parts.push(bytes.slice());
    closeSync(fd);
    expect(Buffer.concat(parts).equals(content)).toBe(true);
  });
});
