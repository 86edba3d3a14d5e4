// File systems with reflinks, where copies share blocks. Each is made in a file, which needs root.
import { execFileSync, spawnSync } from 'node:child_process';
import { closeSync, mkdirSync, openSync, rmSync, truncateSync } from 'node:fs';
import { at } from './measure.mjs';
import { notMeasured } from './rows.mjs';

/**
 * Mounts a file system for as long as `use` takes.
 * @param {'xfs' | 'btrfs'} type
 * @param what row that says so if there is none
 */
export async function withReflinks(type, bytes, what, use) {
  const [disk, mount] = [at(type), at('mnt')];
  mkdirSync(mount, { recursive: true });
  closeSync(openSync(disk, 'w'));
  truncateSync(disk, bytes);
  const isMounted =
    spawnSync(`mkfs.${type}`, ['-q', disk]).status === 0 &&
    spawnSync('mount', ['-o', 'loop', disk, mount]).status === 0;
  if (!isMounted) notMeasured(what, `no root, no loop devices or no mkfs.${type}`);
  try {
    if (isMounted) await use(mount);
  } finally {
    if (isMounted) execFileSync('umount', [mount]);
    rmSync(disk);
  }
}
