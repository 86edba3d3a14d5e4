/** What `--json` prints fits the schema in the package. */
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { cli, type InProcessOptions } from './helpers/cli.js';
import { writeDump } from './helpers/dump-writer.js';
import { DEFINITIONS, expectFits, jsonLines as lines, validatorOf } from './helpers/json-schema.js';
import { copyFixture, describeTree, fixture, tempDir } from './helpers/temp.js';

async function run(words: readonly string[], options: InProcessOptions = {}, code = 0) {
  const outcome = await cli([...words, '--json'], options);
  expect(outcome.code, outcome.stderr).toBe(code);
  return outcome;
}

const FAMILY = fixture('family-criu-4.2.1');

describe('the schema of --json', () => {
  it('has no field without a definition', () => {
    expect(DEFINITIONS.length).toBeGreaterThan(20);
    for (const name of DEFINITIONS) validatorOf(name);
  });

  it.each(['ps', 'fds', 'mems', 'rss'])('fits x %s', async (topic) => {
    const stdout = join(tempDir(), 'stdout');
    for (const dump of [FAMILY, fixture('zdtm/h-unix-fd-nested')].slice(0, 1)) {
      await run(['x', dump, topic], { stdout });
      const list = JSON.parse(readFileSync(stdout, 'utf8')) as unknown[];
      expect(list.length).toBeGreaterThan(0);
      expectFits(`x ${topic}`, list);
    }
  });

  it('fits make-lazy, also of an archive and without writing', async () => {
    const at = (name: string) => join(tempDir(), name);
    await cli(['copy', FAMILY, at('dump.tar')]);
    const dir = tempDir();
    await cli(['copy', FAMILY, join(dir, 'dump.tar')]);
    for (const words of [
      [FAMILY, join(dir, 'out')],
      [join(dir, 'dump.tar'), join(dir, 'out.tar.gz')],
      [FAMILY, join(dir, 'none'), '--dry-run'],
    ]) {
      expectFits('make-lazy', JSON.parse((await run(['make-lazy', ...words])).stdout));
    }
  });

  it('fits copy, write, split and merge', async () => {
    const dir = tempDir();
    const at = (name: string) => join(dir, name);
    const copied = JSON.parse((await run(['copy', FAMILY, at('copy.tar.zst')])).stdout);
    expectFits('copy', copied);
    expect(copied).toMatchObject({ dump: FAMILY, kind: 'tar', compression: 'zstd', dryRun: false, lazyPages: 0 });
    await cli(['read', FAMILY], { stdout: at('stream') });
    const written = JSON.parse((await run(['write', at('written')], { stdin: at('stream') })).stdout);
    expectFits('write', written);
    expect(written.bytes).toBe(copied.bytes);
    const split = JSON.parse((await run(['split', FAMILY, at('hot'), at('cold.tar')])).stdout);
    expectFits('split', split);
    expect(split.hot).toMatchObject({ kind: 'directory', lazyPages: 518 });
    const merged = JSON.parse((await run(['merge', at('hot'), at('cold.tar'), at('merged')])).stdout);
    expectFits('merge', merged);
    expect(merged.bytes).toBe(copied.bytes);
  });

  it('has the result on stderr where stdout has the dump', async () => {
    const dir = tempDir();
    const { stdout, stderr } = await run(['copy', FAMILY, '-', '--to', 'tar'], { stdout: join(dir, 'out.tar') });
    expect(stdout).toBe('');
    expectFits('copy', JSON.parse(stderr));
    expect((await cli(['verify', join(dir, 'out.tar')])).code).toBe(0);
  });

  it('fits edit', async () => {
    const path = join(copyFixture('mosaic-criu-4.2.1', tempDir()), 'core-15.img');
    const before = readFileSync(path);
    const words = ['edit', path, '--set', 'entries[0].tc.comm=other'];
    const dry = JSON.parse((await run([...words, '--dry-run'])).stdout);
    expect(readFileSync(path)).toEqual(before);
    const edited = JSON.parse((await run(words)).stdout);
    for (const report of [dry, edited]) expectFits('edit', report);
    expect(edited).toEqual({ image: path, out: path, type: 'CORE', changedEntries: 1, dryRun: false });
    expect(readFileSync(path)).not.toEqual(before);
    expectFits('info', JSON.parse((await cli(['info', path])).stdout));
  });

  it('fits decode and encode, on stderr where stdout has the result', async () => {
    const dir = tempDir();
    const at = (name: string) => join(dir, name);
    const decoded = JSON.parse((await run(['decode', FAMILY, 'core-15.img', '-o', at('json')])).stdout);
    expect(decoded).toEqual({ in: FAMILY, image: 'core-15.img', out: at('json'), type: 'CORE' });
    const encoded = JSON.parse((await run(['encode', at('json'), '-o', at('image')])).stdout);
    expect(encoded).toEqual({ in: at('json'), out: at('image'), type: 'CORE' });
    expect(readFileSync(at('image'))).toEqual(readFileSync(join(FAMILY, 'core-15.img')));
    const piped = JSON.parse((await run(['decode'], { stdin: at('image'), stdout: at('again') })).stderr);
    expect(piped).toEqual({ in: '-', out: '-', type: 'CORE' });
    for (const report of [decoded, piped]) expectFits('decode', report);
    expectFits('encode', encoded);
  });

  it('fits read and the stages: how many pages went in and came out', async () => {
    const dir = tempDir();
    const at = (name: string) => join(dir, name);
    const read = JSON.parse((await run(['read', FAMILY], { stdout: at('0') })).stderr);
    expectFits('read', read);
    expect(read).toMatchObject({ dump: FAMILY, pages: 569 });
    const stages = [['classify'], ['filter', '--drop', 'lazy'], ['rebuild']];
    const amounts: number[][] = [];
    for (const [i, words] of stages.entries()) {
      const { stderr } = await run(words, { stdin: at(`${i}`), stdout: at(`${i + 1}`) });
      const report = JSON.parse(stderr);
      expectFits('stages', report);
      expect(report.stages).toEqual([words[0]]);
      amounts.push([report.pagesBefore, report.pagesAfter]);
    }
    expect(amounts).toEqual([
      [569, 569],
      [569, 51],
      [51, 51],
    ]);
    const pipeline = 'classify | filter --drop lazy | rebuild';
    const all = JSON.parse((await run(['run', pipeline], { stdin: at('0'), stdout: at('all') })).stderr);
    expect(all).toMatchObject({ stages: ['classify', 'filter', 'rebuild'], pagesBefore: 569, pagesAfter: 51 });
    expect(readFileSync(at('all'))).toEqual(readFileSync(at('3')));
    expect((await cli(['run', 'classify --json'], { stdin: at('0') })).code).toBe(2);
  });

  it('fits verify: findings, and a summary at the end', async () => {
    const dir = tempDir();
    const stdout = join(dir, 'stdout');
    const dump = copyFixture('mosaic-criu-4.2.1', dir);
    await run(['verify', dump], { stdout });
    expect(lines(readFileSync(stdout, 'utf8')).at(-1)).toMatchObject({ event: 'summary', errors: 0, complete: true });
    writeFileSync(join(dump, 'pages-2.img'), '');
    const { stderr } = await run(['verify', dump], { stdout }, 1);
    const found = lines(readFileSync(stdout, 'utf8'));
    for (const line of found) expectFits('verify', line);
    expect(found.at(-1)).toMatchObject({ event: 'summary', errors: found.length - 1 });
    for (const line of lines(stderr)) expectFits('message', line);
    writeFileSync(join(dir, 'cut.tar.gz'), Buffer.from([0x1f, 0x8b, 8, 0]));
    await run(['verify', join(dir, 'cut.tar.gz')], { stdout }, 1);
    for (const line of lines(readFileSync(stdout, 'utf8'))) expectFits('verify', line);
  });

  it('fits errors and warnings: code, file, offset', async () => {
    const dir = tempDir();
    const dump = copyFixture('mosaic-criu-4.2.1', dir);
    writeFileSync(join(dump, 'inventory.img'), 'nonsense');
    const damaged = await run(['make-lazy', dump, join(dir, 'out')], {}, 1);
    expectFits('message', JSON.parse(damaged.stderr));
    expect(JSON.parse(damaged.stderr)).toMatchObject({
      severity: 'error',
      code: 'WRONG_MAGIC',
      file: 'inventory.img',
      offset: 0,
    });
    const usage = await run(['copy', dump], {}, 2);
    expect(JSON.parse(usage.stderr)).toEqual({
      severity: 'error',
      code: 'USAGE',
      message: 'expected OUT, found nothing',
      hint: 'pagepipe copy --help',
    });
    writeDump(join(dir, 'parented'), { tasks: [{ pid: 7 }] });
    for (const line of lines((await run(['make-lazy', fixture('chain/mprotect00/3'), join(dir, 'far')])).stderr)) {
      expectFits('message', line);
      expect(line).toMatchObject({ severity: 'warning' });
    }
    expect(describeTree(dir).some((line) => line.startsWith('out'))).toBe(false);
  });
});

