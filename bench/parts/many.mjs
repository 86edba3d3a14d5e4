// What many tasks, files, areas and runs cost, in every command and container: four times as many, at most so much more.
import { generateDump, generateFiles, generateTasks } from '../generate.mjs';
import { at, costOf, fewRounds, inTurn, out, pagepipe, remove, run } from '../measure.mjs';
import { atMost, growth, rate, seconds } from '../rows.mjs';

/** Of the CPU time for four times as many. The start is in both, so that less than four would do. */
const MOST = 4.6;
const PAGE = 4096;

/** How many there are, and what makes a dump. */
const KINDS = {
  tasks: [[125, 500, 2000], generateTasks],
  files: [[2500, 10_000], generateFiles],
  // A task may have 65,530.
  areas: [[15_000, 60_000], (dir, count) => ofPages(dir, count, { interleave: true })],
  // Each has a page, which every copy writes, so that the disk is what takes long.
  runs: [[25_000, 100_000], (dir, count) => ofPages(dir, count, { gapPages: 1 })],
};

/** What is compared with tar, for the largest number of each. */
const AGAINST_TAR = { tasks: toDirectory, files: toTar };

const places = Object.fromEntries(
  ['dump', 'tar', 'gz', 'shard', 'stream', 'hot', 'cold'].map((name) => [name, at(name)]),
);

for (const [kind, [counts, generate]] of Object.entries(KINDS)) {
  // One round: most of these are far from the limit, and each takes a while.
  const costs = {};
  for (const count of counts) {
    await generate(places.dump, count);
    run(`tar cf ${places.tar} --sort=name -C ${places.dump} . && gzip -1 -k -c ${places.tar} > ${places.gz}`);
    run(`${pagepipe} copy ${places.dump} ${places.shard} --to shards`);
    run(`${pagepipe} read ${places.dump} > ${places.stream}`);
    run(`${pagepipe} split ${places.dump} ${places.hot} ${places.cold}`);
    for (const [what, command] of Object.entries(commandsOn(places))) {
      costs[what] = [...(costs[what] ?? []), costOf(`${pagepipe} ${command}`).cpu];
    }
    if (count === counts.at(-1)) AGAINST_TAR[kind]?.(places.dump, count);
    remove(...Object.values(places));
  }
  const labels = counts.map((count) => `${count.toLocaleString('en')} ${kind}`);
  for (const [what, cpu] of Object.entries(costs)) growth(what, labels, cpu, seconds, { times: atMost(MOST, times) });
}

function times(limit) {
  return `${limit} times`;
}

/** Commands on a dump in all containers. */
function commandsOn({ dump, tar, gz, shard, stream, hot, cold }) {
  return {
    '`make-lazy`, directory to directory': `make-lazy ${dump} ${out}`,
    '`make-lazy`, tar to tar': `make-lazy ${tar} ${out} --to tar`,
    '`make-lazy`, tar in a pipe to tar': `make-lazy - ${out} --to tar < <(cat ${tar})`,
    '`make-lazy`, gzip to gzip': `make-lazy ${gz} ${out} --to tar --compress gzip`,
    '`make-lazy`, a shard to a directory': `make-lazy ${shard} ${out} --from shards`,
    '`copy`, directory to tar': `copy ${dump} ${out} --to tar`,
    '`copy`, directory to a shard': `copy ${dump} ${out} --to shards`,
    '`copy`, tar to directory': `copy ${tar} ${out}`,
    '`read`': `read ${dump}`,
    '`classify`, `filter`, `rebuild` in one process': `run 'classify | filter --drop lazy | rebuild' < ${stream}`,
    '`write`': `write ${out} < ${stream}`,
    '`merge`': `merge ${hot} ${cold} ${out}`,
    // It finds what only CRIU needs to be missing.
    '`verify`': `verify ${dump} || true`,
    '`verify` of a gzip archive': `verify ${gz} || true`,
    '`x DUMP ps`': `x ${dump} ps`,
    '`x DUMP mems`': `x ${dump} mems`,
  };
}

function toDirectory(dump, count) {
  const { ours, tar } = inTurn(
    {
      ours: `${pagepipe} copy ${dump} ${out}`,
      tar: `mkdir ${out}; tar cf - -C ${dump} . | tar xf - -C ${out}; sync ${out}/*`,
    },
    fewRounds,
  );
  const what = `\`copy\` of ${count.toLocaleString('en')} tasks, ${(7 * count).toLocaleString('en')} files, to a directory`;
  rate(`${what}, against \`tar c | tar x\` and \`sync\``, ours, tar, { byClock: 0.5 });
}

function toTar(dump, count) {
  const { ours, tar } = inTurn(
    { ours: `${pagepipe} copy ${dump} ${out} --to tar`, tar: `tar cf ${out} -C ${dump} .; sync ${out}` },
    fewRounds,
  );
  const what = `\`copy\` of ${count.toLocaleString('en')} small files to a tar`;
  rate(`${what}, against \`tar c\` and \`sync\``, ours, tar, { byClock: 0.5 });
}

/** A dump of one task with single pages, half of them eager. */
function ofPages(dir, count, options) {
  const half = (count / 2) * PAGE;
  return generateDump(dir, { lazyBytes: half, eagerBytes: half, runPages: 1, ...options });
}
