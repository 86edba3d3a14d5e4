// Commands that look into a dump, side by side with what people have for it: search with grep and ripgrep, core with cp,
// inspect with unpacking. And the picture of a million runs.
import { execFileSync, spawnSync } from 'node:child_process';
import { rmSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { generateDump } from './generate.mjs';

const GIB = 2 ** 30;
const REGEX = '[a-z]+@[a-z]+\\.org';

/** @param {{ work: string, pagepipe: string, withPeaks: string, run: Function, measure: Function, compare: Function, peaksOf: Function, row: Function, median: Function, rounds: number }} bench */
export async function look({ work, pagepipe, withPeaks, run, measure, compare, peaksOf, row, median, rounds }) {
  const out = join(work, 'out');
  const peakOf = (command) => peaksOf(`${withPeaks} ${command}`, out)[0][1].toFixed(0);
  const dump = join(work, 'dense');
  await generateDump(dump, { lazyBytes: 4 * GIB, eagerBytes: 0, dense: true });
  row('search in 4 GiB, peak memory', `${peakOf(`search --count ${dump} password | cat`)} MiB`, 'under 128 MiB');
  row('extract of 4 GiB, peak memory', `${peakOf(`extract ${dump} --pid 1 --all -o ${out}`)} MiB`, 'under 128 MiB');
  rmSync(dump, { recursive: true });
  await generateDump(dump, { lazyBytes: 2 * GIB, eagerBytes: 0, dense: true });
  const pages = join(dump, 'pages-1.img');
  // grep ends with its first match if nobody reads what it prints. Neither of them fails for no match then.
  compare(
    'search for a word, 2 GiB, against grep -c -F on the pages file',
    () => measure(`${pagepipe} search --count ${dump} password | cat`),
    () => measure(`grep -c -F password ${pages} | cat`),
    'at least 0.5',
    { seconds: true },
  );
  compare(
    '  against grep -c -a -F, which does not look for the end of each character',
    () => measure(`${pagepipe} search --count ${dump} password | cat`),
    () => measure(`grep -c -a -F password ${pages} | cat`),
    '',
    { seconds: true },
  );
  if (spawnSync('rg', ['--version']).error) {
    row('  for a regular expression', 'not measured: no ripgrep', 'at least 0.5');
  } else {
    compare(
      '  for a regular expression, against ripgrep',
      () => measure(`${pagepipe} search --count --regex ${dump} '${REGEX}' | cat`),
      () => measure(`rg -c -a --no-unicode '${REGEX}' ${pages} | cat`),
      'at least 0.5',
      { seconds: true },
    );
  }
  const secrets = median(
    Array.from({ length: rounds }, () => measure(`${pagepipe} search --count --secrets ${dump} | cat`).seconds),
  );
  row('search --secrets, 2 GiB', `${secrets.toFixed(2)} s, ${(2 / secrets).toFixed(2)} GiB/s`, '');
  compare(
    'extract of all memory of a process of 2 GiB, against cp of its pages file and sync',
    () => measure(`${pagepipe} extract ${dump} --pid 1 --all -o ${out}`, out),
    () => measure(`cp ${pages} ${out}; sync ${out}`, out),
    '',
    { seconds: true },
  );
  compare(
    'core of a process of 2 GiB, against cp of its pages file and sync',
    () => measure(`${pagepipe} core ${dump} -o ${out}`, out),
    () => measure(`cp ${pages} ${out}; sync ${out}`, out),
    'at least 0.7',
    { seconds: true },
  );
  row('  peak memory', `${peakOf(`core ${dump} -o ${out}`)} MiB`, 'under 128 MiB');
  const archive = join(work, 'dense.tar.gz');
  run(`tar -I 'gzip -1' -cf ${archive} -C ${dump} .`);
  rmSync(dump, { recursive: true });
  compare(
    'inspect of a tar.gz of 2 GiB of pages, against tar x',
    () => measure(`${pagepipe} inspect ${archive}`),
    () => measure(`mkdir ${out}; tar xf ${archive} -C ${out}`, out),
    'at least 2',
    { seconds: true, rounds: Math.min(rounds, 3) },
  );
  rmSync(archive);
  const runs = join(work, 'runs');
  await generateDump(runs, { lazyBytes: 4096e6, eagerBytes: 0, runPages: 1, gapPages: 1 });
  const page = join(work, 'map.html');
  const seconds = median(
    Array.from({ length: rounds }, () => measure(`${pagepipe} map ${runs} -o ${page}`, page).seconds),
  );
  execFileSync('bash', ['-c', `${pagepipe} map ${runs} -o ${page}`], { stdio: 'ignore' });
  const kib = statSync(page).size / 1024;
  row('map of 1,000,000 runs', `${seconds.toFixed(2)} s, ${kib.toFixed(0)} KiB`, 'under 5 s and 2 MiB');
  rmSync(page);
  rmSync(runs, { recursive: true });
}