describe('--dry-run', () => {
  it.each([
    [
      'make-lazy',
      (dir: string) => ['make-lazy', FAMILY, join(dir, 'out')],
      ['size              2.24 MiB before, 217 KiB after (dry run: nothing was written)'],
    ],
    ['copy', (dir: string) => ['copy', FAMILY, join(dir, 'out')], ['pagepipe: out: 2.24 MiB would be written']],
    [
      'copy of an archive',
      (dir: string) => ['copy', join(dir, 'dump.tar'), join(dir, 'out')],
      ['pagepipe: out: 2.24 MiB would be written'],
    ],
    [
      'split',
      (dir: string) => ['split', FAMILY, join(dir, 'out'), join(dir, 'cold')],
      ['pagepipe: out: 217 KiB would be written', 'pagepipe: cold: 2.04 MiB would be written'],
    ],
    [
      'split to a stream',
      (dir: string) => ['split', FAMILY, join(dir, 'out'), '--cold', '-'],
      ['pagepipe: out: 217 KiB would be written', 'pagepipe: -: 2.04 MiB would be written'],
    ],
    [
      'merge',
      (dir: string) => ['merge', join(dir, 'hot'), join(dir, 'cold0'), join(dir, 'out')],
      ['pagepipe: out: 2.24 MiB would be written'],
    ],
    ['write', (dir: string) => ['write', join(dir, 'out')], ['pagepipe write: out: 2.24 MiB would be written']],
  ])('writes nothing, and says how much it would be: %s', async (_, words, said) => {
    const dir = tempDir();
    await cli(['copy', FAMILY, join(dir, 'dump.tar')]);
    await cli(['split', FAMILY, join(dir, 'hot'), join(dir, 'cold0')]);
    await cli(['read', FAMILY], { stdout: join(dir, 'stream') });
    const before = describeTree(dir);
    const options = { stdin: join(dir, 'stream'), stdout: join(dir, 'stdout') };
    const dry = await cli([...words(dir), '--dry-run'], options);
    expect(dry.code, dry.stderr).toBe(0);
    const lines = dry.stderr.replaceAll(`${dir}/`, '').split('\n');
    expect(lines.filter((line) => line.includes('written'))).toEqual(said);
    expect(readFileSync(join(dir, 'stdout'))).toHaveLength(0);
    expect(describeTree(dir).filter((line) => !line.startsWith('stdout'))).toEqual(before);
  });
});

describe('--quiet', () => {
  it('leaves warnings and errors', async () => {
    const dir = tempDir();
    expect(await cli(['make-lazy', FAMILY, join(dir, 'out'), '-q'])).toEqual({ code: 0, stdout: '', stderr: '' });
    const stdout = join(dir, 'stdout');
    expect((await cli(['verify', FAMILY, '--quiet'], { stdout })).stderr).toBe('');
    const { stderr } = await cli(['copy', join(dir, 'out'), join(dir, 'copy'), '-q']);
    expect(stderr).toBe(
      `pagepipe: warning: ${join(dir, 'copy')}: never restore this directory without --lazy-pages: its lazy pages are not in it, ` +
        'and CRIU would spin forever, or restore a process that computes on zeros\n',
    );
  });
});
