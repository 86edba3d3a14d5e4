// Archives and shards, against tar.
import { join } from 'node:path';
import { generateDump } from '../generate.mjs';
import { at, buildLimit, GIB, inTurn, MIB, out, pagepipe, remove, run } from '../measure.mjs';
import { rate } from '../rows.mjs';

const capture = `node ${join(import.meta.dirname, '../capture-shards.mjs')}`;
const dump = at('dump');

await archiveToArchive({ eagerMib: 124, least: { byClock: 2 } });
await archiveToArchive({ eagerMib: 124, compression: 'zstd' });
await archiveToArchive({ eagerMib: 512, compression: 'zstd', least: { byClock: 1.5 } });
await shardsToDirectory();

async function archiveToArchive({ eagerMib, compression, least }) {
  await generateDump(dump, { lazyBytes: GIB - eagerMib * MIB, eagerBytes: eagerMib * MIB, dense: true });
  const [word, suffix] = compression ? [`--${compression}`, '.zst'] : ['', ''];
  const [full, small] = [at(`full.tar${suffix}`), `${out}/small.tar${suffix}`];
  run(`tar c ${word} --sort=name -f ${full} -C ${dump} .`);
  const steps = [
    `mkdir -p ${out}/all`,
    `tar x ${word} -f ${full} -C ${out}/all`,
    `${pagepipe} make-lazy ${out}/all ${out}/lazy`,
    `tar c ${word} -f ${small} -C ${out}/lazy .`,
  ];
  const { ours, theirs } = inTurn({
    ours: `mkdir ${out} && ${pagepipe} make-lazy ${full} ${small}`,
    theirs: steps.join(' && '),
  });
  const containers = `${compression ? `${compression} ` : ''}archive to ${compression ? `${compression} ` : ''}archive`;
  const what = `\`make-lazy\`, ${containers}, ${eagerMib} MiB of 1 GiB eager`;
  rate(`${what}, against \`tar x\`, \`make-lazy\`, \`tar c\``, ours, theirs, least);
  remove(full, dump);
}

async function shardsToDirectory() {
  const limit = buildLimit();
  await generateDump(dump, { lazyBytes: GIB, eagerBytes: 0, dense: true });
  for (const [how, make] of [
    ['', (shards) => `${pagepipe} copy ${dump} ${shards.join(',')} --to shards`],
    [' as captured, with pages far ahead,', (shards) => `${capture} ${dump} ${shards.join(' ')}`],
  ]) {
    for (const [count, words] of [
      [1, 'one shard'],
      [4, 'four shards'],
    ]) {
      const shards = Array.from({ length: count }, (_, i) => at(`shard${i}`));
      run(make(shards));
      const tar = `mkdir ${out}; tar cf - -C ${dump} . | tar xf - -C ${out}`;
      const costs = inTurn({
        ours: `${pagepipe} copy ${shards.join(',')} ${out} --from shards`,
        tar,
        synced: `${tar}; sync ${out}/*`,
        limit: `${limit} copy ${dump} ${out}`,
      });
      const what = `\`copy\`, ${words}${how} to a directory, 1 GiB, against \`tar c | tar x\``;
      rate(what, costs.ours, costs.tar, { byClock: 1.5, byCpu: 1.5, limit: costs.limit });
      rate(`${what} and \`sync\``, costs.ours, costs.synced);
      remove(...shards);
    }
  }
}
