import { readdirSync, readFileSync, statfsSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { defineConfig, type Plugin } from 'vitest/config';
import { BaseSequencer, type TestSpecification } from 'vitest/node';

const ROOT = import.meta.dirname;
const FILES = readdirSync('test', { recursive: true, encoding: 'utf8' })
  .map((name) => `test/${name}`)
  .filter((name) => name.endsWith('.test.ts'));
/** These replace modules, or measure how much memory a process has had at most, and so have a process of their own. */
const ALONE = FILES.filter((name) => /vi\.mock\(|resourceUsage\(/.test(readFileSync(name, 'utf8')));

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

/** What the tests import from `src/` is what the build made of it: modules that Node loads itself take less time. */
const built: Plugin = {
  name: 'built',
  enforce: 'pre',
  resolveId(name, importer) {
    if (importer === undefined || !name.startsWith('.')) return;
    const path = resolve(dirname(importer), name);
    const source = join(ROOT, 'src/');
    if (path.startsWith(source)) return join(ROOT, 'dist', path.slice(source.length));
  },
};

/** Files with a process of their own come first: between the others each of them would end a process that those share. */
class AloneFirst extends BaseSequencer {
  override async sort(files: TestSpecification[]): Promise<TestSpecification[]> {
    const sorted = await super.sort(files);
    const isAlone = (file: TestSpecification) => file.project.name === 'alone';
    return [...sorted.filter(isAlone), ...sorted.filter((file) => !isAlone(file))];
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
    sequence: { sequencer: AloneFirst },
    globalSetup: ['test/fresh-build.ts'],
    projects: [
      // Loading all modules for each file would take a third of the time.
      {
        plugins: [built],
        test: {
          ...common,
          // Large buffers come and go, and a page fault is dear on a virtual machine: malloc asks for huge pages.
          env: { ...common.env, GLIBC_TUNABLES: 'glibc.malloc.hugetlb=1' },
          name: 'shared',
          isolate: false,
          execArgv: [
            // Tests leave much garbage: with V8's own limit, collecting it takes a tenth of the time.
            '--max-semi-space-size=64',
            // Threads that help to collect it would take the cores from the other worker.
            '--single-threaded-gc',
            // Most code runs for one file only. V8's optimizing compiler would take a fifth of the time, for code that is soon
            // left. So it gets six times its usual patience, and the compiler that takes little compiles everything at once.
            '--interrupt-budget=400000',
            '--always-sparkplug',
          ],
          include: FILES,
          exclude: ALONE,
          server: { deps: { external: [/\/dist\//] } },
        },
      },
      // A module can be replaced only where vitest loads it.
      { test: { ...common, name: 'alone', include: ALONE } },
    ],
  },
});
