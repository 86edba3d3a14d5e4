/** Temporary directories, and what a tree of files looks like. */
import { createHash } from 'node:crypto';
import { chmodSync, cpSync, lstatSync, mkdtempSync, readdirSync, readFileSync, readlinkSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { onTestFinished } from 'vitest';

export const ROOT = fileURLToPath(new URL('../..', import.meta.url));

/** A dump among the fixtures. */
export const fixture = (name: string): string => join(ROOT, 'fixtures', name);

/** Dumps of running processes; the chains' first dumps are pre-dumps, which hold memory alone. */
export const FIXTURES = [
  'mosaic-criu-4.1.1',
  'mosaic-criu-4.2.1',
  'family-criu-4.2.1',
  'chain/mprotect00/3',
  'chain/socket_queues/3',
] as const;

/** A directory that is removed when the test ends. */
export function tempDir(): string {
  const path = mkdtempSync(join(tmpdir(), 'pagepipe-test-'));
  // What is made of a dump in a private folder is private, too.
  chmodSync(path, 0o755);
  onTestFinished(() => rmSync(path, { recursive: true, force: true }));
  return path;
}

/** Copies a fixture into a directory, with the dumps that it builds on; returns where the dump is. */
export function copyFixture(name: string, into: string): string {
  const chain = /^chain\/[^/]+/.exec(name)?.[0];
  cpSync(fixture(chain ?? name), join(into, chain ? 'chain' : 'dump'), { recursive: true, verbatimSymlinks: true });
  return join(into, chain ? name.replace(chain, 'chain') : 'dump');
}

/** A copy of a fixture, and a place next to it for what is made of it. */
export function dumpAndOut(name: string): { dump: string; out: string } {
  const dump = copyFixture(name, tempDir());
  return { dump, out: join(dirname(dump), 'out') };
}

/** Files below a directory that this process has open, removed ones as well. */
export function openFiles(directory: string): string[] {
  const targets = readdirSync('/proc/self/fd').map((fd) => {
    try {
      return readlinkSync(`/proc/self/fd/${fd}`);
    } catch {
      return ''; // The one that lists the folder is closed by now.
    }
  });
  return targets.filter((target) => target.startsWith(`${directory}/`));
}

/** Every entry of a tree: name, kind, mode, and content or target. */
export function describeTree(root: string): string[] {
  const lines: string[] = [];
  const walk = (folder: string) => {
    for (const bare of readdirSync(join(root, folder)).sort()) {
      const name = join(folder, bare);
      const path = join(root, name);
      const stats = lstatSync(path);
      const mode = (stats.mode & 0o7777).toString(8);
      if (stats.isSymbolicLink()) lines.push(`${name} -> ${readlinkSync(path)}`);
      else if (stats.isDirectory()) {
        lines.push(`${name}/ ${mode}`);
        walk(name);
      } else if (stats.isFile()) {
        lines.push(`${name} ${mode} ${createHash('sha1').update(readFileSync(path)).digest('hex')}`);
      } else lines.push(`${name} special`);
    }
  };
  lines.push(`. ${(lstatSync(root).mode & 0o7777).toString(8)}`);
  walk('');
  return lines;
}
