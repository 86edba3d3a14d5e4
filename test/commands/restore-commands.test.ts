/** What make-lazy says of how its OUT is restored, for every place of DUMP and OUT. */
import { execFileSync } from 'node:child_process';
import { readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { type DumpPlace, type LazyPlace, restoreCommands, restoreNotes } from '../../src/commands/restore-commands.js';
import { tar } from '../helpers/archives.js';
import { BIN, cli } from '../helpers/cli.js';
import { copyFixture, describeTree, fixture, tempDir } from '../helpers/temp.js';

const DIRECTORY: DumpPlace = { kind: 'directory', paths: ['/d/dump'] };
const TAR: DumpPlace = { kind: 'tar', paths: ['/d/dump.tar'] };
const ZSTD: DumpPlace = { kind: 'tar', paths: ['/d/dump.tar.zst'] };
const SHARDS: DumpPlace = { kind: 'shards', paths: ['/d/a', '/d/b'] };
const STDIN: DumpPlace = { kind: 'tar', paths: [] };
const OUT: LazyPlace = { kind: 'directory', path: '/o/out' };

describe('the commands for', () => {
  const PLAIN = { keepsLazyPages: false };
  const small = (directory: string) => ({ restore: `criu restore --lazy-pages -D ${directory} -W ${directory} -d` });

  it.each([
    ['a directory', DIRECTORY, 'criu lazy-pages -D /d/dump', 'pagepipe restore /d/dump'],
    ['a plain archive', TAR, 'pagepipe lazy-pages /d/dump.tar', 'pagepipe restore /d/dump.tar'],
    ['a compressed archive', ZSTD, 'pagepipe lazy-pages /d/dump.tar.zst', 'pagepipe restore /d/dump.tar.zst'],
    ['shards', SHARDS, 'pagepipe lazy-pages /d/a,/d/b --from shards', 'pagepipe restore /d/a,/d/b --from shards'],
    ['stdin', STDIN, 'pagepipe lazy-pages DUMP', 'pagepipe restore DUMP'],
    [
      'an archive of a machine with several page sizes',
      { ...TAR, pageSize: 65536 },
      'pagepipe lazy-pages /d/dump.tar --page-size 65536',
      'pagepipe restore /d/dump.tar --page-size 65536',
    ],
    ['a directory of one', { ...DIRECTORY, pageSize: 65536 }, 'criu lazy-pages -D /d/dump', 'pagepipe restore /d/dump'],
  ] as const)('%s', (_, place, daemon, atOnce) => {
    expect(restoreCommands(place, OUT, PLAIN)).toEqual({
      atOnce,
      lazyPages: `${daemon} -W /o/out -d`,
      ...small('/o/out'),
    });
    expect(restoreNotes(place, OUT, PLAIN)).toEqual(
      place.paths.length === 0 ? ['replace the names in capitals by your own'] : [],
    );
  });

  it('kept lazy pages, with which the daemon of CRIU does not end', () => {
    expect(restoreCommands(DIRECTORY, OUT, { keepsLazyPages: true })).toEqual({
      lazyPages: 'pagepipe lazy-pages /d/dump -W /o/out -d',
      ...small('/o/out'),
    });
    expect(restoreNotes(DIRECTORY, OUT, { keepsLazyPages: true })).toEqual([
      'not with criu lazy-pages on DUMP: it would try forever to deliver the kept pages',
    ]);
  });

  it.each([
    [{ kind: 'tar', path: '/o/out.tar' }, '/o/out.tar', 'tar -x and container engines can unpack /o/out.tar as well'],
    [{ kind: 'tar', path: '-' }, 'OUT', 'tar -x and container engines can unpack OUT as well'],
    [
      { kind: 'shards', path: '/o/a,/o/b' },
      '/o/a,/o/b --from shards',
      'criu-image-streamer extract can unpack /o/a,/o/b as well',
    ],
    [{ kind: 'shards', path: '-' }, 'OUT --from shards', 'criu-image-streamer extract can unpack OUT as well'],
  ] as const)('an OUT that is no directory: %o', (out, words, note) => {
    expect(restoreCommands(DIRECTORY, out, PLAIN)).toEqual({
      atOnce: 'pagepipe restore /d/dump',
      unpack: [`pagepipe copy ${words} OUT_DIR`],
      lazyPages: 'criu lazy-pages -D /d/dump -W OUT_DIR -d',
      ...small('OUT_DIR'),
    });
    expect(restoreNotes(DIRECTORY, out, PLAIN)).toEqual([
      'criu restore reads only directories',
      'replace the names in capitals by your own',
      note,
    ]);
  });
});

interface Said {
  restore: { unpack?: string[]; lazyPages: string };
  notes: string[];
}

async function makeLazy(...words: string[]): Promise<Said> {
  const run = await cli(['make-lazy', ...words, '--json']);
  expect(run.code, run.stderr).toBe(0);
  return JSON.parse(run.stdout) as Said;
}

/** Runs a command of the report as it is. */
function shell(folder: string, command: string): void {
  const script = `set -eo pipefail\npagepipe() { "$NODE" "$BIN" "$@"; }\n${command}`;
  execFileSync('bash', ['-c', script], {
    cwd: folder,
    stdio: 'pipe',
    env: { ...process.env, NODE: process.execPath, BIN },
  });
}

describe('the report', () => {
  it('of archives has commands that unpack them, which a shell takes', async () => {
    const dir = join(tempDir(), "it's $HOME");
    const dump = copyFixture('mosaic-criu-4.2.1', dir);
    await cli(['make-lazy', dump, join(dir, 'lazy')]);
    writeFileSync(join(dir, 'in.tar.gz'), tar(dump, '-cz', ...readdirSync(dump)));
    const { restore, notes } = await makeLazy(join(dir, 'in.tar.gz'), join(dir, 'out.tar.gz'));
    expect(restore.unpack).toHaveLength(1);
    expect(notes).toHaveLength(3);
    for (const command of restore.unpack ?? []) shell(dir, command);
    expect(describeTree(join(dir, 'OUT_DIR')).slice(1)).toEqual(describeTree(join(dir, 'lazy')).slice(1));
  });

  it('says that pages which were lazy already are elsewhere', async () => {
    const dir = tempDir();
    const [lazy, again] = [join(dir, 'lazy'), join(dir, 'again')];
    const note =
      'the pages that were lazy already are not in DUMP either; serve those of the dump that DUMP was made from';
    expect((await cli(['make-lazy', fixture('mosaic-criu-4.2.1'), lazy])).stderr).not.toContain(note);
    expect((await cli(['make-lazy', lazy, again])).stderr).toContain(`note: ${note}\n`);
  });

  it('has commands and notes as text', async () => {
    const dir = tempDir();
    const dump = copyFixture('mosaic-criu-4.2.1', dir);
    const { stderr } = await cli(['make-lazy', dump, join(dir, 'out.tar'), '--to', 'tar']);
    const heading =
      'or with these commands, and the options that the dump was made with (--shell-job, --tcp-established, …):';
    expect(stderr.slice(stderr.indexOf('restore it '))).toBe(
      [
        'restore it with one command:',
        `  pagepipe restore ${dump}`,
        heading,
        `  pagepipe copy ${join(dir, 'out.tar')} OUT_DIR`,
        `  criu lazy-pages -D ${dump} -W OUT_DIR -d`,
        '  criu restore --lazy-pages -D OUT_DIR -W OUT_DIR -d',
        'note: criu restore reads only directories',
        'note: replace the names in capitals by your own',
        `note: tar -x and container engines can unpack ${join(dir, 'out.tar')} as well`,
        'warning: never restore this archive without --lazy-pages: its lazy pages are not in it, and CRIU would spin forever, or restore a process that computes on zeros',
        '',
      ].join('\n'),
    );
  });
});

describe('split says how HOT is restored', () => {
  const WITH = 'with these commands, and the options that the dump was made with (--shell-job, --tcp-established, …):';
  const NEVER =
    'warning: never restore HOT without --lazy-pages: its lazy pages are not in it, and CRIU would spin forever, or restore a process that computes on zeros\n';
  const NAMES = 'note: criu restore reads only directories\nnote: replace the names in capitals by your own\n';

  it('in a directory', async () => {
    const dir = tempDir();
    const [hot, cold] = [join(dir, 'hot'), join(dir, 'cold')];
    const { stderr } = await cli(['split', copyFixture('family-criu-4.2.1', dir), hot, cold]);
    expect(stderr).toBe(`size  217 KiB in HOT, 2.04 MiB in COLD

restore HOT ${WITH}
  criu lazy-pages -D ${cold} -W ${hot} -d
  criu restore --lazy-pages -D ${hot} -W ${hot} -d
${NEVER}`);
  });

  it('in an archive, with COLD on stdout', async () => {
    const dir = tempDir();
    const hot = join(dir, 'hot.tar');
    const words = ['split', copyFixture('family-criu-4.2.1', dir), hot, '--cold', '-', '--to', 'tar'];
    const { stderr } = await cli(words);
    expect(stderr).toBe(`size  217 KiB in HOT

restore HOT ${WITH}
  pagepipe copy ${hot} HOT_DIR
  pagepipe lazy-pages COLD -W HOT_DIR -d
  criu restore --lazy-pages -D HOT_DIR -W HOT_DIR -d
${NAMES}note: tar -x and container engines can unpack ${hot} as well
${NEVER}`);
  });
});
