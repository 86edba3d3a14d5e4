// Dumps through pipes, against tar and cat.
import { generateDump } from '../generate.mjs';
import { at, buildLimit, fewRounds, GIB, inTurn, out, pagepipe, remove, run } from '../measure.mjs';
import { rate } from '../rows.mjs';

const limit = buildLimit();
const dump = at('dump');
const pages = `${dump}/pages-1.img`;
const withoutCalls = 'export PAGEPIPE_SYSCALLS=0;';

await readAndWrite();
remove(dump);
await fourStages();

async function readAndWrite() {
  await generateDump(dump, { lazyBytes: 2 * GIB, eagerBytes: 0, dense: true });
  run(`cat ${pages}`);
  const ours = `${pagepipe} read ${dump} | ${pagepipe} write ${out}`;
  const tar = `mkdir ${out}; tar cf - -C ${dump} . | tar xf - -C ${out}`;
  const costs = inTurn({
    ours,
    bare: `${withoutCalls} ${ours}`,
    tar,
    synced: `${tar}; sync ${out}/*`,
    limit: `${limit} splice < ${pages} | ${limit} pass > ${out}; sync ${out}`,
  });
  const what = '`read | write`, 2 GiB';
  rate(`${what}, against \`tar c | tar x\``, costs.ours, costs.tar, { byClock: 1.2, byCpu: 1, limit: costs.limit });
  rate(`${what}, against \`tar c | tar x\` and \`sync\``, costs.ours, costs.synced);
  const least = { byClock: 0.9, byCpu: 0.9 };
  rate(`${what}, without system calls, against \`tar c | tar x\``, costs.bare, costs.tar, least);
}

async function fourStages() {
  await generateDump(dump, { lazyBytes: GIB, eagerBytes: 0, dense: true });
  const stream = at('stream');
  run(`${pagepipe} read ${dump} > ${stream}`);
  const reading = `${pagepipe} read ${dump} | ${pagepipe} classify | ${pagepipe} filter --drop all --pid 99 | ${pagepipe} rebuild`;
  const stages = `${pagepipe} classify < <(cat ${stream}) | ${pagepipe} filter --drop all --pid 99 | ${pagepipe} filter --drop lazy --pid 99 | ${pagepipe} rebuild`;
  const [cats, splices] = ['cat', `${limit} splice`].map((program) => [
    `${program} < ${pages} | ${program} | ${program} | ${program} > /dev/null`,
    `${program} < <(cat ${stream}) | ${program} | ${program} | ${program} > /dev/null`,
  ]);
  const costs = inTurn({
    stages: `${stages} > /dev/null`,
    stagesBare: `${withoutCalls} ${stages} > /dev/null`,
    fromPipe: cats[1],
    fromPipeLimit: splices[1],
    reading: `${reading} > /dev/null`,
    readingBare: `${withoutCalls} ${reading} > /dev/null`,
    fromFile: cats[0],
    fromFileLimit: splices[0],
  });
  const least = { byClock: 1.3, byCpu: 1.3 };
  const what = 'four stages, 1 GiB';
  rate(`${what}, against four \`cat\``, costs.stages, costs.fromPipe, { ...least, limit: costs.fromPipeLimit });
  rate(`${what}, without system calls, against four \`cat\``, costs.stagesBare, costs.fromPipe);
  const whole = '`read` and three stages, 1 GiB';
  rate(`${whole}, against four \`cat\``, costs.reading, costs.fromFile, { ...least, limit: costs.fromFileLimit });
  rate(`${whole}, without system calls, against four \`cat\``, costs.readingBare, costs.fromFile);
  const node = "node -e 'process.stdin.pipe(process.stdout)'";
  const { ours, theirs } = inTurn(
    {
      ours: `${reading} | ${pagepipe} write ${out}`,
      theirs: `${node} < ${pages} | ${node} | ${node} | ${node} | ${node} > ${out}`,
    },
    fewRounds,
  );
  rate('`read`, three stages and `write`, 1 GiB, against five pipes in Node.js', ours, theirs, { byClock: 0.9 });
}
