import { existsSync, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it, vi } from 'vitest';
import { AtomicDirectory } from '../../src/io/atomic-directory.js';
import { tempDir } from '../helpers/temp.js';

vi.mock('node:fs', async (original) => {
  const fs = await original<typeof import('node:fs')>();
  const rmSync: typeof fs.rmSync = (path, options) => {
    if (String(path).endsWith('-old')) throw new Error('it is held');
    fs.rmSync(path, options);
  };
  return { ...fs, rmSync };
});

it('says that the new directory is complete when the old one cannot be removed', async () => {
  const out = join(tempDir(), 'out');
  mkdirSync(out);
  writeFileSync(join(out, 'inventory.img'), '');
  const directory = new AtomicDirectory(out, { force: true });
  writeFileSync(join(directory.temporary, 'new'), '');
  await expect(directory.commit(0o700)).rejects.toMatchObject({
    message: `${out}: the new directory is complete, but the old one cannot be removed: it is held`,
    hint: `remove ${directory.temporary}-old`,
  });
  await directory.discard();
  expect(existsSync(join(out, 'new'))).toBe(true);
});
