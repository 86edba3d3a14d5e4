/** `verify` of what is no directory: the same findings, one for what cannot be read to its end, and nothing left behind. */
import { execFileSync } from 'node:child_process';
import { appendFileSync, closeSync, mkdirSync, openSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { type Finding, formatFinding } from '../../src/verify/findings.js';
import { verify } from '../../src/verify/verify.js';
import { archiveOf, END, forms, member, shardsOf, tar } from '../helpers/archives.js';
import { cli, type InProcessOptions, type Outcome } from '../helpers/cli.js';
import { sourceFiles } from '../helpers/dump-files.js';
import { fixture, openFiles, tempDir } from '../helpers/temp.js';
import { copyOf, copyOfChain } from './harness.js';

const MOSAIC = fixture('mosaic-criu-4.2.1');

/** Runs the command; findings are lines, or with --json objects. */
async function run(
  words: string[],
  options: InProcessOptions = {},
): Promise<Outcome & { lines: string[]; summary: { event: string } | undefined }> {
  const stdout = join(tempDir(), 'stdout');
  const outcome = await cli(['verify', ...words], { ...options, stdout });
  const lines = readFileSync(stdout, 'utf8').split('\n');
  expect(lines.pop()).toBe('');
  const summary = words.includes('--json') ? (JSON.parse(lines.pop() ?? '') as { event: string }) : undefined;
  if (summary) expect(summary.event).toBe('summary');
  return { ...outcome, lines, summary };
}

/** The page stream of a dump. */
async function streamOf(dump: string, dir: string): Promise<string> {
  const stream = join(dir, 'stream');
  const { code, stderr } = await cli(['read', dump, '--incomplete'], { stdout: stream });
  expect(code, stderr).toBe(0);
  return stream;
}

/** What is found without `parent`: an archive has no other dump beside it. */
const others = (lines: readonly string[]): string[] => lines.filter((line) => !line.includes('NO_PARENT'));

describe('the same is found as in the directory', () => {
  const damaged = () =>
    copyOf('mosaic-criu-4.2.1').resize('core-15.img', -3).write('pages-9.img', 'x').write('fdinfo-2.img', '').path;
  test.each([
    ...['family-criu-4.2.1', 'chain/mprotect00/3'].map((name) => [name, (): string => fixture(name)] as const),
    ['a damaged dump', damaged] as const,
  ])('%s', async (_, make) => {
    const dump = make();
    const dir = tempDir();
    const expected = await run([dump, '--json']);
    const places = forms(dump, dir);
    if (expected.code === 0) places['stream'] = [await streamOf(dump, dir)];
    for (const [place, words] of Object.entries(places)) {
      const found = await run([...words, '--json']);
      expect([place, ...others(found.lines)]).toEqual([place, ...expected.lines]);
      if (others(found.lines).length === found.lines.length) expect(found.code).toBe(expected.code);
    }
    const fd = openSync((places['zstd'] as string[])[0] as string, 'r');
    const fromStdin = await run(['-', '--json'], { stdinFd: fd });
    closeSync(fd);
    expect(others(fromStdin.lines)).toEqual(expected.lines);
    expect(openFiles(dir)).toEqual([]);
  });

  test('with shards by their descriptors, and whatever fits into memory', async () => {
    const dir = tempDir();
    const { path } = copyOf('mosaic-criu-4.2.1').write('pages-9.img', '');
    const fds = shardsOf(path, dir, 3).map((file) => openSync(file, 'r'));
    const { code, stderr, lines } = await run(['-', '--shard-fds', fds.join(','), '--buffer', '0', '--spill-dir', dir]);
    for (const fd of fds) closeSync(fd);
    expect(lines).toEqual(['pages-9.img: warning: expected a pagemap with pages_id 9, found none']);
    expect([code, stderr]).toEqual([0, 'pagepipe: shards: no errors, 1 warning in 19 files\n']);
    expect(readdirSync(dir).filter((name) => name.includes('spill'))).toEqual([]);
    expect(openFiles(dir)).toEqual([]);
  });

  test('with the page size that a stream says', async () => {
    const stream = await streamOf(MOSAIC, tempDir());
    expect((await run([stream])).code).toBe(0);
    const other = await run([stream, '--page-size', '8192']);
    expect(other.lines).toEqual([
      'mm-15.img@0xc entry 0: expected an mm_entry, found something else: an area that is not aligned to 8192 bytes, at 0x401000',
      'pagemap-15.img@0x12 entry 0: expected an address aligned to 8192 bytes, found 0x401000',
      'pagemap-shmem-1181.img entry 0: expected pages inside the 65536 bytes that memfd.img says, found an end at 0x20000',
      'pages-1.img@0x10000: expected 131072 bytes of pages by pagemap-shmem-1181.img, found 65536: pages are missing from entry 0 on',
    ]);
  });
});

describe('pages in a parent that is not there', () => {
  test('are one error, in every form', async () => {
    const { last } = copyOfChain('mprotect00');
    const dir = tempDir();
    const archives = ['--format=ustar', '--gzip'].map((form) => archiveOf(last.path, join(dir, form), form));
    for (const path of [...archives, await streamOf(last.path, dir)]) {
      const { code, lines, stderr } = await run([path]);
      expect(lines).toEqual([
        'parent: expected the parent dump, which has pages of this one, found only a link to ../2: it is neither in an archive nor in a stream',
      ]);
      expect([code, stderr]).toEqual([1, `pagepipe: error: ${path}: 1 error, 0 warnings in 16 files\n`]);
    }
  });

  test('are no error where no page is behind the link', async () => {
    const { path } = copyOf('mosaic-criu-4.2.1');
    execFileSync('ln', ['-s', '../before', join(path, 'parent')]);
    expect((await run([archiveOf(path, join(tempDir(), 'tar'))])).code).toBe(0);
  });

  test('are looked for by a link, and by nothing else', async () => {
    const { path } = copyOf('mosaic-criu-4.2.1').write('parent', '');
    const archive = archiveOf(path, join(tempDir(), 'tar'));
    expect((await run([archive])).lines).toEqual(['parent: expected a link to the parent dump, found something else']);
  });
});

describe('what cannot be read to its end is one finding', () => {
  /** One line of JSON, one on stderr; no file is left open, none is made. */
  async function expectFinding(
    words: string[],
    code: string,
    message: string | RegExp,
    options: InProcessOptions = {},
  ) {
    const dir = tempDir();
    const outcome = await run([...words, '--json', '--spill-dir', dir], options);
    const findings = outcome.lines.map((line) => JSON.parse(line) as Finding);
    expect(findings).toEqual([
      expect.objectContaining({
        code,
        severity: 'error',
        message: typeof message === 'string' ? message : expect.stringMatching(message),
      }),
    ]);
    expect(outcome.summary).toEqual({ event: 'summary', errors: 1, warnings: 0, files: 0, complete: false });
    expect(JSON.parse(outcome.stderr)).toMatchObject({
      code: 'DAMAGED',
      message: 'not checked, since it cannot be read to its end',
    });
    expect(outcome.code).toBe(1);
    expect(readdirSync(dir)).toEqual([]);
    expect((await run(words, options)).lines).toEqual(findings.map(formatFinding));
    return { finding: findings[0] as Finding, stderr: outcome.stderr };
  }

  test('archives that are cut off', async () => {
    const dir = tempDir();
    for (const [form, code, least] of [
      ['--format=ustar', 'TRUNCATED', 5000],
      ['--gzip', 'MALFORMED', -3],
      ['--zstd', 'MALFORMED', -3],
    ] as const) {
      const path = archiveOf(MOSAIC, join(dir, form), form);
      const whole = readFileSync(path);
      for (const end of [whole.length >> 1, least]) {
        writeFileSync(path, whole.subarray(0, end));
        const { finding } = await expectFinding(
          [path],
          code,
          /^(expected \d+ more bytes of a (file|header), found the end of the archive|the gzip data is cut off or damaged after \d+ plain bytes: unexpected end of file|the zstd data is cut off or damaged after \d+ plain bytes: zstd ended with exit code 1)$/,
        );
        expect(finding.file).toBe(path);
      }
    }
    expect(openFiles(dir)).toEqual([]);
  });

  test('archives with a wrong checksum, a name twice, and bytes in disorder', async () => {
    const dir = tempDir();
    const path = join(dir, 'in');
    const pstree = member('pstree.img', readFileSync(join(MOSAIC, 'pstree.img')));
    const damaged = member('mm-15.img', readFileSync(join(MOSAIC, 'mm-15.img')));
    damaged[110] = 0x39;
    writeFileSync(path, Buffer.concat([pstree, damaged, END]));
    await expectFinding([path], 'MALFORMED', 'expected a header with its checksum, found something else');
    writeFileSync(path, Buffer.concat([pstree, pstree, END]));
    expect((await expectFinding([path], 'BAD_NAME', 'the name occurs twice')).finding.file).toBe('pstree.img');
    const gzip = tar(fixture(''), '-cz', 'mosaic-criu-4.2.1');
    gzip[gzip.length - 6] = (gzip[gzip.length - 6] as number) ^ 0x55;
    writeFileSync(path, gzip);
    await expectFinding(
      [path],
      'MALFORMED',
      /^the gzip data is cut off or damaged after \d+ plain bytes: incorrect data check$/,
    );
  });

  test('a shard that is missing, and one that is cut off', async () => {
    const dir = tempDir();
    const [first, ...rest] = shardsOf(MOSAIC, dir, 3) as [string, ...string[]];
    await expectFinding(
      [rest.join(','), '--from', 'shards'],
      'TRUNCATED',
      /^marker \d+ is in no shard: one is cut off or missing$/,
    );
    writeFileSync(first, readFileSync(first).subarray(0, -10));
    const shards = [first, ...rest].join(',');
    await expectFinding(
      [shards, '--from', 'shards'],
      'TRUNCATED',
      'expected 10 more bytes of pages-2.img, found the end of the shard',
    );
    expect(openFiles(dir)).toEqual([]);
  });

  test('page streams that are cut off, or have a bit flipped', async () => {
    const dir = tempDir();
    const stream = await streamOf(MOSAIC, dir);
    const whole = readFileSync(stream);
    writeFileSync(stream, whole.subarray(0, whole.length >> 1));
    await expectFinding(
      [stream],
      'STREAM_DAMAGED',
      /^expected \d+ more bytes of payload, found the end of the input: the stream was cut$/,
    );
    for (const [at, file] of [
      [whole.length >> 1, 'pages-2.img'],
      [whole.length - 20_000, 'pages-1.img'],
    ] as const) {
      const damaged = Buffer.from(whole);
      damaged[at] = (damaged[at] as number) ^ 1;
      writeFileSync(stream, damaged);
      const { finding } = await expectFinding([stream], 'STREAM_DAMAGED', 'the payload does not match its checksum');
      expect(finding.file).toBe(file);
    }
    writeFileSync(stream, whole.subarray(0, 5000));
    const { finding } = await expectFinding(
      [stream, '--from', 'stream'],
      'STREAM_DAMAGED',
      /^expected \d+ more bytes of payload, found the end of the input: the stream was cut$/,
    );
    expect(finding.offset).toBe(5000);
  });

  test('what holds more than --max-bytes, with a hint', async () => {
    const words = [archiveOf(MOSAIC, join(tempDir(), 'gz'), '--gzip'), '--max-bytes', '100000'];
    const { stderr } = await expectFinding(words, 'LIMIT', 'expected at most 100000 plain bytes, found more');
    expect(JSON.parse(stderr).hint).toBe('--max-bytes allows more');
  });

  test('but what is not there, or is no dump, is none', async () => {
    const dir = tempDir();
    mkdirSync(join(dir, 'folder'));
    writeFileSync(join(dir, 'text'), 'no dump at all\n'.repeat(50));
    writeFileSync(join(dir, 'tar'), Buffer.concat([member('text', Buffer.from('x')), END]));
    for (const [words, error] of [
      [['none'], ': no such file or directory (ENOENT)'],
      [['text'], ': expected a dump directory, tar, shards or a page stream, found none of them'],
      [['text', '--from', 'stream'], '@0x0: expected a page stream (PAGEPIPE), found something else'],
      [['tar'], ': expected a dump, found no image in the archive'],
      [['folder', '--from', 'tar'], ': is a directory (EISDIR)'],
    ] as const) {
      const [name, ...options] = words;
      const { code, lines, stderr } = await run([join(dir, name), ...options]);
      expect([code, lines, stderr.split('\n')[0]]).toEqual([1, [], `pagepipe: error: ${join(dir, name)}${error}`]);
    }
    expect((await run([MOSAIC, '--from', 'pigeon'])).code).toBe(2);
  });
});

test('an archive that changes while it is checked is one more error, and the end', async () => {
  const archive = archiveOf(MOSAIC, join(tempDir(), 'tar'));
  const files = await sourceFiles(archive);
  appendFileSync(archive, 'x');
  const lines: string[] = [];
  const verdict = verify(files, (finding) => lines.push(formatFinding(finding)));
  expect(lines).toEqual([`${archive}: the file has changed since it was opened`]);
  expect(verdict).toEqual({ errors: 1, warnings: 0, files: 18, changed: true });
});
