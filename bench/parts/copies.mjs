// From a directory to a directory or a tar, and on file systems that share blocks.
import { execFileSync } from 'node:child_process';
import { closeSync, openSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { generateDump } from '../generate.mjs';
import { at, buildLimit, GIB, inTurn, MIB, measure, median, out, pagepipe, remove, run } from '../measure.mjs';
import { withReflinks } from '../reflinks.mjs';
import { figure, rate, seconds, under } from '../rows.mjs';

/** Of real data; all of a dump with shared blocks is made of it. */
const PIECE_BYTES = 64 * MIB;

const limit = buildLimit();
await ofOneGib();
for (const type of ['xfs', 'btrfs']) await withSharedBlocks(type);

async function ofOneGib() {
  const [dump, half, kept] = [at('dump'), at('half'), at('kept')];
  await generateDump(dump, { lazyBytes: GIB, eagerBytes: 0, dense: true });
  await generateDump(half, { lazyBytes: GIB / 2, eagerBytes: GIB / 2, dense: true });
  run(`head -c ${GIB / 2} ${join(half, 'pages-1.img')} > ${kept}`);
  const costs = inTurn({
    copy: `${pagepipe} copy ${dump} ${out}`,
    cp: `cp -r ${dump} ${out}; sync ${out}/*`,
    copyLimit: `${limit} copy ${dump} ${out}`,
    makeLazy: `${pagepipe} make-lazy ${half} ${out}`,
    cpKept: `cp ${kept} ${out}; sync ${out}`,
    toTar: `${pagepipe} copy ${dump} ${out} --to tar`,
    tar: `tar cf ${out} -C ${dump} .; sync ${out}`,
    toTarLimit: `${limit} join ${dump} ${out}`,
  });
  rate('`copy`, directory to directory, 1 GiB, against `cp -r` and `sync`', costs.copy, costs.cp, {
    byClock: 1,
    limit: costs.copyLimit,
  });
  rate(
    '`make-lazy`, directory to directory, half of 1 GiB eager, against `cp` of that half and `sync`',
    costs.makeLazy,
    costs.cpKept,
    { byClock: 1 },
  );
  rate('`copy`, directory to a tar, 1 GiB, against `tar c` and `sync`', costs.toTar, costs.tar, {
    byClock: 0.8,
    limit: costs.toTarLimit,
  });
}

/** @param {'xfs' | 'btrfs'} type */
async function withSharedBlocks(type) {
  const what = `\`copy\`, directory to directory, 16 GiB on ${type}`;
  await withReflinks(type, 20 * GIB, what, async (mount) => {
    const [dump, piece, shared] = ['dump', 'piece', 'out'].map((name) => join(mount, name));
    await generateDump(dump, { lazyBytes: 16 * GIB - 8 * MIB, eagerBytes: 8 * MIB });
    const fd = openSync(piece, 'w');
    const bytes = Buffer.alloc(MIB);
    for (let position = 0; position < PIECE_BYTES; position += MIB) {
      bytes.writeUInt32LE(position);
      writeSync(fd, bytes.fill(bytes.subarray(0, 4)));
    }
    closeSync(fd);
    const reflinks = [];
    for (let position = 0; position < 16 * GIB; position += PIECE_BYTES) {
      reflinks.push('-c', `reflink ${piece} 0 ${position} ${PIECE_BYTES}`);
    }
    execFileSync('xfs_io', [...reflinks, join(dump, 'pages-1.img')], { stdio: ['ignore', 'ignore', 'inherit'] });
    const copyOf = () => {
      remove(shared);
      return measure(`${pagepipe} copy ${dump} ${shared}`);
    };
    const { copy } = inTurn({ copy: copyOf });
    figure(what, median(copy.map((cost) => cost.seconds)), seconds, under(0.5, seconds));
    figure(`${what}, CPU`, median(copy.map((cost) => cost.cpu)), seconds);
  });
}
