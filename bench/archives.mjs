// Archives and shards: their time compared with tar, and their memory.
import { mkdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { generateDump } from './generate.mjs';

const GIB = 2 ** 30;
const MIB = 2 ** 20;
/** Of the larger dump whose peaks are measured; what spills of it, and the copy, take as much of the disk. */
const LARGE_GIB = Number(process.env.PAGEPIPE_BENCH_GIB ?? 32);
const capture = `node ${join(import.meta.dirname, 'capture.mjs')}`;

/** @param {{ work: string, pagepipe: string, time: Function, measure: Function, compare: Function }} bench */
export async function archives(bench) {
  await archiveToArchive(bench);
  await shardsToDirectory(bench);
}

async function archiveToArchive({ work, pagepipe, time, measure, compare }) {
  const at = (name) => join(work, name);
  const dump = at('dump');
  await generateDump(dump, { lazyBytes: GIB - 124 * MIB, eagerBytes: 124 * MIB, dense: true });
  for (const [what, words, suffix] of [
    ['plain', '', ''],
    ['zstd', '--zstd', '.zst'],
  ]) {
    const [full, small, folder, lazy] = [at(`full.tar${suffix}`), at(`small.tar${suffix}`), at('unpacked'), at('lazy')];
    time(`tar c ${words} --sort=name -f ${full} -C ${dump} .`);
    const steps = [
      `mkdir ${folder}`,
      `tar x ${words} -f ${full} -C ${folder}`,
      `${pagepipe} make-lazy ${folder} ${lazy}`,
      `tar c ${words} -f ${small} -C ${lazy} .`,
    ];
    compare(
      `make-lazy, 1 GiB with 124 MiB eager, archive to archive, ${what}, against tar x, make-lazy, tar c (rate)`,
      () => measure(`${pagepipe} make-lazy ${full} ${small}`, small),
      () => {
        for (const path of [folder, lazy]) rmSync(path, { recursive: true, force: true });
        return measure(steps.join(' && '), small);
      },
      'at least 2',
      { seconds: true },
    );
    for (const path of [folder, lazy, full]) rmSync(path, { recursive: true });
  }
  rmSync(dump, { recursive: true });
}

async function shardsToDirectory({ work, pagepipe, time, measure, compare }) {
  const at = (name) => join(work, name);
  const dump = at('dump');
  await generateDump(dump, { lazyBytes: GIB, eagerBytes: 0, dense: true });
  const out = at('out');
  for (const [what, make] of [
    ['as pagepipe writes them', (shards) => `${pagepipe} copy ${dump} ${shards.join(',')} --to shards`],
    ['as captured, pages far ahead', (shards) => `${capture} ${dump} ${shards.join(' ')}`],
  ]) {
    for (const count of [1, 4]) {
      const shards = Array.from({ length: count }, (_, i) => at(`shard${i}`));
      time(make(shards));
      for (const [against, sync] of [
        ['tar c | tar x', ''],
        ['the same and then sync of its files', `; sync ${out}/*`],
      ]) {
        compare(
          `copy, 1 GiB in ${count} shard${count > 1 ? 's' : ''} ${what}, to a directory, against ${against} (rate)`,
          () => measure(`${pagepipe} copy ${shards.join(',')} ${out} --from shards`, out),
          () => measure(`mkdir ${out}; tar cf - -C ${dump} . | tar xf - -C ${out}${sync}`, out),
          sync ? '' : 'at least 1',
          { seconds: true },
        );
      }
      for (const shard of shards) rmSync(shard);
    }
  }
  rmSync(dump, { recursive: true });
}

/** @param {{ work: string, withPeaks: string, time: Function, peaksOf: Function, row: Function }} bench */
export async function archiveMemory({ work, withPeaks, time, peaksOf, row }) {
  const at = (name) => join(work, name);
  const out = at('out');
  const spill = at('spill');
  mkdirSync(spill);
  const figures = new Map();
  for (const gib of [1, LARGE_GIB]) {
    const dump = at('dump');
    await generateDump(dump, { lazyBytes: gib * GIB - 8 * MIB, eagerBytes: 8 * MIB });
    const tar = `tar c --sort=name -C ${dump} .`;
    time(`${tar} | zstd -q -o ${at('full.tar.zst')}`);
    const commands = {
      'make-lazy, archive to archive, through pipes': `${tar} | ${withPeaks} make-lazy - - --to tar > /dev/null`,
      'make-lazy, archive to archive, zstd': `${withPeaks} make-lazy ${at('full.tar.zst')} ${out} --to tar --compress zstd`,
      'copy, a captured shard to a directory': `${capture} ${dump} - | ${withPeaks} copy - ${out}`,
      'make-lazy of a captured shard, all pages spilled': `${capture} ${dump} - | ${withPeaks} make-lazy - ${out} --spill-dir ${spill}`,
    };
    for (const [what, command] of Object.entries(commands)) {
      const [[, mib]] = peaksOf(command, command.includes(out) ? out : undefined);
      figures.set(what, [...(figures.get(what) ?? []), mib]);
    }
    rmSync(at('full.tar.zst'));
    rmSync(dump, { recursive: true });
  }
  for (const [what, [small, large]] of figures) {
    row(
      `peak memory of ${what}, 1 GiB and ${LARGE_GIB} GiB`,
      `${small.toFixed(0)} MiB, ${large.toFixed(0)} MiB (x ${(large / small).toFixed(2)})`,
      'under 160 MiB',
    );
  }
}
