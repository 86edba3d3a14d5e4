/** Progress: one line, of one command of a pipe, also while nothing comes. */
import { closeSync, createReadStream, openSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import type { Io } from '../../src/commands/command.js';
import { Progress } from '../../src/commands/progress.js';
import { openDump, openDumpFiles } from '../../src/library/open-dump.js';
import { ERASE_LINE } from '../../src/printable.js';
import { archiveOf, rawMembers } from '../helpers/archives.js';
import { cli, runProcess } from '../helpers/cli.js';
import { fixture, ROOT, tempDir } from '../helpers/temp.js';

const MIB = 2 ** 20;

describe('progress', () => {
  let printed: string[];
  let fd: number;

  const start = (total = 0, io: Partial<Io> = {}) =>
    new Progress(
      { stderrIsTerminal: true, stdoutFd: fd, print: (text: string) => printed.push(text), ...io } as Io,
      () => total,
    );

  beforeEach(() => {
    vi.useFakeTimers();
    printed = [];
    fd = openSync('/dev/null', 'w');
  });

  afterEach(() => {
    vi.useRealTimers();
    closeSync(fd);
  });

  it('begins after a second, and says how much is left', () => {
    const progress = start(10 * MIB);
    progress.add(MIB);
    expect(printed).toEqual([]);
    vi.advanceTimersByTime(1500);
    progress.add(MIB);
    expect(printed.at(-1)).toBe(`${ERASE_LINE}2 MiB of 10 MiB, 1.33 MiB/s, 6 s left`);
    progress.done();
    expect(printed.at(-1)).toBe(ERASE_LINE);
    const { length } = printed;
    vi.advanceTimersByTime(5000);
    expect(printed).toHaveLength(length);
  });

  it('goes on while nothing comes, and says so', () => {
    const progress = start();
    progress.add(MIB);
    vi.advanceTimersByTime(4500);
    expect(printed.at(-1)).toBe(`${ERASE_LINE}1 MiB, nothing for 4 s`);
    progress.add(MIB);
    expect(printed.at(-1)).toBe(`${ERASE_LINE}2 MiB, 455 KiB/s`);
    progress.done();
  });

  it('is not there for other places than a terminal', () => {
    const progress = start(0, { stderrIsTerminal: false });
    progress.add(MIB);
    vi.advanceTimersByTime(5000);
    progress.done();
    expect(printed).toEqual([]);
  });
});

describe('in the log of a job', () => {
  const said: string[] = [];
  const logged = (total: number) =>
    new Progress(
      {
        stderrIsTerminal: false,
        stdoutFd: 1,
        logsProgress: true,
        tell: (text: string) => said.push(text),
      } as unknown as Io,
      () => total,
    );

  beforeEach(() => {
    vi.useFakeTimers();
    said.length = 0;
  });

  afterEach(() => {
    vi.useRealTimers();
  });

  it('is a line a minute', () => {
    const progress = logged(10 * MIB);
    for (let second = 0; second < 150; second++) {
      progress.add(MIB / 60);
      vi.advanceTimersByTime(1000);
    }
    expect(said).toEqual(['1 MiB of 10 MiB, 17.1 KiB/s, 540 s left', '2 MiB of 10 MiB, 17.1 KiB/s, 481 s left']);
    progress.done();
    vi.advanceTimersByTime(300_000);
    expect(said).toHaveLength(2);
  });

  it('also while nothing comes, and while nothing lets timers run', () => {
    const progress = logged(0);
    progress.add(MIB);
    vi.advanceTimersByTime(60_000);
    expect(said).toEqual(['1 MiB, nothing for 60 s']);
    vi.setSystemTime(Date.now() + 59_000);
    progress.add(MIB);
    expect(said).toHaveLength(1);
    vi.setSystemTime(Date.now() + 1000);
    progress.add(MIB);
    expect(said[1]).toMatch(/^3 MiB, /);
    progress.done();
  });
});

it('--progress changes nothing on a terminal, and says nothing of what is done at once', async () => {
  expect((await cli(['verify', fixture('mosaic-criu-4.2.1'), '--progress', '--json'])).stderr).toBe('');
});

describe('what reads a whole dump', () => {
  // A clock on which each look takes 300 ms.
  beforeEach(() => {
    let now = 0;
    vi.spyOn(Date, 'now').mockImplementation(() => (now += 300));
  });

  afterEach(() => {
    vi.restoreAllMocks();
  });

  const DUMP = fixture('family-criu-4.2.1');
  const compressed = () => archiveOf(DUMP, join(tempDir(), 'dump.tar.gz'), '-z');

  it.each([
    ['verify', () => ['verify', DUMP], /: no errors, \d+ warnings? in \d+ files\n$/],
    ['verify of what arrives', () => ['verify', compressed()], /: no errors, \d+ warnings? in \d+ files\n$/],
    ['verify of a dump with parents', () => ['verify', fixture('chain/mprotect00/3')], /: no errors, .*\n$/],
    ['x', () => ['x', DUMP, 'mems'], /^$/],
    ['x of what arrives', () => ['x', compressed(), 'mems'], /^$/],
  ])('says how much it has read, on a terminal: %s', async (_, words, last) => {
    const { code, stderr } = await cli(words(), { stderrIsTerminal: true });
    expect(code).toBe(0);
    const [before, ...lines] = stderr.split(ERASE_LINE);
    expect(before).toBe('');
    expect(lines.pop()).toMatch(last);
    expect(lines.length).toBeGreaterThan(0);
    for (const line of lines)
      expect(line).toMatch(/^([\d.]+ ([kKM]i?)?B, ([\d.]+ ([kKM]i?)?B\/s|nothing for \d+ s))?$/);
    expect((await cli(words())).stderr).not.toContain(ERASE_LINE);
  });

  it('counts what arrives, and all that is read of it', async () => {
    let bytes = 0;
    const path = compressed();
    const files = await openDumpFiles(path, { progress: (more) => (bytes += more) });
    files.close();
    const ofDump = files.entries().reduce((sum, { size }) => sum + size, 0);
    expect(bytes).toBe(ofDump);
  });

  it('counts what is held of an image on stdin before its dump begins', async () => {
    const dir = tempDir();
    const archive = fixture('podman/counter.oci.tar');
    let bytes = 0;
    const dump = await openDump(createReadStream(archive), { progress: (more) => (bytes += more) });
    dump.close();
    expect(bytes).toBe(rawMembers(readFileSync(archive)).reduce((sum, { data }) => sum + data.length, 0));
    // Of an archive that is cut off, nothing follows.
    const cut = join(dir, 'cut');
    writeFileSync(cut, readFileSync(archive).subarray(0, -8192));
    const { code, stderr } = await cli(['copy', '-', join(dir, 'out')], { stdin: cut, stderrIsTerminal: true });
    expect(code).toBe(1);
    expect(stderr.split(ERASE_LINE).at(-2)).toMatch(/^[\d.]+ [kKM]iB, [\d.]+ [kKM]iB\/s$/);
    expect(stderr.split(ERASE_LINE).at(-1)).toMatch(/^pagepipe: error: stdin@/);
  });

  it('goes away before something is written to the same terminal', () => {
    const printed: string[] = [];
    const fd = openSync('/dev/null', 'w');
    const progress = new Progress(
      { stderrIsTerminal: true, stdoutFd: fd, print: (text: string) => printed.push(text) } as unknown as Io,
      () => 0,
    );
    const write = progress.around(() => printed.push('written'));
    write(new Uint8Array(1));
    for (let i = 0; i < 5; i++) progress.add(MIB);
    write(new Uint8Array(1));
    progress.done();
    closeSync(fd);
    expect(printed.at(0)).toBe('written');
    expect(printed.slice(-2)).toEqual([ERASE_LINE, 'written']);
  });
});

it('is of the last command of a pipe alone', async () => {
  const script = `
    const { Progress } = await import(process.argv[1]);
    const said = [];
    const progress = new Progress({ stderrIsTerminal: true, stdoutFd: 1, print: (text) => said.push(text) }, () => 0);
    process.stderr.write(String(progress.timer !== undefined));
    progress.done();`;
  const built = join(ROOT, 'dist/commands/progress.js');
  const dir = tempDir();
  const run = (where: string) =>
    runProcess('bash', ['-c', `"$NODE" --input-type=module -e "$SCRIPT" "$BUILT" ${where}`], {
      cwd: dir,
      env: { ...process.env, NODE: process.execPath, SCRIPT: script, BUILT: built },
    });
  expect(await run('| cat')).toMatchObject({ code: 0, stderr: 'false' });
  expect(await run('> file')).toMatchObject({ code: 0, stderr: 'true' });
});
