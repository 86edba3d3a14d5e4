// What the start of a process costs: commands on a small dump, against Node alone.
import { join } from 'node:path';
import { at, costOf, inTurn, out, pagepipe, rounds, run } from '../measure.mjs';
import { atMost, millis, ratio } from '../rows.mjs';

const dump = join(import.meta.dirname, '../../fixtures/family-criu-4.2.1');
const stream = at('stream');
run(`${pagepipe} read ${dump} > ${stream}`);
const commands = {
  '--help': '--help',
  read: `read ${dump}`,
  classify: `classify < ${stream}`,
  'make-lazy': `make-lazy ${dump} ${out}`,
  verify: `verify ${dump}`,
  'x DUMP ps': `x ${dump} ps`,
  'decode -i inventory.img': `decode -i ${join(dump, 'inventory.img')}`,
};
const ours = Object.entries(commands).map(([name, words]) => [name, () => costOf(`${pagepipe} ${words}`)]);
const all = { ...Object.fromEntries(ours), node: () => costOf('node -e 0') };
// The first round leaves the compiled forms, and does not count.
inTurn(all, 1);
const costs = inTurn(all, 4 * rounds);
for (const name of Object.keys(commands)) {
  const pairs = costs[name].map(({ cpu }, round) => [cpu, costs.node[round].cpu]);
  ratio(`CPU of \`${name}\`, against \`node -e 0\``, pairs, millis, atMost(2));
}
