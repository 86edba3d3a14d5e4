/** `pagepipe send`: a dump to a far side, which here is a process behind a script in place of ssh. */
import { chmodSync, existsSync, mkdirSync, readdirSync, readFileSync, truncateSync, writeFileSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { describe, expect, it } from 'vitest';
import { UNDELIVERED } from '../../src/dump/names.js';
import { packed } from '../helpers/archives.js';
import { BIN, cli } from '../helpers/cli.js';
import { expectEvents, jsonLines } from '../helpers/json-schema.js';
import { connection, PageClient } from '../helpers/page-client.js';
import { makePipe } from '../helpers/pipe.js';
import { exitOf, Running, start } from '../helpers/running.js';
import { drain, servedDump, visit } from '../helpers/serving.js';
import { describeTree, fixture, tempDir } from '../helpers/temp.js';

/** A home directory at the far side, and a script in place of ssh, which is given the host and the command. */
function farSide(run = 'exec sh -c "$*"') {
  const home = tempDir();
  const folder = tempDir();
  const rsh = join(folder, 'rsh');
  const program = join(folder, 'pagepipe');
  const script = `cd ${home} && PATH=${folder}:$PATH && shift\n${run}\n`;
  writeFileSync(program, `#!/bin/sh\nexec ${process.execPath} ${BIN} "$@"\n`);
  writeFileSync(rsh, `#!/bin/sh\n${script}`);
  for (const file of [program, rsh]) chmodSync(file, 0o755);
  return {
    home,
    rsh,
    /** For a near side in this process: resolves when the next far side has ended, to what it said. */
    async said(): Promise<string> {
      const pipe = join(tempDir(), 'stderr');
      makePipe(pipe);
      writeFileSync(rsh, `#!/bin/sh\nexec 2>${pipe}\n${script}`);
      const text = await readFile(pipe, 'utf8');
      writeFileSync(rsh, `#!/bin/sh\n${script}`);
      return text;
    },
  };
}

/** A lazy send by this process. */
const lazily = (path: string, rsh: string, ...words: string[]) =>
  new Running(['send', path, 'far:out', '--lazy', '--rsh', rsh, ...words]);

/** The same by a process, which can be killed. */
const lazyProcess = (path: string, rsh: string) => start(['send', path, 'far:out', '--lazy', '--rsh', rsh]);

const portOf = async (near: Pick<Running, 'prints'> | Pick<ReturnType<typeof start>, 'prints'>) =>
  Number((await near.prints(/--port (\d+) /))[1]);

/** What is said of a dump that is in its place. */
const landed = (out: string, size: string, restore: string): string =>
  `pagepipe: far: ${out} is there, ${size}\n` +
  'restore it there with this command, and the options that the dump was made with (--shell-job, --tcp-established, …):\n' +
  `  criu restore -D ${restore} -d\n`;

/** And of a lazy one. */
const lazyLanded = (out: string, size: string, port: number): string =>
  'pagepipe: warning: 310 pages are flagged lazy where CRIU fetches no pages, the first in the file-private area ' +
  '0x7fff00000000-0x7fff00400000 of pagemap-16.img; --policy vma keeps them\n' +
  `pagepipe: far: ${out} is there, ${size}\n` +
  'restore it there with these two commands, and the options that the dump was made with (--shell-job, --tcp-established, …):\n' +
  `  criu lazy-pages --page-server --address 127.0.0.1 --port ${port} -D ${out} -W ${out} -d\n` +
  `  criu restore --lazy-pages -D ${out} -W ${out} -d\n`;

const TAKEN =
  'pagepipe: error: out: expected a new or empty directory, found files in it\n' +
  'pagepipe: hint: use --force to replace it\n';
const failed = (how: string) => `pagepipe: error: far: the far side ended with ${how}\n`;

/** A far side that says by which process it can be killed. */
const KILLABLE = 'echo $$ >pid; exec sh -c "exec $*"';

const kill = (home: string, signal: NodeJS.Signals) =>
  process.kill(Number(readFileSync(join(home, 'pid'), 'utf8')), signal);

describe('send of a whole dump', () => {
  it.each([
    ['family-criu-4.2.1', '2.24 MiB'],
    ['chain/mprotect00/3', '44.4 KiB'],
  ])('makes the same directory at the far side: %s', async (name, size) => {
    const { home, rsh, ...far } = farSide();
    const said = far.said();
    const { code, stderr } = await cli(['send', fixture(name), 'far:out', '--rsh', rsh]);
    const out = join(home, 'out');
    expect([code, stderr]).toEqual([0, landed(out, size, out)]);
    const parent = `pagepipe: warning: out/parent leads nowhere; put out next to the dump, or the parent dump next to out\n`;
    expect(await said).toBe(name.startsWith('chain') ? parent : '');
    expect(describeTree(join(home, 'out'))).toEqual(describeTree(fixture(name)));
  });

  it.each(['tgz', 'stream'])('takes it from any source: %s', async (kind) => {
    const path = fixture('mosaic-criu-4.2.1');
    const { home, rsh } = farSide();
    const stdin = join(tempDir(), 'in');
    if (kind === 'stream') await cli(['read', path], { stdout: stdin });
    else writeFileSync(stdin, gzipSync(packed(path)));
    const sent = await cli(['send', '-', 'far:out dir', '--compress', 'zstd', '-e', rsh], { stdin });
    const out = join(home, 'out dir');
    expect(sent).toEqual({ code: 0, stdout: '', stderr: landed(out, '818 KiB', `'${out}'`) });
    // Neither has the mode of the directory.
    expect(describeTree(out).slice(1)).toEqual(describeTree(path).slice(1));
  });

  it('says where it is to programs', async () => {
    const { home, rsh } = farSide();
    const { stdout } = await cli(['send', fixture('mosaic-criu-4.2.1'), 'far:out', '--rsh', rsh, '--json']);
    const out = join(home, 'out');
    expectEvents('send', stdout, ['landed']);
    expect(JSON.parse(stdout)).toEqual({
      event: 'landed',
      out,
      bytes: expect.any(Number),
      restore: { restore: `criu restore -D ${out} -d` },
    });
  });

  it('replaces nothing unless it is told to', async () => {
    const { home, rsh, ...far } = farSide();
    const said = far.said();
    mkdirSync(join(home, 'out'));
    writeFileSync(join(home, 'out/inventory.img'), 'text');
    const words = ['send', fixture('mosaic-criu-4.2.1'), 'far:out', '--rsh', rsh];
    expect(await cli(words)).toEqual({ code: 1, stdout: '', stderr: failed('exit code 1') });
    expect(await said).toBe(TAKEN);
    expect(readdirSync(join(home, 'out'))).toEqual(['inventory.img']);
    expect((await cli([...words, '--force'])).code).toBe(0);
    expect(readdirSync(join(home, 'out'))).toContain('pstree.img');
  });
});

describe('send --lazy', () => {
  it.each([[], ['--compress', 'zstd']])(
    'sends what make-lazy leaves, then serves the rest, and ends with it %s',
    async (...words) => {
      const { path, oracle } = servedDump();
      const { home, rsh } = farSide();
      const small = join(tempDir(), 'small');
      expect((await cli(['make-lazy', path, small])).code).toBe(0);
      const near = lazily(path, rsh, ...words);
      const port = await portOf(near);
      const out = join(home, 'out');
      expect(describeTree(out).filter((line) => !line.includes(UNDELIVERED))).toEqual(describeTree(small));
      expect(existsSync(join(out, UNDELIVERED))).toBe(true);

      await visit(new PageClient(connection(port)), oracle);
      expect(await near.code()).toBe(0);
      expect(describeTree(out)).toEqual(describeTree(small));
      const [whole, answers] = [lazyLanded(out, '72.8 KiB', port), near.err.split('\n').slice(-3)];
      expect(near.err.startsWith(whole)).toBe(true);
      expect(near.err.slice(whole.length)).toBe(answers.join('\n'));
      expect(answers[0]).toMatch(
        /^pagepipe: 127\.0\.0\.1:\d+: done; 316 pages, 1294336 bytes in 4 requests \(2 faults, 2 background\), [\d.]+ s, answers p50 \d+ µs, p99 \d+ µs$/,
      );
      expect(answers.slice(1)).toEqual(['pagepipe: far: all pages have been fetched', '']);
    },
  );

  it('serves from a plain archive, and tells programs what happens', async () => {
    const { path, oracle } = servedDump();
    const archive = join(tempDir(), 'dump.tar');
    writeFileSync(archive, packed(path));
    const { home, rsh } = farSide();
    const near = lazily(archive, rsh, '--json');
    const [, first] = await near.prints(/^(.*)\n/, 'out');
    const { pageServer, ...rest } = JSON.parse(first as string) as { pageServer: { port: number } };
    const [out, where] = [join(home, 'out'), `--address 127.0.0.1 --port ${pageServer.port}`];
    expect(rest).toMatchObject({
      event: 'landed',
      out,
      restore: {
        lazyPages: `criu lazy-pages --page-server ${where} -D ${out} -W ${out} -d`,
        restore: `criu restore --lazy-pages -D ${out} -W ${out} -d`,
      },
    });
    await visit(new PageClient(connection(pageServer.port), 24), oracle);
    expect(await near.code()).toBe(0);
    expectEvents('send', near.out, ['landed', 'client', 'delivered']);
    expect(jsonLines(near.out)[1]).toMatchObject({ closed: true, pages: 316 });
  });

  it('refuses an archive without random access', async () => {
    const archive = join(tempDir(), 'dump.tar.gz');
    writeFileSync(archive, gzipSync(packed(fixture('mosaic-criu-4.2.1'))));
    const { home, rsh } = farSide();
    const { code, stderr } = await cli(['send', archive, 'far:out', '--lazy', '--rsh', rsh]);
    expect([code, stderr]).toEqual([
      1,
      `pagepipe: error: ${archive}: expected a directory or a plain tar archive, found another file\n` +
        'pagepipe: hint: what is compressed or in shards is not open to random access: pagepipe copy DUMP OUT\n',
    ]);
    expect(readdirSync(home)).toEqual([]);
  });

  it('holds up nobody for a client that takes nothing, and goes on when one is gone', async () => {
    const { path, oracle } = servedDump();
    const { rsh } = farSide();
    const near = lazily(path, rsh, '--keep-serving');
    const port = await portOf(near);
    const stalled = connection(port);
    const greedy = new PageClient(stalled);
    // Some 64 MiB, which it does not read.
    for (let i = 0; i < 64; i++) greedy.get(15, 0x500000n, 300);
    const gone = connection(port);
    new PageClient(gone).get(15, 0x500000n, 300);
    gone.resetAndDestroy();
    for (let i = 0; i < 3; i++) {
      const client = new PageClient(connection(port));
      await drain(client, 15, oracle, 7);
      expect(await client.close()).toBe(0);
    }
    await near.prints(/(: done; .*){3}/s);
    stalled.destroy();
    near.stop();
    expect(await near.code()).toBe(0);
  });

  it('can be run again when it was interrupted, and only then without --force', async () => {
    const { path, oracle } = servedDump();
    const { home, rsh, ...far } = farSide();
    const first = lazyProcess(path, rsh);
    await portOf(first);
    first.child.kill('SIGINT');
    // The far side has the same stderr: it has ended as well.
    expect(await exitOf(first.child)).toBe(130);

    const second = lazily(path, rsh);
    await visit(new PageClient(connection(await portOf(second))), oracle);
    expect(await second.code()).toBe(0);
    const said = far.said();
    const third = await cli(['send', path, 'far:out', '--rsh', rsh]);
    expect(third).toEqual({ code: 1, stdout: '', stderr: failed('exit code 1') });
    expect(await said).toBe(TAKEN);
    expect(readdirSync(home)).toEqual(['out']);
  });

  it.each([
    // As behind ssh: what the far side reads ends, what it writes goes on.
    ['near', 'cat | sh -c "$*" | cat'],
    ['far', KILLABLE],
  ])('leaves nobody behind at the far side when the %s one is killed', async (which, run) => {
    const { path } = servedDump();
    const { home, rsh } = farSide(run);
    const near = lazyProcess(path, rsh);
    await portOf(near);
    if (which === 'near') near.child.kill('SIGKILL');
    else kill(home, 'SIGKILL');
    // Both sides have the same stderr, which is closed when the last of them is gone.
    expect(await exitOf(near.child)).toBe(which === 'near' ? 'SIGKILL' : 1);
  });

  it('says that pages are missing when the connection ends before they are fetched', async () => {
    const { path } = servedDump();
    const { home, rsh } = farSide(KILLABLE);
    const near = lazily(path, rsh);
    const port = await portOf(near);
    kill(home, 'SIGTERM');
    expect(await near.code()).toBe(1);
    expect(near.err).toBe(lazyLanded(join(home, 'out'), '72.8 KiB', port) + failed('exit code 143'));
    expect(existsSync(join(home, 'out', UNDELIVERED))).toBe(true);
  });
});

describe('a far side that fails', () => {
  const sent = async (run: string, ...words: string[]) => {
    const { home, rsh, ...far } = farSide(run);
    const said = far.said();
    const { code, stderr } = await cli(['send', fixture('mosaic-criu-4.2.1'), 'far:out', '--rsh', rsh, ...words]);
    return { code, stderr, said: await said, left: readdirSync(home) };
  };

  const END = 'stdin: the connection ended before the sending side was done';
  it.each([
    [0, 75, END, []],
    [10, 75, END, ['--lazy']],
    [500, 75, END, ['--compress', 'zstd']],
    [500, 75, END, ['--compress', 'gzip']],
    [
      20_000,
      1,
      'stdin@PLACE: expected COUNT more bytes of payload, found the end of the input: the stream was cut',
      [],
    ],
    [
      20_000,
      1,
      'stdin@PLACE: expected COUNT more bytes of payload, found the end of the input: the stream was cut',
      ['--lazy'],
    ],
  ])('has nothing half-made when the stream breaks off after %i bytes: %i %s', async (bytes, exit, error, words) => {
    const { code, stderr, said, left } = await sent(`dd bs=1 count=${bytes} 2>/dev/null | sh -c "$*"`, ...words);
    expect(said.replace(/@0x[0-9a-f]+: expected \d+/, '@PLACE: expected COUNT')).toBe(`pagepipe: error: ${error}\n`);
    expect([code, stderr, left]).toEqual([exit, failed(`exit code ${exit}`), []]);
  });

  const FOREIGN = 'the far side printed something that is not from pagepipe';
  const STARTUP = 'does a startup file of its shell print something?';
  it.each([
    ['exit 255', 'RSH could not connect'],
    ['exit 127', 'pagepipe was not found there', 'say where it is with --pagepipe-path'],
    ['kill -9 $$', 'the far side ended with SIGKILL'],
    ['echo Welcome; exec sh -c "$*"', FOREIGN, STARTUP],
    ['cat', FOREIGN, STARTUP],
  ])('is told from others: %s', async (run, error, hint?: string) => {
    const { code, stderr, left } = await sent(run);
    expect(stderr.replace(/\/\S+\/rsh/, 'RSH')).toBe(
      `pagepipe: error: far: ${error}\n${hint === undefined ? '' : `pagepipe: hint: ${hint}\n`}`,
    );
    expect([code, left]).toEqual([run === 'exit 255' ? 75 : 1, []]);
  });

  it('has nothing of a dump that cannot be read', async () => {
    const { home, rsh, ...far } = farSide();
    const said = far.said();
    const stdin = join(tempDir(), 'cut');
    await cli(['read', fixture('mosaic-criu-4.2.1')], { stdout: stdin });
    truncateSync(stdin, 100_000);
    const cut = await cli(['send', '-', 'far:out', '--rsh', rsh], { stdin });
    expect(cut).toEqual({
      code: 1,
      stdout: '',
      stderr:
        'pagepipe: error: stdin@0x186a0: expected 673253 more bytes of payload, found the end of the input: the stream was cut\n',
    });
    await said;
    expect(readdirSync(home)).toEqual([]);
  });

  it('need not be ssh, but must be there', async () => {
    const { code, stderr } = await cli(['send', fixture('mosaic-criu-4.2.1'), 'far:out', '--rsh', '/nowhere/ssh -v']);
    expect([code, stderr]).toEqual([
      1,
      'pagepipe: error: far: /nowhere/ssh cannot be run: no such file or directory (ENOENT)\n',
    ]);
  });
});
