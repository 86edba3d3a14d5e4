/** How bin/pagepipe.js starts: the bundle, and what it keeps of it between runs. */
import { execFileSync, spawnSync } from 'node:child_process';
import {
  chmodSync,
  chownSync,
  cpSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  statSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { expect, test } from 'vitest';
import { sourceStack } from '../src/source-stack.js';
import { BIN } from './helpers/cli.js';
import { fixture, ROOT, tempDir } from './helpers/temp.js';

const INVENTORY = join(fixture('family-criu-4.2.1'), 'inventory.img');

/** Runs `info` with a folder for caches; returns what it prints. */
function info(caches: string, env: NodeJS.ProcessEnv = {}): string {
  return execFileSync(process.execPath, [BIN, 'info', INVENTORY], {
    env: { ...process.env, XDG_CACHE_HOME: caches, ...env },
    encoding: 'utf8',
  });
}

const cacheOf = (caches: string): string => {
  const key = readdirSync(join(caches, 'pagepipe')).find((name) => /^[0-9a-f]{16}-/.test(name)) ?? '';
  return join(caches, 'pagepipe', key, 'info');
};

const modeOf = (path: string): string => (statSync(path).mode & 0o7777).toString(8);

test('the compiled form is kept for the next run, closed to everybody else', () => {
  const caches = tempDir();
  const first = info(caches);
  const file = cacheOf(caches);
  expect([join(caches, 'pagepipe'), join(file, '..'), file].map(modeOf)).toEqual(['700', '700', '600']);
  const { ino } = statSync(file);
  expect(info(caches)).toBe(first);
  expect(statSync(file).ino).toBe(ino);
});

test('the help of a command does not leave its own compiled form to the command', () => {
  const caches = tempDir();
  const env = { ...process.env, XDG_CACHE_HOME: caches };
  execFileSync(process.execPath, [BIN, 'info', '--help'], { env });
  const folder = dirname(cacheOf(caches));
  expect(readdirSync(folder)).toEqual(['info--help']);
  info(caches);
  expect(readdirSync(folder)).toEqual(['info', 'info--help']);
});

test('a damaged compiled form is made anew', () => {
  const caches = tempDir();
  const first = info(caches);
  const file = cacheOf(caches);
  const bytes = readFileSync(file);
  bytes.fill(0, bytes.length / 2);
  writeFileSync(file, bytes);
  expect(info(caches)).toBe(first);
  expect(readFileSync(file).subarray(-100)).not.toEqual(Buffer.alloc(100));
});

test('a folder that others can enter is neither read nor written', () => {
  const caches = tempDir();
  const first = info(caches);
  const file = cacheOf(caches);
  writeFileSync(file, 'not made by V8');
  chmodSync(join(caches, 'pagepipe'), 0o755);
  expect(info(caches)).toBe(first);
  expect(readFileSync(file, 'utf8')).toBe('not made by V8');
});

test('the folders used last and those used recently are kept, the others removed', () => {
  const caches = tempDir();
  const hours = (count: number) => Date.now() / 1000 - count * 3600;
  const folderOf = (name: string, hoursUnused: number) => {
    const folder = join(caches, 'pagepipe', name);
    mkdirSync(folder, { recursive: true, mode: 0o700 });
    writeFileSync(join(folder, 'read'), '');
    utimesSync(folder, hours(hoursUnused), hours(hoursUnused));
    return name;
  };
  const recent = Array.from({ length: 3 }, (_, i) => folderOf(`recent-${i}`, 1));
  const last = Array.from({ length: 10 }, (_, i) => folderOf(`last-${i}`, 3 + i));
  for (let i = 0; i < 3; i++) folderOf(`old-${i}`, 48 + i);
  chmodSync(join(caches, 'pagepipe'), 0o700);
  info(caches);
  const made = dirname(cacheOf(caches));
  const names = () => readdirSync(join(caches, 'pagepipe')).sort();
  expect(names()).toEqual([basename(made), ...last, ...recent].sort());

  // The one in use gets a new time, but not at each start.
  utimesSync(made, hours(2), hours(2));
  info(caches);
  const { mtimeMs } = statSync(made);
  expect(mtimeMs / 1000).toBeGreaterThan(hours(1));
  info(caches);
  expect(statSync(made).mtimeMs).toBe(mtimeMs);
});

test.skipIf(process.getuid?.() !== 0)('nothing is left in a folder of somebody else', () => {
  const caches = tempDir();
  chownSync(caches, 65534, 65534);
  info(caches);
  expect(readdirSync(caches)).toEqual([]);
});

test('a folder that cannot be looked into is no reason to fail', () => {
  // As root may look into every folder, it is a link to itself.
  const caches = join(tempDir(), 'loop');
  symlinkSync('loop', caches);
  expect(info(caches)).toContain('INVENTORY');
});

test('nothing is kept if Node is told so, or if there is no home', () => {
  const caches = tempDir();
  info(caches, { NODE_DISABLE_COMPILE_CACHE: '1' });
  info('', { HOME: '' });
  expect(readdirSync(caches)).toEqual([]);
});

test('a tree that was not built says what to do', () => {
  const root = tempDir();
  mkdirSync(join(root, 'bin'));
  cpSync(join(ROOT, 'bin'), join(root, 'bin'), { recursive: true });
  const { status, stderr } = spawnSync(process.execPath, [join(root, 'bin/pagepipe.js'), 'info'], { encoding: 'utf8' });
  expect(stderr).toBe('pagepipe: error: dist/ is missing\npagepipe: hint: npm ci && npm run build\n');
  expect(status).toBe(1);
});

test('the stack of a bug names the lines of the sources', () => {
  const bundle = join(ROOT, 'dist/pagepipe.cjs');
  const lines = readFileSync(bundle, 'utf8').split('\n');
  const line = lines.findIndex((text) => text.includes('payload is complete before the next record'));
  const place = `${bundle}:${line + 1}:${(lines[line] as string).indexOf('payload is complete before the next record') + 1}`;
  expect(sourceStack(`Error: x\n    at f (${place})\n    at g (node:fs:1:1)`)).toMatch(
    /^Error: x\n {4}at f \(src\/[a-z/-]+\.ts:\d+:\d+\)\n {4}at g \(node:fs:1:1\)$/,
  );
});
