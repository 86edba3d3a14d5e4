/** `--slice` and `merge-report`: the reports of all slices give the report of a run that was not cut. */
import { cpSync, readFileSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { cli, type Outcome } from '../helpers/cli.js';
import { ANON, writeDump } from '../helpers/dump-writer.js';
import { expectFits, jsonLines } from '../helpers/json-schema.js';
import { fixture, tempDir } from '../helpers/temp.js';

const FAMILY = fixture('family-criu-4.2.1');

/** Runs a command; what it writes to the descriptor goes to a file. */
async function run(words: readonly string[], stdout = join(tempDir(), 'stdout')): Promise<Outcome> {
  const outcome = await cli(words, { stdout });
  return { ...outcome, stdout: outcome.stdout + readFileSync(stdout, 'utf8') };
}

/** The reports of all slices, in files. */
async function slices(words: readonly string[], of: number): Promise<string[]> {
  const root = tempDir();
  const files: string[] = [];
  for (let slice = 1; slice <= of; slice++) {
    const file = join(root, `${slice}`);
    const { code, stdout } = await run([...words, '--json', '--slice', `${slice}/${of}`], file);
    expect(code).toBe(0);
    expectFits('slice', jsonLines(stdout).at(-1));
    files.push(file);
  }
  return files;
}

/** Expects that slices of some numbers give what the whole gives. */
async function expectSame(words: readonly string[], numbers = [1, 2, 5]): Promise<Outcome> {
  const whole = await run([...words, '--json']);
  for (const of of numbers) {
    const files = await slices(words, of);
    expect(await cli(['merge-report', ...files.reverse(), '--json'])).toEqual(whole);
  }
  return whole;
}

describe('search', () => {
  it.each([
    ['text', ['mosaic']],
    ['a regular expression', ['--regex', '[a-z]{4}', '--pid', '15', '--kind', 'stack']],
    ['bytes in shared memory', ['--hex', '00 00 00', '--kind', 'shmem', '--context', '5']],
    ['counts', ['--hex', '7f 45', '--count']],
    ['secrets', ['--secrets']],
    ['nothing', ['there is no such text']],
  ])('finds the same: %s', async (_, words) => {
    const { stdout, code } = await expectSame(['search', FAMILY, ...words]);
    expect(code).toBe(stdout === '' || stdout.includes('"matches":0') ? 1 : 0);
  });

  it('says once which pages were not searched', async () => {
    const lazy = join(tempDir(), 'lazy');
    await cli(['make-lazy', FAMILY, lazy]);
    const { stderr } = await expectSame(['search', lazy, 'mosaic'], [2]);
    expect(JSON.parse(stderr).message).toMatch(/^not searched: \d+ pages that a restore fetches later$/);
  });
});

/** A dump of 5 MiB with sums. */
async function summedDump(): Promise<string> {
  const root = tempDir();
  const pages = 1280;
  const vmas = [{ start: 0x100000n, end: 0x100000n + BigInt(pages) * 4096n, ...ANON }];
  writeDump(join(root, 'plain'), { tasks: [{ pid: 7, vmas, entries: [{ vaddr: 0x100000n, pages }] }] });
  expect((await cli(['copy', join(root, 'plain'), join(root, 'dump'), '--sums'])).code).toBe(0);
  return join(root, 'dump');
}

function damage(file: string, ...positions: number[]): void {
  const bytes = readFileSync(file);
  for (const at of positions) bytes[at] = (bytes[at] as number) ^ 1;
  writeFileSync(file, bytes);
}

describe('verify', () => {
  it('finds the same in a sound dump', async () => {
    expect((await expectSame(['verify', FAMILY], [1, 3])).code).toBe(0);
    const { stdout } = await expectSame(['verify', await summedDump()], [1, 3, 7]);
    expect(stdout).not.toContain('WRONG_SUM');
  });

  it('finds the same wrong blocks, each once and in order', async () => {
    const dump = await summedDump();
    damage(join(dump, 'pages-1.img'), 100, 2 ** 20 + 5, 4 * 2 ** 20);
    damage(join(dump, 'core-7.img'), 50);
    const { code, stdout } = await expectSame(['verify', dump], [1, 2, 5, 8]);
    expect(code).toBe(1);
    const found = jsonLines<{ code: string; file: string }>(stdout).filter(({ code: name }) => name === 'WRONG_SUM');
    expect(found.map(({ file }) => file)).toEqual(['core-7.img', 'pages-1.img', 'pages-1.img', 'pages-1.img']);
    // The pages are divided: no slice has all of them.
    const files = await slices(['verify', dump], 5);
    const own = files.map((file) => readFileSync(file, 'utf8').split('"pages-1.img"').length - 1);
    expect(Math.max(...own)).toBe(1);
    expect(own.reduce((sum, count) => sum + count, 0)).toBe(3);
  });

  it('compares the files of a template', async () => {
    const root = tempDir();
    const out = join(root, 'template');
    await cli(['template', FAMILY, out, '--min-size', '4096']);
    expect((await expectSame(['verify', out, '--content'], [1, 3])).code).toBe(0);
  });

  it('limits the findings of a file as a run does that is not cut', async () => {
    const root = tempDir();
    const finding = (order: number) => ({
      code: 'WRONG_SUM',
      severity: 'error',
      file: 'pages-1.img',
      message: `${order}`,
      order,
    });
    const more = { code: 'MORE', severity: 'error', file: 'pages-1.img', message: 'and 7 more', order: 99 };
    const last = (slice: number, errors: number) => ({
      ...{ event: 'slice', command: 'verify', slice, of: 2, path: 'dump', dump: 'x', asked: 'y' },
      ...{ errors, warnings: 0, files: 4 },
    });
    const lines = [
      [...Array.from({ length: 90 }, (_, i) => finding(i)), more, last(1, 97)],
      [...Array.from({ length: 30 }, (_, i) => finding(100 + i)), last(2, 30)],
    ];
    const files = lines.map((all, i) => {
      const file = join(root, `${i}`);
      writeFileSync(file, all.map((line) => `${JSON.stringify(line)}\n`).join(''));
      return file;
    });
    const { code, stdout } = await cli(['merge-report', ...files]);
    expect(code).toBe(1);
    const found = jsonLines<{ code: string; message: string }>(stdout);
    expect(found).toHaveLength(102);
    expect(found[100]).toEqual({ code: 'MORE', severity: 'error', file: 'pages-1.img', message: 'and 27 more' });
    expect(found[101]).toEqual({ event: 'summary', errors: 127, warnings: 0, files: 4, complete: true });
  });
});

describe('map', () => {
  it.each([[[]], [['--content']]])('draws the same: %j', async (words) => {
    const { code, stdout } = await expectSame(['map', FAMILY, ...words], [1, 3]);
    expect(code).toBe(0);
    expectFits('map', JSON.parse(stdout));
  });

  it('lacks nothing that its report had', async () => {
    const [file] = (await slices(['map', FAMILY], 1)) as [string];
    const lines = readFileSync(file, 'utf8').split('\n');
    writeFileSync(file, lines.toSpliced(5, 1).join('\n'));
    expect((await cli(['merge-report', file])).code).toBe(1);
    expect((await cli(['map', FAMILY, '--json', '--slice', '1/2', '-o', 'map.html'])).code).toBe(2);
  });
});

describe('what is refused', () => {
  it('reports that do not belong together', async () => {
    const words = ['search', FAMILY, 'mosaic'];
    const [a, b, c] = (await slices(words, 3)) as [string, string, string];
    const foreign = join(tempDir(), 'dump');
    cpSync(FAMILY, foreign, { recursive: true });
    writeFileSync(join(foreign, 'note.img'), 'x');
    const [, other] = (await slices(['search', foreign, 'mosaic'], 3)) as [string, string];
    const [, asked] = (await slices(['search', FAMILY, 'mosaik'], 3)) as [string, string];
    const [, cut] = (await slices(words, 2)) as [string, string];
    const [, verified] = (await slices(['verify', FAMILY], 3)) as [string, string];
    for (const [files, error] of [
      [[a, b], 'the report of slice 3 of 3 is missing'],
      [[a, b, c, b], `${b}: it is slice 2, and so is ${b}`],
      [[a, other, c], `${other}: it has another dump than ${a}`],
      [[a, asked, c], `${asked}: it has other options than ${a}`],
      [[a, cut, c], `${cut}: it has another number of slices than ${a}`],
      [[a, verified, c], `${verified}: it has another command than ${a}`],
    ] as const) {
      const { code, stdout, stderr } = await cli(['merge-report', ...files]);
      expect([code, stdout, stderr]).toEqual([1, '', `pagepipe: error: ${error}\n`]);
    }
  });

  it('a report that was cut off, or is none', async () => {
    const [file] = (await slices(['search', FAMILY, 'mosaic'], 1)) as [string];
    const text = readFileSync(file, 'utf8');
    const broken = join(tempDir(), 'broken');
    const write = (bytes: string) => writeFileSync(broken, bytes);
    for (const damaged of [
      '',
      'text\n',
      '{}\n',
      text.slice(0, -1),
      text.slice(0, text.length / 2),
      text.split('\n').slice(1).join('\n'),
    ]) {
      write(damaged);
      const { code, stderr } = await cli(['merge-report', broken]);
      expect([code, stderr]).toEqual([
        1,
        `pagepipe: error: ${broken}: expected the report of a slice, found something else, or a report that was cut off\n`,
      ]);
    }
    truncateSync(broken);
  });

  it('command lines', async () => {
    for (const slice of ['0/3', '4/3', '1', 'x/2', '1/0', '1/99999', '-1/2']) {
      expect((await cli(['verify', FAMILY, '--json', `--slice=${slice}`])).code).toBe(2);
    }
    expect((await cli(['verify', FAMILY, '--slice', '1/2'])).code).toBe(2);
    expect((await cli(['merge-report'])).code).toBe(2);
    const archive = join(tempDir(), 'dump.tar.gz');
    await cli(['copy', FAMILY, archive]);
    const { code, stderr } = await cli(['search', archive, 'x', '--json', '--slice', '1/2']);
    expect([code, JSON.parse(stderr).code]).toEqual([1, 'UNSUPPORTED']);
  });

  it('but not another container, if it is read at random', async () => {
    const archive = join(tempDir(), 'dump.tar');
    await cli(['copy', FAMILY, archive]);
    const [a] = (await slices(['search', FAMILY, 'mosaic'], 2)) as [string];
    const [, b] = (await slices(['search', archive, 'mosaic'], 2)) as [string, string];
    expect((await cli(['merge-report', a, b])).stdout).toBe((await run(['search', FAMILY, 'mosaic', '--json'])).stdout);
  });
});
