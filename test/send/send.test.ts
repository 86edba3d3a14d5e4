/** `pagepipe send`: a dump to a far side, which here is a process behind a script in place of ssh. */
import { chmodSync, existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { UNDELIVERED } from '../../src/dump/names.js';
import { tar } from '../helpers/archives.js';
import { BIN, cli, pagepipe } from '../helpers/cli.js';
import { connection, PageClient } from '../helpers/page-client.js';
import { exitOf, start } from '../helpers/running.js';
import { drain, servedDump, visit } from '../helpers/serving.js';
import { describeTree, FIXTURES, fixture, tempDir } from '../helpers/temp.js';

/** A home directory at the far side, and what stands in place of ssh: a script that is given the host and the command. */
function farSide(run = 'exec sh -c "$*"') {
  const home = tempDir();
  const folder = tempDir();
  const rsh = join(folder, 'rsh');
  const program = join(folder, 'pagepipe');
  writeFileSync(program, `#!/bin/sh\nexec ${process.execPath} ${BIN} "$@"\n`);
  writeFileSync(rsh, `#!/bin/sh\ncd ${home} && PATH=${folder}:$PATH && shift\n${run}\n`);
  for (const script of [program, rsh]) chmodSync(script, 0o755);
  return { home, rsh };
}

const lazily = (path: string, rsh: string, ...words: string[]) =>
  start(['send', path, 'far:out', '--lazy', '--rsh', rsh, ...words]);

const portOf = async ({ prints }: ReturnType<typeof start>) => Number((await prints(/--port (\d+) /))[1]);

/** A far side that says by which process it can be killed. */
const KILLABLE = 'echo $$ >pid; exec sh -c "exec $*"';

const kill = (home: string, signal: NodeJS.Signals) =>
  process.kill(Number(readFileSync(join(home, 'pid'), 'utf8')), signal);

describe('send of a whole dump', () => {
  it.each(FIXTURES)('makes the same directory at the far side: %s', async (name) => {
    const { home, rsh } = farSide();
    const { code, stderr } = await cli(['send', fixture(name), 'far:out', '--rsh', rsh]);
    expect(stderr).toMatch(
      /^pagepipe: far: \/.*\/out is there, .* [KM]iB\nrestore it there with this command.*\n {2}criu restore -D /,
    );
    expect(code).toBe(0);
    expect(describeTree(join(home, 'out'))).toEqual(describeTree(fixture(name)));
  });

  it.each(['tar', 'tgz', 'stream'])('takes it from any source: %s', async (kind) => {
    const path = fixture('mosaic-criu-4.2.1');
    const { home, rsh } = farSide();
    const input =
      kind === 'stream'
        ? (await pagepipe(['read', path])).bytes
        : tar(path, '-c', ...(kind === 'tgz' ? ['-z'] : []), '.');
    const sent = await pagepipe(['send', '-', 'far:out dir', '--compress', '-e', rsh], { input });
    expect(sent.stderr).toMatch(/ criu restore -D '.*\/out dir' -d\n$/);
    expect(sent.code).toBe(0);
    // Neither has the mode of the directory.
    expect(describeTree(join(home, 'out dir')).slice(1)).toEqual(describeTree(path).slice(1));
  });

  it('says where it is to programs', async () => {
    const { home, rsh } = farSide();
    const { stdout } = await cli(['send', fixture('mosaic-criu-4.2.1'), 'far:out', '--rsh', rsh, '--json']);
    const out = join(home, 'out');
    expect(JSON.parse(stdout)).toEqual({
      event: 'landed',
      out,
      bytes: expect.any(Number),
      restore: { restore: `criu restore -D ${out} -d` },
    });
  });

  it('replaces nothing unless it is told to', async () => {
    const { home, rsh } = farSide();
    mkdirSync(join(home, 'out'));
    writeFileSync(join(home, 'out/inventory.img'), 'text');
    const words = ['send', fixture('mosaic-criu-4.2.1'), 'far:out', '--rsh', rsh];
    const { child, stderr } = start(words);
    expect(await exitOf(child)).toBe(1);
    expect(stderr.text).toMatch(
      /error: out: .*found.*\n.*--force.*\n.*error: far: the far side ended with exit code 1\n$/s,
    );
    expect(readdirSync(join(home, 'out'))).toEqual(['inventory.img']);
    expect((await cli([...words, '--force'])).code).toBe(0);
    expect(readdirSync(join(home, 'out'))).toContain('pstree.img');
  });
});

describe('send --lazy', () => {
  it.each([[], ['--compress']])(
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
      expect(await exitOf(near.child)).toBe(0);
      expect(describeTree(out)).toEqual(describeTree(small));
      expect(near.stderr.text).toMatch(
        /pagepipe: 127\.0\.0\.1:\d+: done; 316 pages.*\npagepipe: far: all pages have been fetched\n$/,
      );
    },
  );

  it('serves from a plain archive, and tells programs what happens', async () => {
    const { path, oracle } = servedDump();
    const archive = join(tempDir(), 'dump.tar');
    writeFileSync(archive, tar(path, '-c', '.'));
    const { home, rsh } = farSide();
    const near = lazily(archive, rsh, '--json');
    let stdout = '';
    const landed = new Promise<{ pageServer: { port: number } }>((resolve) => {
      near.child.stdout.setEncoding('utf8').on('data', (text: string) => {
        stdout += text;
        if (stdout.includes('\n')) resolve(JSON.parse(stdout.split('\n')[0] as string));
      });
    });
    const { pageServer, ...rest } = await landed;
    const [out, where] = [join(home, 'out'), `--address 127.0.0.1 --port ${pageServer.port}`];
    expect(rest).toMatchObject({
      event: 'landed',
      out,
      restore: {
        lazyPages: `criu lazy-pages --page-server ${where} -D ${out} -W ${out} &`,
        restore: `criu restore --lazy-pages -D ${out} -W ${out} -d`,
      },
    });
    await visit(new PageClient(connection(pageServer.port), 24), oracle);
    expect(await exitOf(near.child)).toBe(0);
    const events = stdout
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line));
    expect(events.map(({ event }) => event)).toEqual(['landed', 'client', 'delivered']);
    expect(events[1]).toMatchObject({ closed: true, pages: 316 });
  });

  it('refuses an archive that cannot be read here and there', async () => {
    const archive = join(tempDir(), 'dump.tar.gz');
    writeFileSync(archive, tar(fixture('mosaic-criu-4.2.1'), '-c', '-z', '.'));
    const { home, rsh } = farSide();
    const { code, stderr } = await cli(['send', archive, 'far:out', '--lazy', '--rsh', rsh]);
    expect(code).toBe(1);
    expect(stderr).toMatch(/expected a directory or a plain tar archive/);
    expect(readdirSync(home)).toEqual([]);
  });

  it('holds up nobody for a client that takes nothing, and goes on when one is gone', async () => {
    const { path, oracle } = servedDump();
    const { rsh } = farSide();
    const near = lazily(path, rsh, '--keep');
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
    near.child.kill('SIGTERM');
    expect(await exitOf(near.child)).toBe(0);
  });

  it('can be run again when it was interrupted, and only then without --force', async () => {
    const { path, oracle } = servedDump();
    const { home, rsh } = farSide();
    const first = lazily(path, rsh);
    await portOf(first);
    first.child.kill('SIGINT');
    // The far side has the same stderr: it has ended as well.
    expect(await exitOf(first.child)).toBe(130);

    const second = lazily(path, rsh);
    await visit(new PageClient(connection(await portOf(second))), oracle);
    expect(await exitOf(second.child)).toBe(0);
    const third = lazily(path, rsh);
    expect(await exitOf(third.child)).toBe(1);
    expect(third.stderr.text).toMatch(/--force/);
    expect(readdirSync(home)).toEqual(['out']);
  });

  it.each([
    // As behind ssh: what the far side reads ends, what it writes goes on.
    ['near', 'cat | sh -c "$*" | cat'],
    ['far', KILLABLE],
  ])('leaves nobody behind at the far side when the %s one is killed', async (which, run) => {
    const { path } = servedDump();
    const { home, rsh } = farSide(run);
    const near = lazily(path, rsh);
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
    await portOf(near);
    kill(home, 'SIGTERM');
    expect(await exitOf(near.child)).toBe(1);
    expect(near.stderr.text).toMatch(/\npagepipe: error: far: the far side ended with exit code 143\n$/);
    expect(existsSync(join(home, 'out', UNDELIVERED))).toBe(true);
  });
});

