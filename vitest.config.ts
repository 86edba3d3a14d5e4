import { defineConfig } from 'vitest/config';

/** These replace `node:fs`, which files that share modules would all see. */
const ALONE = [
  'test/containers/containers.test.ts',
  'test/io/atomic-directory.test.ts',
  'test/io/atomic-file.test.ts',
  'test/robustness.test.ts',
  'test/split-faults.test.ts',
];

const common = {
  setupFiles: ['test/setup.ts'],
  testTimeout: 60_000,
  hookTimeout: 60_000,
  restoreMocks: true,
  unstubEnvs: true,
};

export default defineConfig({
  test: {
    // One for each core of a small machine: with fewer the tests take twice as long.
    maxWorkers: 2,
    projects: [
      { test: { ...common, name: 'shared', include: ['test/**/*.test.ts'], exclude: ALONE } },
      { test: { ...common, name: 'alone', include: ALONE } },
    ],
  },
});
