// What many tasks, files, areas and runs cost, in every command and container: four times as many, at most so much more.
import { existsSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { generateDump, generateFiles, generateTasks } from './generate.mjs';

/** Of the CPU time for four times as many. The start is in both, so that less than four would do. */
const MOST = 4.6;
const TIMES = 4;
const PAGE = 4096;

/** How many there are in the smaller dump, and what makes a dump. */
const KINDS = {
  tasks: [500, generateTasks],
  files: [2500, generateFiles],
  // A task may have 65,530.
  areas: [15_000, (dir, count) => ofPages(dir, count, { interleave: true })],
  // Each has a page, which every copy writes, so that the disk is what takes long.
  runs: [25_000, (dir, count) => ofPages(dir, count, { gapPages: 1 })],
};

/** A dump of one task with single pages, half of them eager. */
const ofPages = (dir, count, options) =>
  generateDump(dir, { lazyBytes: (count / 2) * PAGE, eagerBytes: (count / 2) * PAGE, runPages: 1, ...options });

/** @param {{ work: string, pagepipe: string, run: Function, cpuOf: Function, measure: Function, compare: Function, row: Function, median: Function, rounds: number }} bench */
export async function linear(bench) {
  const { work, pagepipe, run, cpuOf, row, median, rounds } = bench;
  for (const [kind, [few, generate]] of Object.entries(KINDS)) {
    const start = Date.now();
    const costs = {};
    for (const count of [few, TIMES * few]) {
      const at = Object.fromEntries(
        ['dump', 'out', 'tar', 'gz', 'shard', 'stream', 'hot', 'cold'].map((name) => [
          name,
          join(work, `many-${name}`),
        ]),
      );
      await generate(at.dump, count);
      run(`tar cf ${at.tar} --sort=name -C ${at.dump} . && gzip -1 -k -c ${at.tar} > ${at.gz}`);
      run(`${pagepipe} copy ${at.dump} ${at.shard} --to shards`);
      run(`${pagepipe} read ${at.dump} > ${at.stream}`);
      run(`${pagepipe} split ${at.dump} ${at.hot} ${at.cold}`);
      for (const [what, command, made] of commandsOn(at)) {
        const cpu = median(Array.from({ length: rounds }, () => cpuOf(`${pagepipe} ${command}`, made)));
        costs[what] = [...(costs[what] ?? []), cpu];
      }
      if (kind === 'tasks' && count > few) againstTar(bench, at.dump, count);
      for (const path of Object.values(at)) if (existsSync(path)) rmSync(path, { recursive: true });
    }
    for (const [what, [small, large]] of Object.entries(costs)) {
      row(
        `${what}, ${few} and ${TIMES * few} ${kind}`,
        `${small.toFixed(2)} and ${large.toFixed(2)} CPU s (x ${(large / small).toFixed(2)})`,
        `at most x ${MOST}`,
        large <= MOST * small,
      );
    }
    console.error(`(linear, ${kind}: ${Math.round((Date.now() - start) / 1000)} s)`);
  }
}

/** Commands on a dump in all containers, with what they make. */
const commandsOn = ({ dump, out, tar, gz, shard, stream, hot, cold }) => [
  ['make-lazy, directory to directory', `make-lazy ${dump} ${out}`, out],
  ['make-lazy, tar to tar', `make-lazy ${tar} ${out} --to tar`, out],
  ['make-lazy, tar in a pipe to tar', `make-lazy - ${out} --to tar < <(cat ${tar})`, out],
  ['make-lazy, gzip to gzip', `make-lazy ${gz} ${out} --to tar --compress gzip`, out],
  ['make-lazy, a shard to a directory', `make-lazy ${shard} ${out} --from shards`, out],
  ['copy, directory to tar', `copy ${dump} ${out} --to tar`, out],
  ['copy, directory to a shard', `copy ${dump} ${out} --to shards`, out],
  ['copy, tar to directory', `copy ${tar} ${out}`, out],
  ['read', `read ${dump}`],
  ['run classify, filter, rebuild', `run 'classify | filter --drop lazy | rebuild' < ${stream}`],
  ['write', `write ${out} < ${stream}`, out],
  ['merge', `merge ${hot} ${cold} ${out}`, out],
  // It finds what only CRIU needs to be missing.
  ['verify', `verify ${dump} || true`],
  ['verify of a gzip archive', `verify ${gz} || true`],
  ['x ps', `x ${dump} ps`],
  ['x mems', `x ${dump} mems`],
];

function againstTar({ work, pagepipe, measure, compare, rounds }, dump, count) {
  const out = join(work, 'out');
  compare(
    `copy of ${count} tasks to a directory, against tar c | tar x and sync`,
    () => measure(`${pagepipe} copy ${dump} ${out}`, out),
    () => measure(`mkdir ${out}; tar cf - -C ${dump} . | tar xf - -C ${out}; sync ${out}/*`, out),
    'at least 0.5',
    { rounds, seconds: true },
  );
  compare(
    `copy of ${count} tasks, ${7 * count} files, to a tar, against tar c and sync`,
    () => measure(`${pagepipe} copy ${dump} ${out} --to tar`, out),
    () => measure(`tar cf ${out} -C ${dump} .; sync ${out}`, out),
    'at least 0.5',
    { rounds, seconds: true },
  );
}
