/** Runs before all tests, which look at what the build made. An old build would say nothing about the source. */
import { existsSync, readdirSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { ROOT } from './helpers/temp.js';

const newestMs = (folder: string): number =>
  Math.max(
    0,
    ...readdirSync(join(ROOT, folder), { recursive: true, encoding: 'utf8' })
      .filter((name) => /\.[jt]s$/.test(name))
      .map((name) => statSync(join(ROOT, folder, name)).mtimeMs),
  );

export function setup(): void {
  if (existsSync(join(ROOT, 'dist/cli.js')) && newestMs('src') <= newestMs('dist')) return;
  throw new Error('dist/ is older than src/: run npm run build before the tests');
}