const NOT_PAGEPIPE =
  'pagepipe: error: far: the far side printed something that is not from pagepipe\npagepipe: hint: does a startup file of its shell print something?\n';

describe('a far side that fails', () => {
  const sent = async (run: string, ...words: string[]) => {
    const { home, rsh } = farSide(run);
    const { child, stderr } = start(['send', fixture('mosaic-criu-4.2.1'), 'far:out', '--rsh', rsh, ...words]);
    return { code: await exitOf(child), stderr: stderr.text, left: readdirSync(home) };
  };

  it('has nothing half-made when the stream breaks off, wherever that is', async () => {
    const payload =
      /^stdin@0x[0-9a-f]+: expected \d+ more bytes of payload, found the end of the input: the stream was cut$/;
    const zstd = /^stdin: the zstd data is cut off or damaged after 0 plain bytes: .+$/;
    const connection = /^stdin: the connection ended before the sending side was done$/;
    const cuts: [bytes: number, error: RegExp, ...words: string[]][] = [
      [0, connection],
      [10, connection, '--lazy'],
      [500, zstd, '--compress'],
      [500, zstd, '--lazy', '--compress'],
      [20_000, payload],
      [20_000, payload, '--lazy'],
    ];
    for (const [bytes, error, ...words] of cuts) {
      const { code, stderr, left } = await sent(`head -c ${bytes} | sh -c "$*"`, ...words);
      const [first, ...rest] = stderr.split('pagepipe: error: ').slice(1);
      expect(first?.trimEnd()).toMatch(error);
      expect(rest).toEqual(['far: the far side ended with exit code 1\n']);
      expect([code, left]).toEqual([1, []]);
    }
  });

  it.each([
    ['exit 255', /^pagepipe: error: far: \/.*\/rsh could not connect\n$/],
    [
      'exit 127',
      `pagepipe: error: far: pagepipe was not found there\npagepipe: hint: say where it is with --pagepipe-path\n`,
    ],
    ['kill -9 $$', 'pagepipe: error: far: the far side ended with SIGKILL\n'],
    ['echo Welcome; exec sh -c "$*"', expect.stringContaining(NOT_PAGEPIPE)],
    ['cat', NOT_PAGEPIPE],
  ])('is told from others: %s', async (run, message) => {
    const { code, stderr, left } = await sent(run);
    expect(stderr).toEqual(
      typeof message === 'string' || !(message instanceof RegExp) ? message : expect.stringMatching(message),
    );
    expect([code, left]).toEqual([1, []]);
  });

  it('has nothing of a dump that cannot be read', async () => {
    const { home, rsh } = farSide();
    const stream = (await pagepipe(['read', fixture('mosaic-criu-4.2.1')])).bytes;
    const cut = await pagepipe(['send', '-', 'far:out', '--rsh', rsh], { input: stream.subarray(0, 100_000) });
    expect(cut.stderr).toMatch(/error: stdin.*: expected .*, found/);
    expect(cut.code).toBe(1);
    expect(readdirSync(home)).toEqual([]);
  });

  it('need not be ssh, but must be there', async () => {
    const { code, stderr } = await cli(['send', fixture('mosaic-criu-4.2.1'), 'far:out', '--rsh', '/nowhere/ssh -v']);
    expect([code, stderr]).toEqual([1, expect.stringMatching(/error: far: \/nowhere\/ssh cannot be run: .*ENOENT\n$/)]);
  });
});
