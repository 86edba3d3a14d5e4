/**
 * Which members of an archive are the dump. Container engines put the images under `checkpoint/`, next to the rest of the
 * container; `tar -C DUMP` puts them at the top. The folder of the first image is the dump, and everything else is outside.
 * But a folder `parent` is another dump, which the one around it builds on.
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

/** Looks for the folder of the dump, with a slash at its end; it is empty for the top of the archive. */
export class RootFinder {
  /** The outermost folder `parent` with images so far. */
  private parent: string | undefined;

  /** Takes the next member; returns the folder once it is known. */
  take({ name, kind }: TarMember): string | undefined {
    if (kind !== 'regular' || !isImageName(posix.basename(name))) return undefined;
    const folder = posix.dirname(name) === '.' ? '' : `${posix.dirname(name)}/`;
    if (!`/${folder}`.endsWith('/parent/')) return folder;
    if (this.parent === undefined || folder.length < this.parent.length) this.parent = folder;
    return undefined;
  }

  /**
   * Called after the last member, if no folder was found: a dump may be in a folder of any name.
   * @throws {DumpError} NOT_A_DUMP
   */
  end(file: string): string {
    if (this.parent !== undefined) return this.parent;
    throw new DumpError('NOT_A_DUMP', 'expected a dump, found no image in the archive', { file });
  }
}

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
    throw new DumpError('UNSUPPORTED', `expected files in the dump, found a device or fifo: ${name}`, { file, offset });
  }
  const own = name.slice(root.length);
  if (!isPagesName(own)) checkHoles(own, member.size, member.storedBytes);
  return own;
}

/** The file that a hard link of the dump is: its name in the dump, which is none for what is outside. */
export const hardLinkPlace = ({ target = '' }: TarMember, root: string): string =>
  target.startsWith(root) ? target.slice(root.length) : '';

/** The error for a link whose file cannot take its place. */
export const noCopy = ({ name: file, kind }: Pick<TarMember, 'name' | 'kind'>): DumpError =>
  new DumpError('UNSUPPORTED', `expected a file, found a ${kind === 'link' ? 'link' : 'hard link'}`, {
    file,
    hint: 'links to small files are followed; tar -h --hard-dereference makes files of all links',
  });

/** Outside the dump, hard links and devices stay as they are. */
export const entryKind = ({ kind }: TarMember): 'regular' | 'link' | 'directory' =>
  kind === 'link' || kind === 'directory' ? kind : 'regular';

/** Permission bits of the directory that an archive becomes: what a dump holds is private, and archives seldom say otherwise. */
export const DIRECTORY_MODE = 0o700;
