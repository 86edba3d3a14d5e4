/** Syncs while a file is being written. */
import { closeSync, openSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { BackgroundSync } from '../../src/io/background-sync.js';
import { tempDir } from '../helpers/temp.js';

it('begins after so many bytes, one at a time, and ends', async () => {
  const fd = openSync(join(tempDir(), 'file'), 'w');
  const sync = new BackgroundSync(fd, 'file', 100);
  sync.wrote(99);
  expect([sync.idle(), sync.settled()]).toEqual([undefined, undefined]);
  sync.wrote(1);
  const first = sync.idle();
  expect(first).toBeInstanceOf(Promise);
  sync.wrote(100);
  expect(sync.idle()).toBe(first);
  await sync.settled();
  expect([sync.idle(), sync.settled()]).toEqual([undefined, undefined]);
  closeSync(fd);
});

it('keeps the first failure', async () => {
  const fd = openSync('/dev/null', 'w');
  const sync = new BackgroundSync(fd, 'core', 1);
  sync.wrote(1);
  await sync.idle();
  closeSync(fd);
  await expect(sync.settled()).rejects.toThrow('core: invalid argument (EINVAL)');
  await expect(sync.settled()).rejects.toThrow('core: invalid argument (EINVAL)');
});
