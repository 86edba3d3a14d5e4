/** Pages that a filter takes out and that nothing can fetch: the dump is marked, and what would restore it refuses it. */
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { PARTIAL } from '../../src/dump/names.js';
import { archiveOf } from '../helpers/archives.js';
import { BIN, cli } from '../helpers/cli.js';
import { describeTree, fixture, tempDir } from '../helpers/temp.js';

const FAMILY = fixture('family-criu-4.2.1');
const NEVER =
  'never restore this dump: pages were taken out of it that nothing can fetch, and its processes would compute on zeros; pagepipe-partial.json says which';
const REFUSED = `pagepipe: error: ${PARTIAL}: pages were taken out of this dump that no lazy restore can fetch
pagepipe: hint: --incomplete accepts such a dump
`;
const ACCEPTED = 'pagepipe: warning: pages were taken out of this dump that no lazy restore can fetch\n';

/** Reads a dump through stages into `out`; returns what they print, without their names. */
async function through(dump: string, out: string, ...stages: string[]): Promise<string> {
  const dir = tempDir();
  let [stderr, from] = ['', join(dir, 'stream')];
  await cli(['read', dump, '--incomplete'], { stdout: from });
  for (const [i, stage] of stages.entries()) {
    const to = join(dir, `${i}`);
    stderr += (await cli(['run', stage], { stdin: from, stdout: to })).stderr;
    from = to;
  }
  stderr += (await cli(['write', out], { stdin: from })).stderr;
  return stderr.replace(/^pagepipe (run|write): /gm, 'pagepipe: ');
}

/** A dump without its locked pages. */
async function partialDump(): Promise<string> {
  const out = join(tempDir(), 'partial');
  await through(FAMILY, out, 'classify | filter --drop all --kind locked | rebuild');
  return out;
}

/** A script in place of ssh, with a home directory at the far side. */
function rshTo(home: string): string {
  const rsh = join(tempDir(), 'rsh');
  const words = `shift; set -- $*; shift; exec ${process.execPath} ${BIN} "$@" 2>/dev/null`;
  writeFileSync(rsh, `#!/bin/sh\ncd ${home}; ${words}\n`, { mode: 0o755 });
  return rsh;
}

const markOf = (dump: string): unknown => JSON.parse(readFileSync(join(dump, PARTIAL), 'utf8'));
const LOCKED = { pagemap: 'pagemap-15.img', pages: 8, kinds: { locked: 8 } };
const VDSO = [15, 19, 20].map((pid) => ({ pagemap: `pagemap-${pid}.img`, pages: 2, kinds: { vdso: 2 } }));

describe('a filter that takes out pages that nothing can fetch', () => {
  it.each([
    ['classify | filter --drop all --kind locked | rebuild', '8 pages were taken out', ': 8 locked', [LOCKED]],
    // Without rebuild, what writes the dump rebuilds it.
    ['classify | filter --drop eager --kind vdso', '6 pages were taken out', ': 6 vdso', VDSO],
    ['filter --drop all | rebuild', '51 pages were taken out', ': 51 unknown', undefined],
  ])('warns and marks the dump: %s', async (stages, count, kinds, spaces) => {
    const out = join(tempDir(), 'out');
    const stderr = await through(FAMILY, out, stages);
    expect(stderr).toBe(
      `pagepipe: warning: ${count} that no lazy restore can fetch${kinds}\npagepipe: warning: ${out}: ${NEVER}\n`,
    );
    if (spaces) expect(markOf(out)).toEqual({ version: 1, spaces });
  });

  it.each([
    'classify | filter --drop lazy | rebuild',
    'classify | filter --drop lazy --kind heap | rebuild',
    'rebuild',
  ])('says nothing where all pages can be fetched: %s', async (stages) => {
    const out = join(tempDir(), 'out');
    expect(await through(FAMILY, out, stages)).not.toContain('taken out');
    expect(describeTree(out).filter((line) => line.includes(PARTIAL))).toEqual([]);
  });

  it('adds to a mark that comes in, from a dump and from the filter before it', async () => {
    const [dump, out] = [await partialDump(), join(tempDir(), 'out')];
    await through(dump, out, 'classify | filter --drop eager --kind vdso', 'filter --drop all --pid 20');
    expect(markOf(out)).toEqual({
      version: 1,
      spaces: [
        { pagemap: 'pagemap-15.img', pages: 10, kinds: { vdso: 2, locked: 8 } },
        VDSO[1],
        { pagemap: 'pagemap-20.img', pages: 9, kinds: { 'file-private': 7, vdso: 2 } },
      ],
    });
  });

  it('passes on a mark that comes in, byte for byte', async () => {
    const [dump, out] = [await partialDump(), join(tempDir(), 'out')];
    writeFileSync(join(dump, PARTIAL), 'none of ours');
    await through(dump, out, 'classify | filter --keep all');
    expect(readFileSync(join(out, PARTIAL), 'utf8')).toBe('none of ours');
  });

  it.each([
    ['none of ours', 'not a list of pages that were taken out: it is no JSON'],
    ['{"version":2}', 'expected version 1, found 2'],
    [
      '{"version":1,"spaces":[{"pagemap":"x","kinds":{}}]}',
      'not a list of pages that were taken out: a space has no pagemap',
    ],
    [
      '{"version":1,"spaces":[{"pagemap":"pagemap-1.img","kinds":{"heap":-1}}]}',
      'not a list of pages that were taken out: a number of pages is no whole number',
    ],
  ])('refuses to add to a mark that it cannot read: %s', async (text, message) => {
    const [dump, dir] = [await partialDump(), tempDir()];
    writeFileSync(join(dump, PARTIAL), text);
    const stream = join(dir, 'stream');
    await cli(['read', dump, '--incomplete'], { stdout: stream });
    const { code, stderr } = await cli(['run', 'filter --drop all'], { stdin: stream, stdout: join(dir, 'out') });
    expect(code).toBe(1);
    expect(stderr.split('\n').at(-2)).toBe(`pagepipe run: error: ${PARTIAL}: ${message}`);
  });
});

