/** Pipes with both ends in this process. */
import { spawnSync } from 'node:child_process';
import { constants, openSync } from 'node:fs';
import { join } from 'node:path';
import { expect } from 'vitest';
import { tempDir } from './temp.js';

/** A pipe that is to be closed by the test. */
export function pipe(): { readFd: number; writeFd: number } {
  const path = join(tempDir(), 'pipe');
  expect(spawnSync('mkfifo', [path]).status).toBe(0);
  const readFd = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
  return { readFd, writeFd: openSync(path, constants.O_WRONLY) };
}
