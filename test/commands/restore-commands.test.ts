/** What make-lazy says of how its OUT is restored, for every place of DUMP and OUT. */
import { execFileSync } from 'node:child_process';
import { readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { type DumpPlace, type LazyPlace, restoreCommands, restoreNotes } from '../../src/commands/restore-commands.js';
import { filesOf, putAll, tar, writeShards } from '../helpers/archives.js';
import { BIN, cli } from '../helpers/cli.js';
import { copyFixture, describeTree, fixture, tempDir } from '../helpers/temp.js';

const DIRECTORY: DumpPlace = { kind: 'directory', isServable: true, paths: ['/d/dump'] };
const TAR: DumpPlace = { kind: 'tar', isServable: true, paths: ['/d/dump.tar'] };
const ZSTD: DumpPlace = { kind: 'tar', isServable: false, paths: ['/d/dump.tar.zst'] };
const SHARDS: DumpPlace = { kind: 'shards', isServable: false, paths: ['/d/a', '/d/b'] };
const STDIN: DumpPlace = { kind: 'tar', isServable: false, paths: [] };
const OUT: LazyPlace = { kind: 'directory', path: '/o/out' };

const SERVER = 'criu lazy-pages --page-server --address 127.0.0.1 --port 27000';

describe('the commands for', () => {
  const PLAIN = { holes: 'flag', keepsLazyPages: false } as const;
  const small = (directory: string) => ({ restore: `criu restore --lazy-pages -D ${directory} -W ${directory} -d` });

  it.each([
    ['a directory', DIRECTORY, { lazyPages: 'criu lazy-pages -D /d/dump -W /o/out &' }],
    [
      'a plain archive, which can be served',
      TAR,
      { serve: 'pagepipe serve /d/dump.tar &', lazyPages: `${SERVER} -D /o/out -W /o/out &` },
    ],
    [
      'a compressed archive',
      ZSTD,
      {
        unpack: ['pagepipe copy /d/dump.tar.zst DUMP_DIR'],
        lazyPages: 'criu lazy-pages -D DUMP_DIR -W /o/out &',
      },
    ],
    [
      'shards',
      SHARDS,
      {
        unpack: ['pagepipe copy /d/a,/d/b --from shards DUMP_DIR'],
        lazyPages: 'criu lazy-pages -D DUMP_DIR -W /o/out &',
      },
    ],
    [
      'stdin',
      STDIN,
      {
        unpack: ['pagepipe copy DUMP DUMP_DIR'],
        lazyPages: 'criu lazy-pages -D DUMP_DIR -W /o/out &',
      },
    ],
    [
      'an archive of a machine with several page sizes',
      { ...TAR, pageSize: 65536 },
      {
        serve: 'pagepipe serve /d/dump.tar --page-size 65536 &',
        lazyPages: `${SERVER} -D /o/out -W /o/out &`,
      },
    ],
    ['a directory of one', { ...DIRECTORY, pageSize: 65536 }, { lazyPages: 'criu lazy-pages -D /d/dump -W /o/out &' }],
  ] as const)('%s', (_, place, commands) => {
    expect(restoreCommands(place, OUT, PLAIN)).toEqual({ ...commands, ...small('/o/out') });
  });

  it('an archive without holes, which no page server can serve', () => {
    expect(restoreCommands(TAR, OUT, { holes: 'drop', keepsLazyPages: false })).toEqual({
      unpack: ['pagepipe copy /d/dump.tar DUMP_DIR'],
      lazyPages: 'criu lazy-pages -D DUMP_DIR -W /o/out &',
      ...small('/o/out'),
    });
  });

  it.each([
    [DIRECTORY, undefined, 'pagepipe serve /d/dump &'],
    [TAR, undefined, 'pagepipe serve /d/dump.tar &'],
    [ZSTD, ['pagepipe copy /d/dump.tar.zst DUMP_DIR'], 'pagepipe serve DUMP_DIR &'],
  ])('kept lazy pages, which take a page server: %o', (place, unpack, serve) => {
    const commands = restoreCommands(place, OUT, { holes: 'flag', keepsLazyPages: true });
    expect(commands).toEqual({
      ...(unpack ? { unpack } : {}),
      serve,
      lazyPages: `${SERVER} -D /o/out -W /o/out &`,
      ...small('/o/out'),
    });
    expect(restoreNotes(commands, OUT, { keepsLazyPages: true }).at(-1)).toBe(
      'the pages must come from a page server: criu lazy-pages -D DUMP would try forever to deliver the kept ones',
    );
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
    const commands = restoreCommands(DIRECTORY, out, PLAIN);
    expect(commands).toEqual({
      unpack: [`pagepipe copy ${words} OUT_DIR`],
      lazyPages: 'criu lazy-pages -D /d/dump -W OUT_DIR &',
      ...small('OUT_DIR'),
    });
    expect(restoreNotes(commands, out, { keepsLazyPages: false })).toEqual([
      'CRIU reads only directories; replace the names in capitals by your own',
      note,
    ]);
  });

  it('a directory into a directory, of which nothing more is to be known', () => {
    expect(restoreNotes(restoreCommands(DIRECTORY, OUT, PLAIN), OUT, PLAIN)).toEqual([]);
  });
});

interface Said {
  restore: { unpack?: string[]; serve?: string; lazyPages: string };
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
    expect(restore.unpack).toHaveLength(2);
    expect(restore.serve).toBeUndefined();
    expect(notes).toHaveLength(2);
    for (const command of restore.unpack ?? []) shell(dir, command);
    expect(describeTree(join(dir, 'DUMP_DIR')).slice(1)).toEqual(describeTree(dump).slice(1));
    expect(describeTree(join(dir, 'OUT_DIR')).slice(1)).toEqual(describeTree(join(dir, 'lazy')).slice(1));
  });

  it('tells a plain archive from what cannot be served', async () => {
    const dir = tempDir();
    const dump = copyFixture('mosaic-criu-4.2.1', dir);
    const plain = join(dir, 'in.tar');
    writeFileSync(plain, tar(dump, '-c', ...readdirSync(dump)));
    expect((await makeLazy(plain, join(dir, 'a'), '--to', 'directory')).restore).toMatchObject({
      serve: `pagepipe serve ${plain} &`,
      lazyPages: `criu lazy-pages --page-server --address 127.0.0.1 --port 27000 -D ${join(dir, 'a')} -W ${join(dir, 'a')} &`,
    });
    const shards = putAll(dir, 'shard', writeShards(filesOf(dump), { shards: 2 })).join(',');
    const ofShards = await makeLazy(shards, join(dir, 'b'), '--from', 'shards');
    expect(ofShards.restore.unpack).toEqual([`pagepipe copy ${shards} --from shards DUMP_DIR`]);
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
      'restore it with these commands, and the options that the dump was made with (--shell-job, --tcp-established, …):';
    expect(stderr.slice(stderr.indexOf('restore it '))).toBe(
      [
        heading,
        `  pagepipe copy ${join(dir, 'out.tar')} OUT_DIR`,
        `  criu lazy-pages -D ${dump} -W OUT_DIR &`,
        '  criu restore --lazy-pages -D OUT_DIR -W OUT_DIR -d',
        'note: CRIU reads only directories; replace the names in capitals by your own',
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
  const NAMES = 'note: CRIU reads only directories; replace the names in capitals by your own\n';

  it('in a directory', async () => {
    const dir = tempDir();
    const [hot, cold] = [join(dir, 'hot'), join(dir, 'cold')];
    const { stderr } = await cli(['split', copyFixture('family-criu-4.2.1', dir), hot, cold]);
    expect(stderr).toBe(`size  217 KiB in HOT, 2.04 MiB in COLD

restore HOT ${WITH}
  criu lazy-pages -D ${cold} -W ${hot} &
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
  pagepipe copy COLD COLD_DIR
  pagepipe copy ${hot} HOT_DIR
  criu lazy-pages -D COLD_DIR -W HOT_DIR &
  criu restore --lazy-pages -D HOT_DIR -W HOT_DIR -d
${NAMES}note: tar -x and container engines can unpack ${hot} as well
${NEVER}`);
  });
});
