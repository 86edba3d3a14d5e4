import { closeSync, openSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import type { Io } from '../../src/commands/command.js';
import { Messages } from '../../src/commands/messages.js';
import { command } from '../../src/commands/verify.js';
import { DumpError, UsageError } from '../../src/errors.js';
import { pipe } from '../helpers/pipe.js';
import { describeTree, fixture, tempDir } from '../helpers/temp.js';
import { copyOf, findingsOf } from './harness.js';

interface Outcome {
  stdout: string;
  stderr: string;
  /** What ends the command: the command line makes exit code 1 of a DumpError, and 2 of a UsageError. */
  error: unknown;
}

/** Runs the command, with a file as stdout if no other descriptor is given. */
async function run(input: string[], flags: Record<string, unknown> = {}, stdoutFd?: number): Promise<Outcome> {
  const file = join(tempDir(), 'stdout');
  const fd = stdoutFd ?? openSync(file, 'w');
  const outcome: Outcome = { stdout: '', stderr: '', error: undefined };
  const print = (text: string) => {
    outcome.stderr += text;
  };
  const messages = new Messages(print, { prefix: 'pagepipe', json: false, quiet: false });
  const io = { stdoutFd: fd, tell: messages.tell, warn: messages.warn } as unknown as Io;
  try {
    await command.run({ input, flags }, io);
  } catch (error) {
    outcome.error = error;
  } finally {
    if (stdoutFd === undefined) closeSync(fd);
  }
  if (stdoutFd === undefined) outcome.stdout = readFileSync(file, 'utf8');
  return outcome;
}

const messageOf = (error: unknown): string => {
  expect(error).toBeInstanceOf(DumpError);
  return (error as DumpError).message;
};

describe('verify', () => {
  test('says nothing on stdout of a healthy dump, and that it is one on stderr', async () => {
    const path = fixture('family-criu-4.2.1');
    expect(await run([path])).toEqual({
      stdout: '',
      stderr: `pagepipe: ${path}: no errors, 0 warnings in 33 files\n`,
      error: undefined,
    });
  });

  test('a line for each finding, and a summary that is an error', async () => {
    const { path } = copyOf('mosaic-criu-4.2.1').remove('core-17.img').write('pages-9.img', '');
    const { stdout, stderr, error } = await run([path]);
    expect(stdout).toBe(
      'core-17.img: expected this image, named by pstree.img, found none\n' +
        'pages-9.img: warning: expected a pagemap with pages_id 9, found none\n',
    );
    expect(stderr).toBe('');
    expect(messageOf(error)).toBe(`${path}: 1 error, 1 warning in 18 files`);
  });

  test('warnings alone are no failure', async () => {
    const { path } = copyOf('mosaic-criu-4.2.1').write('pages-9.img', '');
    const { stderr, error } = await run([path]);
    expect(error).toBeUndefined();
    expect(stderr).toBe(`pagepipe: ${path}: no errors, 1 warning in 19 files\n`);
  });

  test('--json: an object on each line', async () => {
    const { path } = copyOf('mosaic-criu-4.2.1').resize('core-17.img', -3).write('pages-9.img', '');
    const { stdout, error } = await run([path], { json: true });
    expect(messageOf(error)).toBe(`${path}: 1 error, 1 warning in 19 files`);
    const lines = stdout.split('\n');
    expect(lines.pop()).toBe('');
    expect(lines[0]).toBe(
      '{"code":"TRUNCATED","severity":"error","file":"core-17.img","offset":8,"entry":0,"message":"expected an entry of 711 bytes with its size, found 708"}',
    );
    const summary = { event: 'summary', complete: true, errors: 1, warnings: 1, files: 19 };
    expect(lines.map((line) => JSON.parse(line))).toEqual([...findingsOf(path), summary]);
  });

  test('writes nothing', async () => {
    const { path } = copyOf('mosaic-criu-4.2.1').resize('core-17.img', -3);
    const before = describeTree(path);
    await run([path]);
    expect(describeTree(path)).toEqual(before);
  });

  test('the verdict does not depend on who reads the findings', async () => {
    // Whatever is written there fails with EPIPE.
    const fifo = brokenPipe();
    try {
      const { path } = copyOf('mosaic-criu-4.2.1').remove('core-17.img');
      expect(messageOf((await run([path], {}, fifo)).error)).toBe(`${path}: 1 error, 0 warnings in 17 files`);
    } finally {
      closeSync(fifo);
    }
  });

  test('what is no dump, and wrong usage', async () => {
    const file = join(fixture('mosaic-criu-4.2.1'), 'pstree.img');
    expect(messageOf((await run([file])).error)).toBe(
      `${file}: expected a dump directory, tar, shards or a page stream, found an image`,
    );
    expect(messageOf((await run([file], { from: 'directory' })).error)).toBe(
      `${file}: expected a directory with images, found something else`,
    );
    expect(messageOf((await run([join(file, 'no')])).error)).toBe(`${join(file, 'no')}: not a directory (ENOTDIR)`);
    expect((await run([])).error).toBeInstanceOf(UsageError);
    expect((await run([file], { pageSize: 100 })).error).toBeInstanceOf(UsageError);
  });

  test('--page-size', async () => {
    const dump = fixture('mosaic-criu-4.2.1');
    const { error, stdout } = await run([dump], { pageSize: 8192 });
    expect(messageOf(error)).toBe(`${dump}: 4 errors, 0 warnings in 18 files`);
    expect(stdout.split('\n')[0]).toBe(
      'mm-15.img@0xc entry 0: expected an mm_entry, found something else: an area that is not aligned to 8192 bytes, at 0x401000',
    );
  });
});

/** A descriptor of a pipe whose reader has gone. */
function brokenPipe(): number {
  const { readFd, writeFd } = pipe();
  closeSync(readFd);
  return writeFd;
}
