/** The modes of files and directories that are made from foreign data. */
import { realpathSync, statSync } from 'node:fs';
import { dirname } from 'node:path';

/** As the umask allows, and without setuid, setgid and sticky bits. */
export const permitted = (mode: number): number => mode & 0o777 & ~process.umask();

const GROUP = { search: 0o010, all: 0o070 };
const OTHERS = { search: 0o001, all: 0o007 };

/**
 * Who can reach a file or directory through the folders above it, as a mask of permission bits. A copy elsewhere must not be
 * open to more people.
 * @param output the folder of the output: folders above both keep the output private as well
 * @throws what a failing system call throws
 */
export function reachOf(source: string, output?: string): number {
  const stats = statSync(source);
  // A pipe is in no folder.
  if (!stats.isFile() && !stats.isDirectory()) return 0o777;
  const shared = output === undefined ? [] : foldersOf(realpathSync(output));
  let reach = 0o777;
  for (const folder of foldersOf(dirname(realpathSync(source)))) {
    if (shared.includes(folder)) break;
    const { mode } = statSync(folder);
    for (const { search, all } of [GROUP, OTHERS]) if (!(mode & search)) reach &= ~all;
  }
  return reach;
}

/** A folder and those above it, from the inside out. */
function foldersOf(folder: string): string[] {
  const folders = [folder];
  for (let at = folder; at !== dirname(at); at = dirname(at)) folders.push(dirname(at));
  return folders;
}
