/** Many files of a directory are synced together, where the system has a call for that. */
import { openSync, readdirSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { beforeEach, expect, it, vi } from 'vitest';
import { AtomicDirectory } from '../../src/io/atomic-directory.js';
import { openFiles, tempDir } from '../helpers/temp.js';

const FILES = 200;
const calls = vi.hoisted(() => ({ together: 0, each: 0, result: 0, isThere: true }));

vi.mock('node:fs', async (original) => {
  const fs = await original<typeof import('node:fs')>();
  const fsync = (fd: number, done: (error: Error | null) => void) => {
    calls.each++;
    fs.fsync(fd, done);
  };
  const fsyncSync = (fd: number) => {
    calls.each++;
    fs.fsyncSync(fd);
  };
  return { ...fs, fsync, fsyncSync };
});

vi.mock('../../src/io/linux.js', () => ({
  linux: () =>
    calls.isThere
      ? {
          syncFileSystem: async () => {
            calls.together++;
            return calls.result;
          },
        }
      : undefined,
}));

beforeEach(() => Object.assign(calls, { together: 0, each: 0, result: 0, isThere: true }));

/** Makes a directory of many files; returns how many are in it. */
async function make(): Promise<number> {
  const out = join(tempDir(), 'out');
  const directory = new AtomicDirectory(out);
  for (let i = 0; i < FILES; i++) {
    const fd = openSync(join(directory.temporary, `file-${i}`), 'w');
    writeSync(fd, 'x');
    await directory.finishFile(fd, `file-${i}`);
  }
  await directory.commit(0o700);
  return readdirSync(out).length;
}

it('syncs the first files one by one and the others together', async () => {
  expect(await make()).toBe(FILES);
  expect(calls).toMatchObject({ together: 1, each: 66 });
});

it('syncs each file if that fails, to report what is wrong', async () => {
  calls.result = -1;
  expect(await make()).toBe(FILES);
  expect(calls).toMatchObject({ together: 1, each: FILES + 2 });
});

it('syncs each file without system calls', async () => {
  calls.isThere = false;
  expect(await make()).toBe(FILES);
  expect(calls).toMatchObject({ together: 0, each: FILES + 2 });
});

it('closes what it opened if it is given up', async () => {
  const dir = tempDir();
  const directory = new AtomicDirectory(join(dir, 'out'));
  for (let i = 0; i < FILES; i++) {
    await directory.finishFile(openSync(join(directory.temporary, `file-${i}`), 'w'), `file-${i}`);
  }
  await directory.discard();
  expect(openFiles(dir)).toEqual([]);
  expect(readdirSync(dir)).toEqual([]);
});
