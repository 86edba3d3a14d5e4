/** Pipes with a name, and pipes with both ends in this process. */
import { execFileSync } from 'node:child_process';
import { constants, mkdtempSync, openSync, renameSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { tempDir } from './temp.js';

/** To start a process takes as long as many a test, so one makes several pipes. */
const AT_ONCE = 32;
const spare: string[] = [];

/** Makes a pipe with a name. */
export function makePipe(path: string): void {
  if (spare.length === 0) {
    const folder = mkdtempSync(join(tmpdir(), 'pagepipe-pipes-'));
    process.on('exit', () => rmSync(folder, { recursive: true, force: true }));
    for (let i = 0; i < AT_ONCE; i++) spare.push(join(folder, String(i)));
    execFileSync('mkfifo', spare);
  }
  renameSync(spare.pop() as string, path);
}

/** A pipe that is to be closed by the test. */
export function pipe(): { readFd: number; writeFd: number } {
  const path = join(tempDir(), 'pipe');
  makePipe(path);
  const readFd = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
  return { readFd, writeFd: openSync(path, constants.O_WRONLY) };
}
