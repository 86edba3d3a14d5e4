import { readdirSync, readFileSync, statfsSync } from 'node:fs';
import { defineConfig } from 'vitest/config';

const FILES = readdirSync('test', { recursive: true, encoding: 'utf8' })
  .map((name) => `test/${name}`)
  .filter((name) => name.endsWith('.test.ts'));
/** These replace modules, or measure memory, and so have a process of their own. */
const ALONE = FILES.filter((name) => /vi\.mock\(|memoryUsage\(|resourceUsage\(/.test(readFileSync(name, 'utf8')));

/** Tests make and remove many small files, which a disk is slow at. Some write much, and some run what they wrote. */
const MEMORY = '/dev/shm';
const MEMORY_BYTES = 2 * 1024 ** 3;

function hasMemory(): boolean {
  try {
    const mount = readFileSync('/proc/mounts', 'utf8')
      .split('\n')
      .find((line) => line.includes(` ${MEMORY} tmpfs `));
    const { bavail, bsize } = statfsSync(MEMORY);
    return mount !== undefined && !/\b(noexec|ro)\b/.test(mount) && bavail * bsize >= MEMORY_BYTES;
  } catch {
    return false;
  }
}

const common = {
  setupFiles: ['test/setup.ts'],
  // A busy machine may take ten times as long.
  testTimeout: 120_000,
  hookTimeout: 120_000,
  restoreMocks: true,
  unstubEnvs: true,
  env: process.env['TMPDIR'] === undefined && hasMemory() ? { TMPDIR: MEMORY } : {},
};

export default defineConfig({
  test: {
    // One for each core of a small machine: with fewer the tests take twice as long.
    maxWorkers: 2,
    projects: [
      // Loading all modules for each file would take a third of the time.
      { test: { ...common, name: 'shared', isolate: false, include: FILES, exclude: ALONE } },
      { test: { ...common, name: 'alone', include: ALONE } },
    ],
  },
});
