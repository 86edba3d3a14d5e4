/** Files of dumps from wherever they are, closed at the end of the test. */
import { onTestFinished } from 'vitest';
import type { HoldOptions } from '../../src/arrival/hold.js';
import { type OpenOptions, openFiles } from '../../src/arrival/open.js';
import { DirectoryFiles, type DirectoryOptions } from '../../src/containers/directory/files.js';
import type { DumpFiles } from '../../src/dump/files.js';
import { tempDir } from './temp.js';

/** Those of a directory; nothing is open before something is read. */
export function directory(path: string, options: DirectoryOptions = {}): DirectoryFiles {
  const files = new DirectoryFiles(path, options);
  onTestFinished(() => files.close());
  return files;
}

type SourceOptions = Partial<OpenOptions & Pick<HoldOptions, 'pages' | 'outside'>>;

/** Those of any source, what arrives held; the caller closes them. */
export const openSource = (path: string, options: SourceOptions = {}): Promise<DumpFiles> =>
  openFiles(path, {
    budget: { bytes: 2 ** 19, directory: tempDir() },
    maxBytes: Number.MAX_SAFE_INTEGER,
    stdinFd: 0,
    signal: new AbortController().signal,
    ...options,
  });

/** The same, closed at the end of the test. */
export async function sourceFiles(path: string, options: SourceOptions = {}): Promise<DumpFiles> {
  const files = await openSource(path, options);
  onTestFinished(() => files.close());
  return files;
}

/** Names of regular files, and of links that lead to one. */
export const namesOf = (files: DumpFiles): string[] =>
  files
    .entries()
    .map(({ name }) => name)
    .filter((name) => files.stat(name));

/** All of a file. */
export function contentOf(files: DumpFiles, name: string): Buffer {
  const bytes = Buffer.alloc((files.stat(name)?.size ?? 0) + 1);
  let at = 0;
  for (let count = -1; count !== 0; at += count) count = files.readSome(name, bytes.subarray(at), at);
  return bytes.subarray(0, at);
}