describe('a partial dump', () => {
  it.each([
    ['make-lazy', (dump: string) => ['make-lazy', dump, join(tempDir(), 'out')]],
    [
      'make-lazy of an archive',
      (dump: string) => ['make-lazy', archiveOf(dump, `${dump}.tar`), join(tempDir(), 'out')],
    ],
    ['split', (dump: string) => ['split', dump, join(tempDir(), 'hot'), join(tempDir(), 'cold')]],
    ['serve', (dump: string) => ['serve', dump, '--listen', '127.0.0.1:0']],
    ['send', (dump: string) => ['send', dump, 'far:out', '--rsh', rshTo(tempDir())]],
  ])('is refused without --incomplete: %s', async (_, words) => {
    const dump = await partialDump();
    expect(await cli(words(dump))).toEqual({ code: 1, stdout: '', stderr: REFUSED });
  });

  it.each([
    ['make-lazy', (dump: string, out: string) => ['make-lazy', dump, out]],
    ['split', (dump: string, out: string) => ['split', dump, out, `${out}-cold`]],
  ])('is taken with --incomplete, and what is made of it is partial, too: %s', async (_, words) => {
    const [dump, out] = [await partialDump(), join(tempDir(), 'out')];
    const { code, stderr } = await cli([...words(dump, out), '--incomplete']);
    expect([code, stderr.startsWith(ACCEPTED)]).toEqual([0, true]);
    expect(markOf(out)).toEqual({ version: 1, spaces: [LOCKED] });
  });

  it('is sent with --incomplete, and is partial at the far side, too', async () => {
    const [dump, home] = [await partialDump(), tempDir()];
    const { code, stderr } = await cli(['send', dump, 'far:out', '--rsh', rshTo(home), '--incomplete']);
    expect([code, stderr.startsWith(ACCEPTED)]).toEqual([0, true]);
    expect(describeTree(join(home, 'out'))).toEqual(describeTree(dump));
  });

  it('is put together again by merge, which warns', async () => {
    const [dump, dir] = [await partialDump(), tempDir()];
    const [hot, cold, out] = ['hot', 'cold', 'out'].map((name) => join(dir, name)) as [string, string, string];
    await cli(['split', dump, hot, cold, '--incomplete']);
    expect(describeTree(cold).filter((line) => line.includes(PARTIAL))).toEqual([]);
    expect(await cli(['merge', hot, cold, out])).toMatchObject({
      code: 0,
      stderr: `pagepipe: warning: ${out}: ${NEVER}\n`,
    });
    expect(describeTree(out)).toEqual(describeTree(dump));
  });

  it.each([
    ['a directory', (dump: string) => dump],
    ['an archive', (dump: string) => archiveOf(dump, `${dump}.tar`)],
    ['a compressed archive', (dump: string) => archiveOf(dump, `${dump}.tar.gz`, '-z')],
  ])('is copied with a warning, and is an error for verify and read: %s', async (_, place) => {
    const [dump, out] = [await partialDump(), join(tempDir(), 'out')];
    const what = `${PARTIAL}: 8 pages were taken out that no lazy restore can fetch: 8 locked`;
    expect(await cli(['copy', place(dump), out])).toMatchObject({
      code: 0,
      stderr: `pagepipe: warning: ${out}: ${NEVER}\n`,
    });
    expect((await cli(['read', place(dump)])).stderr).toBe(
      `pagepipe read: error: ${what}\npagepipe read: hint: pagepipe verify does all checks; --incomplete reads what can be read\n`,
    );
    const stdout = join(tempDir(), 'found');
    expect((await cli(['verify', place(dump)], { stdout })).code).toBe(1);
    expect(readFileSync(stdout, 'utf8')).toBe(`${what}\n`);
  });
});
