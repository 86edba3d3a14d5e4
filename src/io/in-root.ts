/**
 * Names as a process sees them whose root is a folder here, such as that of a container. As after chroot(2), an absolute link
 * begins at that root and `..` does not lead out of it, so a hostile root shows no file of this machine.
 */
import { lstatSync, readlinkSync } from 'node:fs';
import { join } from 'node:path';
import { onFile, systemError } from '../errors.js';

/** As many links as the kernel follows in one name. */
const MAX_LINKS = 40;

/** What the kernel says of more. */
const LOOP = Object.assign(new Error('ELOOP'), { code: 'ELOOP', errno: -40, syscall: 'open' });

/**
 * The path here of a file, which need not exist: no part of it below the root is a link.
 * @param root without links
 * @throws {DumpError} SYSTEM for a name that cannot be followed
 */
export function pathInRoot(root: string, name: string): string {
  const parts: string[] = [];
  const rest = name.split('/').reverse();
  for (let links = 0; rest.length > 0; ) {
    const part = rest.pop() as string;
    if (part === '' || part === '.') continue;
    if (part === '..') {
      parts.pop();
      continue;
    }
    parts.push(part);
    const target = linkAt(join(root, ...parts));
    if (target === undefined) continue;
    if (++links > MAX_LINKS) throw systemError(LOOP, name);
    if (target.startsWith('/')) parts.length = 0;
    else parts.pop();
    rest.push(...target.split('/').reverse());
  }
  return join(root, ...parts);
}

/** Where a link leads; undefined for what is none. */
const linkAt = (path: string): string | undefined =>
  onFile(path, () => (lstatSync(path, { throwIfNoEntry: false })?.isSymbolicLink() ? readlinkSync(path) : undefined));
