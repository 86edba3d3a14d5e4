// Copies on a file system with reflinks, where blocks are shared. It is made in a file, which needs root and xfsprogs.
import { execFileSync, spawnSync } from 'node:child_process';
import { closeSync, mkdirSync, openSync, rmSync, truncateSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { generateDump } from './generate.mjs';

const GIB = 2 ** 30;
const MIB = 2 ** 20;
const DUMP_BYTES = 16 * GIB;
export const NOT_MEASURED = 'not measured: no root, no loop devices or no mkfs.xfs';
/** Of real data; all of the dump shares it. */
const PIECE_BYTES = 64 * MIB;

/** @param {{ work: string, pagepipe: string, measure: Function, row: Function, median: Function, rounds: number }} bench */
export async function reflinks({ work, pagepipe, measure, row, median, rounds }) {
  const isMeasured = await withReflinks(work, 20 * GIB, async (mount) => {
    const dump = join(mount, 'dump');
    await generateDump(dump, { lazyBytes: DUMP_BYTES - 8 * MIB, eagerBytes: 8 * MIB });
    const piece = join(mount, 'piece');
    const fd = openSync(piece, 'w');
    const bytes = Buffer.alloc(MIB);
    for (let at = 0; at < PIECE_BYTES; at += MIB) {
      bytes.writeUInt32LE(at);
      writeSync(fd, bytes.fill(bytes.subarray(0, 4)));
    }
    closeSync(fd);
    const reflink = [];
    for (let at = 0; at < DUMP_BYTES; at += PIECE_BYTES) reflink.push('-c', `reflink ${piece} 0 ${at} ${PIECE_BYTES}`);
    execFileSync('xfs_io', [...reflink, join(dump, 'pages-1.img')], { stdio: ['ignore', 'ignore', 'inherit'] });
    const out = join(mount, 'out');
    const costs = Array.from({ length: rounds }, () => measure(`${pagepipe} copy ${dump} ${out}`, out));
    const [seconds, cpu] = ['seconds', 'cpu'].map((of) => median(costs.map((cost) => cost[of])).toFixed(2));
    row('copy, directory to directory, 16 GiB on xfs', `${seconds} s, CPU ${cpu} s`, 'under 0.5 s');
  });
  if (!isMeasured) row('copies with reflinks', NOT_MEASURED, '');
}

/**
 * Mounts a file system with reflinks for as long as `use` takes.
 * @param work folder of the file that it is in
 * @returns whether there was one
 */
export async function withReflinks(work, bytes, use) {
  const [disk, mount] = [join(work, 'xfs'), join(work, 'mnt')];
  mkdirSync(mount, { recursive: true });
  closeSync(openSync(disk, 'w'));
  truncateSync(disk, bytes);
  const isMounted =
    spawnSync('mkfs.xfs', ['-q', disk]).status === 0 && spawnSync('mount', ['-o', 'loop', disk, mount]).status === 0;
  try {
    if (isMounted) await use(mount);
  } finally {
    if (isMounted) execFileSync('umount', [mount]);
    rmSync(disk);
  }
  return isMounted;
}
