/** Names below a root that is a folder here. */
import { mkdirSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { pathInRoot } from '../../src/io/in-root.js';
import { tempDir } from '../helpers/temp.js';

it('resolves links as after chroot, and never leaves the root', () => {
  const root = tempDir();
  mkdirSync(join(root, 'usr/lib'), { recursive: true });
  writeFileSync(join(root, 'usr/lib/libc.so'), '');
  const links = {
    lib: 'usr/lib',
    'usr/lib/absolute': '/lib/libc.so',
    'usr/lib/upwards': '../../../../../../usr/lib/libc.so',
    'usr/lib/outside': '/etc/passwd',
    one: 'two',
    two: '/one',
  };
  for (const [name, target] of Object.entries(links)) symlinkSync(target, join(root, name));
  const found = (name: string) => pathInRoot(root, name).slice(root.length);
  for (const name of [
    '/usr/lib/libc.so',
    '/lib/libc.so',
    '/lib/absolute',
    '/lib/upwards',
    '/../lib//./../lib/libc.so',
  ]) {
    expect(found(name)).toBe('/usr/lib/libc.so');
  }
  expect(found('/lib/outside')).toBe('/etc/passwd');
  expect(found('/../../secret')).toBe('/secret');
  expect(found('/')).toBe('');
  expect(() => found('/one')).toThrow('/one: too many levels of symbolic links (ELOOP)');
  expect(() => found('/lib/libc.so/more')).toThrow(`${root}/usr/lib/libc.so/more: not a directory (ENOTDIR)`);
});
