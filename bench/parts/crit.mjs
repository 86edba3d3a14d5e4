// JSON and information, against crit inside the root that carries it: the process alone is timed, not the way into the root.
import { spawnSync } from 'node:child_process';
import { copyFileSync, mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { generatePagemap } from '../generate.mjs';
import { at, clock, fewRounds, inTurn, pagepipe, rounds } from '../measure.mjs';
import { notMeasured, rate } from '../rows.mjs';

const here = import.meta.dirname;
const root = join(here, '../../e2e/criu-root');
const version = spawnSync(root, ['sid', '--', 'crit', '--version'], { stdio: ['ignore', 'pipe', 'inherit'] });
if (version.status === 0) againstCrit(String(version.stdout).trim());
else notMeasured('JSON against crit', 'no root, or no crit');

function againstCrit(number) {
  const files = at('files');
  mkdirSync(files);
  generatePagemap(join(files, 'pagemap.img'), 1e6);
  copyFileSync(join(here, '../../fixtures/mosaic-criu-4.2.1/inventory.img'), join(files, 'inventory.img'));
  const inRoot = ['--bind', `${files}:/run/bench`, '--', 'bash', '-c', 'cd /run/bench && eval "$1"', 'bench'];
  const theirs = (command) => clock(root, ['sid', ...inRoot], `crit ${command}`);
  const ours = (command) => clock('bash', ['-c', 'cd "$0" && eval "$1"', files], `${pagepipe} ${command}`);
  // Its own JSON for both: what is encoded must not depend on what was decoded here.
  theirs('decode -i pagemap.img -o pagemap.json');
  ours('decode -i pagemap.img -o ours');

  for (const [what, command, least, times] of [
    ['`decode` of a pagemap of 1,000,000 entries', 'decode -i pagemap.img -o', 15, fewRounds],
    ['`decode --pretty` of it', 'decode --pretty -i pagemap.img -o', 15, fewRounds],
    ['`encode` of it', 'encode -i pagemap.json -o', 5, fewRounds],
    ['`info` of it', 'info pagemap.img >', 20, 2 * rounds],
    ['`decode` of an inventory, which is to start', 'decode -i inventory.img -o', 1, 2 * rounds],
  ]) {
    const costs = inTurn({ ours: () => ours(`${command} ours`), theirs: () => theirs(`${command} theirs`) }, times);
    const isSame = spawnSync('cmp', ['-s', join(files, 'ours'), join(files, 'theirs')]).status === 0;
    rate(`${what}, against crit ${number}${isSame ? '' : ', OTHER BYTES'}`, costs.ours, costs.theirs, {
      byClock: least,
    });
  }
}
