// Commands that look into a dump, against what people have for it: search with grep and ripgrep, core with cp, inspect with
// unpacking. And the picture of a million runs.
import { statSync } from 'node:fs';
import { join } from 'node:path';
import { generateDump } from '../generate.mjs';
import {
  at,
  fewRounds,
  GIB,
  inTurn,
  isThere,
  MIB,
  out,
  pagepipe,
  peaksOf,
  remove,
  run,
  secondsOf,
  withPeaks,
} from '../measure.mjs';
import { figure, mebibytes, notMeasured, rate, seconds, under } from '../rows.mjs';

const REGEX = '[a-z]+@[a-z]+\\.org';
const dump = at('dump');
const pages = join(dump, 'pages-1.img');
/** There are none, which exit code 1 says. */
const SECRETS = `search --count --secrets ${dump} || [ $? = 1 ]`;

await ofTwoGib();
remove(dump);
await ofFourGib();
remove(dump);
await ofMillionRuns();

async function ofTwoGib() {
  await generateDump(dump, { lazyBytes: 2 * GIB, eagerBytes: 0, dense: true });
  // grep ends with its first match if nobody reads what it prints. Neither of them fails for no match then.
  const hasRipgrep = isThere('rg', '--version');
  const costs = inTurn({
    word: `${pagepipe} search --count ${dump} password | cat`,
    grep: `grep -c -F password ${pages} | cat`,
    grepBytes: `grep -c -a -F password ${pages} | cat`,
    regex: `${pagepipe} search --count --regex ${dump} '${REGEX}' | cat`,
    ...(hasRipgrep ? { ripgrep: `rg -c -a --no-unicode '${REGEX}' ${pages} | cat` } : {}),
    extract: `${pagepipe} extract ${dump} --pid 1 --all -o ${out}`,
    core: `${pagepipe} core ${dump} -o ${out}`,
    cp: `cp ${pages} ${out}; sync ${out}`,
  });
  rate('`search` for a word, 2 GiB, against `grep -c -F` on the pages file', costs.word, costs.grep, { byClock: 0.5 });
  rate(
    '`search` for a word, 2 GiB, against `grep -c -a -F`, which does not look for the end of each character',
    costs.word,
    costs.grepBytes,
  );
  const regex = '`search --regex`, 2 GiB, against ripgrep';
  if (hasRipgrep) rate(regex, costs.regex, costs.ripgrep, { byClock: 0.5 });
  else notMeasured(regex, 'no ripgrep');
  rate('`extract --all`, 2 GiB, against `cp` of the pages file and `sync`', costs.extract, costs.cp);
  rate('`core` of 2 GiB, against `cp` of the pages file and `sync`', costs.core, costs.cp, { byClock: 0.7 });
  const secrets = secondsOf(`${pagepipe} ${SECRETS}`, 1);
  figure('`search --secrets`, 2 GiB', secrets, seconds);

  const archive = at('dump.tar.gz');
  run(`tar -I 'gzip -1' -cf ${archive} -C ${dump} .`);
  const { inspect, tar } = inTurn(
    { inspect: `${pagepipe} inspect ${archive}`, tar: `mkdir ${out}; tar xf ${archive} -C ${out}` },
    fewRounds,
  );
  rate('`inspect` of a `.tar.gz` of 2 GiB of pages, against `tar x`', inspect, tar, { byClock: 2 });
  remove(archive);
}

async function ofFourGib() {
  await generateDump(dump, { lazyBytes: 4 * GIB, eagerBytes: 0, dense: true });
  for (const [what, words] of [
    ['`search` for a word', `search --count ${dump} password | cat`],
    ['`search --regex`', `search --count --regex ${dump} '${REGEX}' | cat`],
    ['`search --secrets`', SECRETS],
    ['`extract --all`', `extract ${dump} --pid 1 --all -o ${out}`],
    ['`core`', `core ${dump} -o ${out}`],
  ]) {
    const [[, mib]] = peaksOf(`${withPeaks} ${words}`);
    figure(`peak memory of ${what}, 4 GiB`, mib, mebibytes, under(128, mebibytes));
  }
}

async function ofMillionRuns() {
  await generateDump(dump, { lazyBytes: 4096e6, eagerBytes: 0, runPages: 1, gapPages: 1 });
  const command = `mkdir ${out} && ${pagepipe} map ${dump} -o ${out}/map.html`;
  figure('`map` of 1,000,000 runs', secondsOf(command), seconds, under(5, seconds));
  run(command);
  figure('size of its page', statSync(join(out, 'map.html')).size / MIB, mebibytes, under(2, mebibytes));
}
