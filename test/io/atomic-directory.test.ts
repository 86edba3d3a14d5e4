import { existsSync, mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { AtomicDirectory } from '../../src/io/atomic-directory.js';
import { replaceInFs } from '../helpers/faults.js';
import { tempDir } from '../helpers/temp.js';

it('says that the new directory is complete when the old one cannot be removed', async () => {
  const real = rmSync;
  replaceInFs({
    rmSync(path, options) {
      if (String(path).endsWith('-old')) throw new Error('it is held');
      real(path, options);
    },
  });
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
