// What sending a dump costs compared with a pipe: through a shell in place of ssh, so that nothing is encrypted.
import { writeFileSync } from 'node:fs';
import { generateDump } from '../generate.mjs';
import { at, buildLimit, GIB, inTurn, out, pagepipe, peaksOf, withPeaks } from '../measure.mjs';
import { figure, mebibytes, rate, under } from '../rows.mjs';

const dump = at('dump');
const pages = `${dump}/pages-1.img`;
const shell = script('shell', 'shift\nexec sh -c "$*"');
const limit = buildLimit();
await generateDump(dump, { lazyBytes: GIB, eagerBytes: 0, dense: true });
const costs = inTurn({
  ours: through(pagepipe),
  theirs: `${pagepipe} read ${dump} | ${pagepipe} write ${out}`,
  limit: `${limit} splice < ${pages} | ${limit} pass > ${out}; sync ${out}`,
});
rate('`send` through a shell in place of ssh, 1 GiB, against `read | write`', costs.ours, costs.theirs, {
  byClock: 0.8,
  byCpu: 0.8,
  limit: costs.limit,
});
for (const [stage, mib] of peaksOf(through(withPeaks))) {
  const end = stage === 'send' ? '`send`' : 'the far end of `send`';
  figure(`peak memory of ${end}`, mib, mebibytes, under(160, mebibytes));
}

function through(program) {
  const far = script('far', `exec ${program} "$@"`);
  return `${program} send ${dump} here:${out} --rsh ${shell} --pagepipe-path ${far}`;
}

function script(name, text) {
  const path = at(name);
  writeFileSync(path, `#!/bin/sh\n${text}\n`, { mode: 0o755 });
  return path;
}
