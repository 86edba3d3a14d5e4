// Peak memory of processes, for small dumps and for large ones, which are mostly lazy.
import { join } from 'node:path';
import { generateDump, generateGhostFile, generatePagemap } from '../generate.mjs';
import { at, GIB, MIB, out, peaksOf, remove, run, withPeaks } from '../measure.mjs';
import { atMost, figure, growth, mebibytes, under } from '../rows.mjs';

const LARGE_GIB = 64;
/** Of what spills; it and the copy take as much of the disk. */
const SPILLED_GIB = Number(process.env.PAGEPIPE_BENCH_GIB ?? 16);
const capture = `node ${join(import.meta.dirname, '../capture-shards.mjs')}`;
const dump = at('dump');

await directories();
await archives();
await denseArchives();
jsonInPipes();

async function directories() {
  const stages = ['classify', 'filter --drop lazy', 'rebuild', `write ${out}`];
  const commands = [
    `${withPeaks} make-lazy ${dump} ${out}`,
    [`${withPeaks} read ${dump}`, ...stages.map((stage) => `${withPeaks} ${stage}`)].join(' | '),
  ];
  const peaks = await ofSizes([1, LARGE_GIB], () => commands.flatMap(peaksOf));
  const limits = { times: atMost(1.1, (limit) => `${limit} times`), each: under(128, mebibytes) };
  for (const [stage, mib] of peaks) growth(`\`${stage}\``, ['1 GiB', `${LARGE_GIB} GiB`], mib, mebibytes, limits);
}

async function archives() {
  const [full, spill] = [at('full.tar.zst'), at('spill')];
  run(`mkdir ${spill}`);
  const tar = `tar c --sort=name -C ${dump} .`;
  const commands = {
    '`make-lazy`, archive to archive, through pipes': `${tar} | ${withPeaks} make-lazy - - --to tar > /dev/null`,
    '`make-lazy`, zstd archive to zstd archive': `${withPeaks} make-lazy ${full} ${out} --to tar --compress zstd`,
    '`copy`, a captured shard to a directory': `${capture} ${dump} - | ${withPeaks} copy - ${out}`,
    '`make-lazy` of a captured shard, all pages spilled': `${capture} ${dump} - | ${withPeaks} make-lazy - ${out} --spill-dir ${spill}`,
  };
  const peaks = await ofSizes([1, SPILLED_GIB], () => {
    run(`${tar} | zstd -qf -o ${full}`);
    return Object.entries(commands).map(([what, command]) => [what, peaksOf(command)[0][1]]);
  });
  for (const [what, mib] of peaks) {
    const each = under(what.includes('zstd') ? 128 : 160, mebibytes);
    growth(what, ['1 GiB', `${SPILLED_GIB} GiB`], mib, mebibytes, { each });
  }
}

/** Peaks for dumps of several sizes, with 8 MiB eager. */
async function ofSizes(sizesGib, peaks) {
  const figures = new Map();
  for (const gib of sizesGib) {
    await generateDump(dump, { lazyBytes: gib * GIB - 8 * MIB, eagerBytes: 8 * MIB });
    for (const [what, mib] of peaks()) figures.set(what, [...(figures.get(what) ?? []), mib]);
    remove(dump);
  }
  return figures;
}

/** Commands that read and write all pages of compressed archives. */
async function denseArchives() {
  const [full, hot, cold] = ['full', 'hot', 'cold'].map((name) => at(`${name}.tar.zst`));
  await generateDump(dump, { lazyBytes: GIB / 2, eagerBytes: GIB / 2, dense: true });
  run(`tar c --sort=name -C ${dump} . | zstd -qf -o ${full}`);
  for (const [what, words] of [
    ['`make-lazy`', `make-lazy ${full} ${out} --to tar --compress zstd`],
    ['`split`', `split ${full} ${hot} ${cold}`],
    ['`merge`', `merge ${hot} ${cold} ${out} --to tar --compress zstd`],
  ]) {
    const [[, mib]] = peaksOf(`${withPeaks} ${words}`);
    figure(`${what} of 1 GiB, zstd archives`, mib, mebibytes, under(128, mebibytes));
  }
  remove(dump, full, hot, cold);
}

function jsonInPipes() {
  const image = at('image');
  for (const [what, generate] of [
    ['pagemap of 10,000,000 entries', () => generatePagemap(image, 10e6)],
    ['deleted file of 1 GiB', () => generateGhostFile(image, GIB)],
  ]) {
    generate();
    const command = `cat ${image} | ${withPeaks} decode | ${withPeaks} encode | cmp - ${image}`;
    for (const [stage, mib] of peaksOf(command)) {
      figure(`\`${stage}\` of a ${what}, in pipes`, mib, mebibytes, under(128, mebibytes));
    }
    remove(image);
  }
}
