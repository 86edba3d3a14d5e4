/** What `read` checks of a dump: before the first byte goes out, or before the end does. */
import { readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { archiveOf, shardsOf } from '../helpers/archives.js';
import { BIN, cli, type Outcome, runProcess } from '../helpers/cli.js';
import { PE } from '../helpers/dump-writer.js';
import { makePipe } from '../helpers/pipe.js';
import { RUN_HOLE, RUN_PRESENT, StreamWriter } from '../helpers/stream-writer.js';
import { fixture, openFiles, tempDir } from '../helpers/temp.js';
import { type Copy, copyOf } from '../verify/harness.js';

const HINT = 'pagepipe read: hint: pagepipe verify does all checks; --incomplete reads what can be read\n';

/** Runs `read`, and says how many bytes came, and whether `write` takes them for a dump. */
async function read(...words: string[]): Promise<Outcome & { bytes: number; isDump: boolean }> {
  const dir = tempDir();
  const stream = join(dir, 'stream');
  const outcome = await cli(['read', ...words], { stdout: stream });
  const write = await cli(['write', join(dir, 'out')], { stdin: stream });
  return { ...outcome, bytes: statSync(stream).size, isDump: write.code === 0 };
}

const MOSAIC = fixture('mosaic-criu-4.2.1');
const CORE = readFileSync(join(MOSAIC, 'core-15.img'));

/** Nothing but a restore would miss these. */
const damaged = (): Copy => copyOf('mosaic-criu-4.2.1').remove('ids-15.img', 'fs-15.img').write('core-99.img', CORE);
const FOUND = [
  ['error', 'ids-15.img: expected this image, named by pstree.img, found none'],
  ['error', 'fs-15.img: expected this image, named by pstree.img, found none'],
  ['warning', 'core-99.img: expected a process or thread of this id in pstree.img, found none'],
] as const;
const lines = (force: boolean): string =>
  FOUND.map(([severity, text]) => `pagepipe read: ${force ? 'warning' : severity}: ${text}\n`).join('');

describe('read of what can be looked into', () => {
  it.each([
    ['a directory', (path: string) => path],
    ['a plain archive', (path: string) => archiveOf(path, join(tempDir(), 'tar'))],
  ])('%s: each error is a line, and nothing goes out', async (_, place) => {
    const path = place(damaged().path);
    const refused = await read(path);
    const [first, last, warning] = lines(false).split('\n');
    // The error that ends it comes last.
    expect(refused.stderr).toBe(`${first}\n${warning}\n${last}\n${HINT}`);
    expect([refused.code, refused.stdout, refused.bytes]).toEqual([1, '', 0]);
    const forced = await read(path, '--incomplete');
    expect(forced).toMatchObject({ code: 0, stderr: lines(true), isDump: true });
    expect(openFiles(path)).toEqual([]);
  });

  it.each([
    [
      'pages-2.img',
      'pages-2.img@0xbafff: expected 765952 bytes of pages by pagemap-15.img, found 765951: pages are missing from entry 45 on',
      'pages-2.img@0xbafff: expected at least 765952 bytes of pages by entry 45 of pagemap-15.img, found 765951',
    ],
    [
      'pagemap-15.img',
      'pagemap-15.img@0x32a entry 45: expected an entry of 18 bytes with its size, found 17',
      'pagemap-15.img@0x32a entry 45: expected an entry of 18 bytes with its size, found 17',
    ],
  ])('by force goes as far as it can: %s is cut', async (name, warning, error) => {
    const { path } = copyOf('mosaic-criu-4.2.1').resize(name, -1);
    const refused = await read(path);
    expect([refused.code, refused.bytes]).toEqual([1, 0]);
    const forced = await read(path, '--incomplete');
    expect(forced).toMatchObject({ code: 1, isDump: false });
    expect(forced.stderr).toBe(`pagepipe read: warning: ${warning}\npagepipe read: error: ${error}\n`);
  });

  it('warns, and goes on', async () => {
    const { path } = copyOf('mosaic-criu-4.2.1').write('pages-9.img', '');
    const stderr =
      'pagepipe read: warning: pages-9.img: expected a pagemap with pages_id 9, found none\npagepipe read: warning: pages-9.img: left out, no pagemap refers to these pages\n';
    expect(await read(path)).toMatchObject({ code: 0, stderr, isDump: true });
  });
});

describe('read of what can only be read in sequence', () => {
  it.each([
    ['gzip', (path: string) => [archiveOf(path, join(tempDir(), 'gz'), '--gzip')]],
    ['shards', (path: string) => [shardsOf(path, tempDir(), 2).join(','), '--from', 'shards']],
  ])('%s: each error is a line, and the stream has no end', async (_, place) => {
    const words = place(damaged().path);
    const refused = await read(...words);
    expect(refused.stderr.split('\n').sort()).toEqual(`${lines(false)}${HINT}`.split('\n').sort());
    expect(refused).toMatchObject({ code: 1, stdout: '', isDump: false });
    const forced = await read(...words, '--incomplete');
    expect(forced).toMatchObject({ code: 0, stderr: lines(true), isDump: true });
    const budget = ['--buffer', '0', '--spill-dir', tempDir()];
    expect(await read(...words, '--incomplete', ...budget)).toMatchObject({ code: 0, stderr: lines(true) });
  });

  it('a page stream: also its runs are looked at', async () => {
    const stream = join(tempDir(), 'stream');
    const files = ['inventory', 'pstree', 'core-15', 'core-17', 'core-18', 'ids-15', 'fs-15', 'mm-15', 'files'];
    const write = (run: readonly [pageNumber: number, pages: number, bits: number]) => {
      const writer = new StreamWriter().header();
      for (const name of files) writer.file(`${name}.img`, readFileSync(join(MOSAIC, `${name}.img`)));
      writer
        .space(0, 'pagemap-15.img', 1)
        .runs(0, [[16, 1, RUN_PRESENT], run])
        .payload(Buffer.alloc(4096));
      writeFileSync(stream, writer.end());
    };
    write([32, 7, RUN_HOLE]);
    const warned = await read(stream);
    const warning =
      'pagepipe read: warning: pagemap-15.img: 7 pages are not in this dump: it can only be restored lazily, ' +
      'by criu restore --lazy-pages with the full dump or a page server behind it\n';
    expect(warned).toMatchObject({ code: 0, stderr: warning, isDump: true });
    write([32, 7, RUN_PRESENT & ~PE.PRESENT]);
    const stderr = `pagepipe read: error: pagemap-15.img entry 1: expected the flag PARENT, LAZY or PRESENT, found none\n${HINT}`;
    expect(await read(stream)).toMatchObject({ code: 1, stderr, isDump: false });
  });

  it('says nothing of a dump that is whole, and gives its stream unchanged', async () => {
    const dir = tempDir();
    const archive = archiveOf(MOSAIC, join(dir, 'zst'), '--zstd');
    const [first, second] = [join(dir, 'first'), join(dir, 'second')];
    expect(await cli(['read', archive], { stdout: first })).toEqual({ code: 0, stdout: '', stderr: '' });
    expect(await cli(['read', '-'], { stdin: first, stdout: second })).toEqual({ code: 0, stdout: '', stderr: '' });
    expect(Buffer.compare(readFileSync(first), readFileSync(second))).toBe(0);
  });

  it('a buffer may have any size', async () => {
    const archive = archiveOf(MOSAIC, join(tempDir(), 'tar'));
    expect(await read(archive, '--buffer', '1k')).toMatchObject({ code: 0, stderr: '', isDump: true });
    expect(await cli(['read', archive, '--buffer=-1'])).toMatchObject({
      code: 2,
      stderr:
        'pagepipe read: --buffer: expected a size from 0 to 2^53 bytes, found -1048576\n' +
        'pagepipe read: hint: pagepipe read --help\n',
    });
  });

  it('a named pipe is opened once', async () => {
    const dir = tempDir();
    const archive = archiveOf(MOSAIC, join(dir, 'tar'));
    makePipe(join(dir, 'fifo'));
    const script = 'cat "$2" > "$1/fifo" & "$NODE" "$BIN" read "$1/fifo" | "$NODE" "$BIN" write "$1/out"';
    const env = { ...process.env, NODE: process.execPath, BIN };
    const run = await runProcess('timeout', ['60', 'bash', '-o', 'pipefail', '-c', script, 'sh', dir, archive], {
      env,
    });
    expect(run).toMatchObject({ code: 0, stderr: '' });
  });
});
