/**
 * Which members of an archive are the dump. Container engines put the images under `checkpoint/`, next to the rest of the
 * container; `tar -C DUMP` puts them at the top. The folder of the first image is the dump, and everything else is outside.
 */
import { posix } from 'node:path';
import { checkFileName, isImageName, isPagesName, OUTSIDE } from '../../dump/names.js';
import { DumpError } from '../../errors.js';
import { checkHoles } from '../../io/holes.js';
import type { TarMember } from './headers.js';

/** Throws {@link DumpError} BAD_NAME for a name that leads outside, MALFORMED for a link or a folder with bytes. */
export function checkTarMember({ name, kind, offset, storedBytes }: TarMember, file: string): void {
  if (name !== '' && name !== '.') checkFileName(name, file, offset);
  if (storedBytes === 0 || (kind !== 'link' && kind !== 'directory')) return;
  const what = kind === 'link' ? 'link' : 'folder';
  throw new DumpError('MALFORMED', `expected a ${what} without bytes, found ${storedBytes}: ${name}`, { file, offset });
}

/** Whether a member is an image by its name. */
export const isImage = ({ name, kind }: TarMember): boolean => kind === 'regular' && isImageName(posix.basename(name));

/** The folder that a member is in, with a slash at its end; empty for the top. */
export const folderOf = ({ name }: TarMember): string => (posix.dirname(name) === '.' ? '' : `${posix.dirname(name)}/`);

/**
 * What a member is to the dump in the folder `root`: its name there, or one that begins with `../` for what is outside. The
 * folder itself and the top of the archive are outside.
 * @throws {DumpError} BAD_NAME, UNSUPPORTED for what a dump cannot hold, LIMIT for a file that is holes alone
 */
export function nameInDump(member: TarMember, root: string, file: string): string {
  const { name, kind, offset } = member;
  if (!name.startsWith(root) || name === '' || name === '.' || kind === 'other') return `${OUTSIDE}${name || '.'}`;
  // What was no UTF-8.
  if (name.includes('\uFFFD')) {
    throw new DumpError('BAD_NAME', `expected file names in UTF-8, found ${JSON.stringify(name)}`, { file, offset });
  }
  if (kind === 'special') {
    throw new DumpError('UNSUPPORTED', `expected files in the dump, found a hard link, device or fifo: ${name}`, {
      file,
      offset,
      hint: 'tar --hard-dereference makes files of hard links',
    });
  }
  const own = name.slice(root.length);
  if (!isPagesName(own)) checkHoles(own, member.size, member.storedBytes);
  return own;
}

/** Only an archive takes hard links and devices, unchanged. */
export const entryKind = ({ kind }: TarMember): 'regular' | 'link' | 'directory' =>
  kind === 'link' || kind === 'directory' ? kind : 'regular';

/** Permission bits of the directory that an archive becomes: what a dump holds is private, and archives seldom say otherwise. */
export const DIRECTORY_MODE = 0o700;
