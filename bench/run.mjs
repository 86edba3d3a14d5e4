// Measures what docs/benchmarks.md shows, alternating each figure with what it is compared with, in one run. Needs some
// 10 GiB of disk, 35 GiB for archive-memory (PAGEPIPE_BENCH_GIB says which size instead of 32), and root for what is
// compared with crit or CRIU, and for reflinks.
//
//   npm run bench -- [--rounds N] [--check] [FOLDER [PART...]]
//
// FOLDER takes the files instead of the system's temporary folder. PART is a name in PARTS; without any, all are run.
// With --check it fails if something costs more than its size explains.
import { execFileSync, spawnSync } from 'node:child_process';
import {
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { cpus, tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { archiveMemory, archives } from './archives.mjs';
import { generateDump, generateGhostFile, generatePagemap } from './generate.mjs';
import { lazy } from './lazy.mjs';
import { linear } from './linear.mjs';
import { look } from './look.mjs';
import { reflinks } from './reflinks.mjs';
import { send } from './send.mjs';
import { serve } from './serve.mjs';
import { stream } from './stream.mjs';
import { template } from './template.mjs';

const GIB = 2 ** 30;
const MIB = 2 ** 20;
const { values: options, positionals } = parseArgs({
  options: { rounds: { type: 'string', default: '5' }, check: { type: 'boolean', default: false } },
  allowPositionals: true,
});
const ROUNDS = Number(options.rounds);
/** Where a round takes many seconds. */
const FEW_ROUNDS = Math.min(ROUNDS, 3);

const PARTS = {
  dump: largeDump,
  runs: manyRuns,
  pipes: densePipes,
  linear: () => linear({ work, pagepipe, run, cpuOf, measure, compare, row, median, rounds: FEW_ROUNDS }),
  memory,
  startup,
  crit,
  json: jsonMemory,
  serve: () => serve({ work, row, median, rounds: ROUNDS }),
  lazy: () => lazy({ work, row, median, rounds: ROUNDS }),
  template: () => template({ work, pagepipe, measure, compare, row, median, rounds: ROUNDS }),
  send: () => send({ work, pagepipe, withPeaks, measure, compare, peaksOf, row }),
  look: () => look({ work, pagepipe, withPeaks, run, measure, compare, peaksOf, row, median, rounds: ROUNDS }),
  stream: () => stream({ withPeaks, pagepipe, measure, compare, peaksOf, row, median, rounds: ROUNDS }),
  archives: () => archives({ work, pagepipe, time, measure, compare }),
  reflinks: () => reflinks({ work, pagepipe, measure, row, median, rounds: ROUNDS }),
  'archive-memory': () => archiveMemory({ work, withPeaks, time, peaksOf, row }),
};
// Node reads the certificates when it starts, which takes longer than all else and hides what a command adds.
delete process.env['NODE_EXTRA_CA_CERTS'];

const [folder = tmpdir(), ...parts] = positionals;
const unknown = parts.find((part) => !Object.hasOwn(PARTS, part));
if (unknown !== undefined) throw new Error(`expected a part of ${Object.keys(PARTS).join(', ')}, found ${unknown}`);

const work = mkdtempSync(join(resolve(folder), 'pagepipe-bench-'));
const bin = join(import.meta.dirname, '../bin/pagepipe.js');
const pagepipe = `node ${bin}`;
const peaks = join(work, 'peaks');
const withPeaks = `node --import ${join(import.meta.dirname, 'peak.mjs')} ${bin}`;
const bare = "node -e 'process.stdin.pipe(process.stdout)'";
const rows = [];

try {
  await main();
} finally {
  rmSync(work, { recursive: true, force: true });
}

async function main() {
  console.log(
    `node ${process.version}, ${cpus().length} cores, ${cpus()[0]?.model}; medians of ${ROUNDS} rounds or more, ${FEW_ROUNDS} where it takes long\n`,
  );
  for (const part of parts.length > 0 ? parts : Object.keys(PARTS)) {
    const start = Date.now();
    await PARTS[part]();
    console.error(`(${part}: ${Math.round((Date.now() - start) / 1000)} s)`);
  }
  for (const [what, figure, reach] of rows) console.log(`${what.padEnd(76)} ${figure.padEnd(40)} ${reach}`);
  const missed = rows.filter(([, , , isMet]) => isMet === false);
  if (options.check && missed.length > 0) {
    console.error(`missed:\n${missed.map(([what, figure]) => `  ${what}: ${figure}`).join('\n')}`);
    process.exitCode = 1;
  }
}

async function largeDump() {
  const dump = join(work, 'd32');
  await generateDump(dump, { lazyBytes: 32 * GIB - 8 * MIB, eagerBytes: 8 * MIB });
  const out = join(work, 'out');
  const seconds = median(
    Array.from({ length: ROUNDS }, () => time(`${pagepipe} make-lazy ${dump} ${out} --json`, out)),
  );
  row('make-lazy, 32 GiB with 8 MiB eager', `${seconds.toFixed(2)} s`, 'under 1 s');
  const kept = statSync(join(run(`${pagepipe} make-lazy ${dump} ${out} --json`, out, true), 'pages-1.img')).size;
  const read = bytesRead(dump, out);
  row(
    '  bytes read from the pages file / bytes kept',
    read === undefined ? 'not measured: no strace' : (read / kept).toFixed(3),
    'at most 1.1',
  );
  rmSync(dump, { recursive: true });
}

async function manyRuns() {
  const times = [];
  for (const millions of [1, 4]) {
    const dump = join(work, `runs${millions}`);
    await generateDump(dump, { lazyBytes: millions * 1e6 * 4096, eagerBytes: 0, runPages: 1, gapPages: 1 });
    const out = join(work, 'out');
    times.push(median(Array.from({ length: ROUNDS }, () => time(`${pagepipe} make-lazy ${dump} ${out} --json`, out))));
    rmSync(dump, { recursive: true });
  }
  row('make-lazy, 1,000,000 runs of one page', `${times[0].toFixed(2)} s`, 'under 3 s');
  row('  4,000,000 runs', `${(times[1] / times[0]).toFixed(2)} times as long`, 'at most 4.5');
}

async function densePipes() {
  const dump = join(work, 'dense');
  await generateDump(dump, { lazyBytes: 2 * GIB, eagerBytes: 0, dense: true });
  const out = join(work, 'out');
  const pages = join(dump, 'pages-1.img');
  time(`cat ${dump}/* > /dev/null`);
  compare(
    'read | write, 2 GiB dense, against tar c | tar x (rate)',
    () => measure(`${pagepipe} read ${dump} | ${pagepipe} write ${out}`, out),
    () => measure(`mkdir ${out}; tar cf - -C ${dump} . | tar xf - -C ${out}`, out),
    'at least 1',
  );
  compare(
    '  the same, with what tar wrote synced to disk as well',
    () => measure(`${pagepipe} read ${dump} | ${pagepipe} write ${out}`, out),
    () => measure(`mkdir ${out}; tar cf - -C ${dump} . | tar xf - -C ${out}; sync ${out}/*`, out),
    '',
  );
  compare(
    '  the same, where system calls are not available',
    () => measure(`PAGEPIPE_SYSCALLS=0 ${pagepipe} read ${dump} | PAGEPIPE_SYSCALLS=0 ${pagepipe} write ${out}`, out),
    () => measure(`mkdir ${out}; tar cf - -C ${dump} . | tar xf - -C ${out}`, out),
    'at least 0.9',
  );
  const limit = buildLimit();
  const five = `${pagepipe} read ${dump} | ${pagepipe} classify | ${pagepipe} filter --drop all --pid 99 | ${pagepipe} rebuild`;
  compare(
    'five processes, 2 GiB dense, nothing dropped, against five bare node pipes',
    () => measure(`${five} | ${pagepipe} write ${out}`, out),
    () => measure(`${bare} < ${pages} | ${bare} | ${bare} | ${bare} | ${bare} > ${out}`, out),
    'at least 0.9',
  );
  compare(
    '  the same without the writing: four stages, against four bare pipes',
    () => measure(`${five} > /dev/null`),
    () => measure(`${bare} < ${pages} | ${bare} | ${bare} | ${bare} > /dev/null`),
    '',
  );
  compare(
    '  the same, against four cat',
    () => measure(`${five} > /dev/null`),
    () => measure(`cat < ${pages} | cat | cat | cat > /dev/null`),
    '',
  );
  const stream = join(work, 'stream');
  run(`${pagepipe} read ${dump} > ${stream}`);
  compare(
    'four stages without reading the dump, 2 GiB, against four cat',
    () =>
      measure(
        `${pagepipe} classify < <(cat ${stream}) | ${pagepipe} filter --drop all --pid 99 | ${pagepipe} filter --drop lazy --pid 99 | ${pagepipe} rebuild > /dev/null`,
      ),
    () => measure(`cat < <(cat ${stream}) | cat | cat | cat > /dev/null`),
    'at least 1.3',
    {
      seconds: true,
      limit: () =>
        measure(`${limit} splice < <(cat ${stream}) | ${limit} splice | ${limit} splice | ${limit} splice > /dev/null`),
    },
  );
  rmSync(stream);
  compare(
    'copy, directory to directory, 2 GiB, against cp -r',
    () => measure(`${pagepipe} copy ${dump} ${out}`, out),
    () => measure(`cp -r ${dump} ${out}; sync ${out}/*`, out),
    'at least 1',
    { seconds: true, limit: () => measure(`${limit} copy ${dump} ${out}`, out) },
  );
  const half = join(work, 'half');
  await generateDump(half, { lazyBytes: GIB, eagerBytes: GIB, dense: true });
  compare(
    'make-lazy, directory to directory, 2 GiB, half of it eager, against cp of the eager half',
    () => measure(`${pagepipe} make-lazy ${half} ${out}`, out),
    () => measure(`head -c ${GIB} ${join(half, 'pages-1.img')} > ${out}; sync ${out}`, out),
    'at least 1',
    { seconds: true },
  );
  rmSync(half, { recursive: true });
  compare(
    'copy, directory to a tar, 2 GiB, against tar c and sync',
    () => measure(`${pagepipe} copy ${dump} ${out} --to tar`, out),
    () => measure(`tar cf ${out} -C ${dump} .; sync ${out}`, out),
    'at least 0.8',
    { seconds: true },
  );
  rmSync(dump, { recursive: true });
}

/** The program that does no more than the kernel must. */
function buildLimit() {
  const path = join(work, 'limit');
  execFileSync('gcc', ['-O2', '-o', path, join(import.meta.dirname, 'programs/limit.c')]);
  return path;
}

async function memory() {
  const figures = {};
  for (const gib of [1, 64]) {
    const dump = join(work, `d${gib}`);
    await generateDump(dump, { lazyBytes: gib * GIB - 8 * MIB, eagerBytes: 8 * MIB });
    const out = join(work, 'out');
    const stages = ['classify', 'filter --drop lazy', 'rebuild', `write ${out}`];
    const commands = [
      `${withPeaks} make-lazy ${dump} ${out} --json`,
      [`${withPeaks} read ${dump}`, ...stages.map((stage) => `${withPeaks} ${stage}`)].join(' | '),
    ];
    for (const command of commands) {
      for (const [stage, mib] of peaksOf(command, out)) {
        figures[stage] ??= [];
        figures[stage].push(mib);
      }
    }
    rmSync(dump, { recursive: true });
  }
  for (const [stage, [small, large]] of Object.entries(figures)) {
    row(
      `peak memory of ${stage}, 1 GiB and 64 GiB`,
      `${small.toFixed(0)} MiB, ${large.toFixed(0)} MiB (x ${(large / small).toFixed(2)})`,
      'under 128 MiB, x 1.10',
    );
  }
}

/** What the start of a process costs: commands on a small dump, against Node alone, in turn. */
function startup() {
  const dump = join(import.meta.dirname, '../fixtures/family-criu-4.2.1');
  const out = join(work, 'out');
  const stream = join(work, 'stream');
  run(`${pagepipe} read ${dump} > ${stream}`);
  const commands = {
    '--help': '--help',
    read: `read ${dump}`,
    classify: `classify < ${stream}`,
    'make-lazy': `make-lazy ${dump} ${out}`,
    verify: `verify ${dump}`,
    'x ps': `x ${dump} ps`,
    'decode of an inventory': `decode -i ${join(dump, 'inventory.img')}`,
  };
  const costs = Object.fromEntries(['node', ...Object.keys(commands)].map((name) => [name, []]));
  // The first round leaves the compiled forms, and does not count.
  for (let round = 0; round <= 4 * ROUNDS; round++) {
    const cpu = { node: clock('bash', ['-c', 'eval "$0"'], 'node -e 0').cpu };
    for (const [name, command] of Object.entries(commands)) {
      if (existsSync(out)) rmSync(out, { recursive: true });
      cpu[name] = clock('bash', ['-c', 'eval "$0"'], `${pagepipe} ${command}`).cpu;
    }
    if (round > 0) for (const [name, seconds] of Object.entries(cpu)) costs[name].push(seconds);
  }
  rmSync(out, { recursive: true, force: true });
  rmSync(stream);
  const node = median(costs.node);
  for (const name of Object.keys(commands)) {
    const seconds = median(costs[name]);
    row(
      `start of ${name}, against node -e 0`,
      `CPU x ${(seconds / node).toFixed(2)}, ${(1000 * seconds).toFixed(0)} and ${(1000 * node).toFixed(0)} ms`,
      'at most x 2',
    );
  }
}

/** Against crit, inside the root that carries it: the process alone is timed, not the way into the root. */
function crit() {
  const root = join(import.meta.dirname, '../e2e/criu-root');
  const version = spawnSync(root, ['sid', '--', 'crit', '--version'], { stdio: ['ignore', 'pipe', 'inherit'] });
  if (version.status !== 0) {
    row('against crit', 'not measured: no crit', '');
    return;
  }
  const files = join(work, 'crit');
  mkdirSync(files);
  generatePagemap(join(files, 'pagemap.img'), 1e6);
  copyFileSync(join(import.meta.dirname, '../fixtures/mosaic-criu-4.2.1/inventory.img'), join(files, 'inventory.img'));
  // Its own JSON for both: what is encoded must not depend on what was decoded here.
  const inRoot = ['--bind', `${files}:/run/bench`, '--', 'bash', '-c', 'cd /run/bench && eval "$1"', 'bench'];
  const theirs = (command) => clock(root, ['sid', ...inRoot], `crit ${command}`);
  const ours = (command) => clock('bash', ['-c', 'cd "$0" && eval "$1"', files], `${pagepipe} ${command}`);
  theirs('decode -i pagemap.img -o pagemap.json');

  const label = `crit ${String(version.stdout).trim()}`;
  for (const [what, command, reach, rounds] of [
    [
      `decode, pagemap of 1,000,000 entries, against ${label} (rate)`,
      'decode -i pagemap.img -o',
      'at least 15',
      FEW_ROUNDS,
    ],
    ['  decode --pretty', 'decode --pretty -i pagemap.img -o', 'at least 15', FEW_ROUNDS],
    ['  encode', 'encode -i pagemap.json -o', 'at least 5', FEW_ROUNDS],
    ['  info', 'info pagemap.img >', 'at least 20', 2 * ROUNDS],
    ['  decode of an inventory, which is to start', 'decode -i inventory.img -o', 'at least 1', 2 * ROUNDS],
  ]) {
    // Once before it counts, so that both are in the page cache; and the same must come out.
    ours(`${command} ours`);
    theirs(`${command} theirs`);
    const same = spawnSync('cmp', ['-s', join(files, 'ours'), join(files, 'theirs')]).status === 0;
    compare(
      same ? what : `${what}, OTHER BYTES`,
      () => ours(`${command} ours`),
      () => theirs(`${command} theirs`),
      reach,
      { rounds, seconds: true },
    );
  }
  rmSync(files, { recursive: true });
}

/** Peak memory of decode and encode, image to image through pipes. */
function jsonMemory() {
  const image = join(work, 'image');
  for (const [what, generate] of [
    ['pagemap of 10,000,000 entries', () => generatePagemap(image, 10e6)],
    ['deleted file of 1 GiB', () => generateGhostFile(image, GIB)],
  ]) {
    generate();
    const command = `cat ${image} | ${withPeaks} decode | ${withPeaks} encode | cmp - ${image}`;
    for (const [stage, mib] of peaksOf(command))
      row(`peak memory of ${stage}, ${what}, in pipes`, `${mib.toFixed(0)} MiB`, 'under 128 MiB');
    rmSync(image);
  }
}

/** Runs a shell command that must succeed; removes `out`, which it made, afterwards unless it is to be kept. */
function run(command, out, keep = false) {
  if (out && existsSync(out)) rmSync(out, { recursive: true });
  execFileSync('bash', ['-o', 'pipefail', '-c', command], {
    stdio: ['ignore', 'ignore', 'ignore'],
    env: { ...process.env, PAGEPIPE_BENCH_PEAKS: peaks },
  });
  if (out && !keep) rmSync(out, { recursive: true });
  return out;
}

/**
 * What a shell command costs: seconds by the clock, and CPU seconds of all its processes. What was written before is on the
 * disk when it starts; `out`, which it makes, is removed.
 */
function measure(command, out) {
  if (out && existsSync(out)) rmSync(out, { recursive: true });
  execFileSync('sync');
  const cost = clock('bash', ['-o', 'pipefail', '-c', 'eval "$0"'], command);
  if (out) rmSync(out, { recursive: true });
  return cost;
}

/** CPU seconds of a shell command, which do not depend on what the disk is doing. */
function cpuOf(command, out) {
  const { cpu } = clock('bash', ['-o', 'pipefail', '-c', 'eval "$0"'], command);
  if (out) rmSync(out, { recursive: true });
  return cpu;
}

/** Seconds by the clock. */
function time(command, out) {
  return measure(command, out).seconds;
}

/** What a shell command costs, measured by the shell that `file` and `args` start. It must succeed. */
function clock(file, args, command) {
  // The last line is what `time` says.
  const script = `TIMEFORMAT='%3R %3U %3S'; LC_ALL=C; time { ${command}; } > /dev/null 2> /dev/null`;
  const { status, stderr } = spawnSync(file, [...args, script], {
    stdio: ['ignore', 'ignore', 'pipe'],
    env: { ...process.env, PAGEPIPE_BENCH_PEAKS: peaks },
    encoding: 'utf8',
  });
  if (status !== 0) throw new Error(`${command}: exit code ${status}`);
  const [seconds, user, system] = stderr.trim().split('\n').at(-1).split(' ').map(Number);
  return { seconds, cpu: user + system };
}

/**
 * Runs two in turn, and with `limit` a third that does no more than the kernel must. The figure is the median of the ratios of
 * their rates, by the clock and by CPU seconds; on demand the times and the share of the limit, in CPU seconds, as well.
 */
function compare(what, ours, theirs, reach, { rounds = ROUNDS, seconds = false, limit } = {}) {
  const costs = Array.from({ length: rounds }, () => [ours(), theirs(), limit?.()]);
  const ratios = (of) => costs.map(([a, b]) => of(b) / of(a)).sort((a, b) => a - b);
  const rates = ratios((cost) => cost.seconds);
  const [first, last] = [rates[0], rates.at(-1)].map((ratio) => ratio.toFixed(2));
  let figure = `${median(rates).toFixed(2)} (${first} to ${last}), CPU ${median(ratios((cost) => cost.cpu)).toFixed(2)}`;
  const middle = (side) => median(costs.map((cost) => cost[side].seconds)).toFixed(2);
  if (seconds) figure += `, ${middle(0)} and ${middle(1)} s`;
  if (limit) figure += `, ${median(costs.map(([a, , c]) => c.cpu / a.cpu)).toFixed(2)} of the limit`;
  row(what, figure, reach);
}

/** Peak memory of each process of a command, by stage, in MiB. */
function peaksOf(command, out) {
  writeFileSync(peaks, '');
  time(command, out);
  const lines = readFileSync(peaks, 'utf8').trim().split('\n');
  return lines.map((line) => line.split(' ')).map(([stage, kib]) => [stage, Number(kib) / 1024]);
}

/** Bytes that make-lazy reads from the pages file, by strace. */
function bytesRead(dump, out) {
  if (spawnSync('strace', ['-V']).error) return undefined;
  const trace = join(work, 'trace');
  const calls = 'read,pread64,readv,preadv,copy_file_range,sendfile';
  run(
    `strace -f -qq -o ${trace} -P ${join(dump, 'pages-1.img')} -e trace=${calls} ${pagepipe} make-lazy ${dump} ${out}`,
    out,
  );
  const results = readFileSync(trace, 'utf8').matchAll(/ = (\d+)$/gm);
  return [...results].reduce((sum, [, bytes]) => sum + Number(bytes), 0);
}

function median(values) {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[sorted.length >> 1];
}

/** @param {boolean} [isMet] whether the aim is reached, for --check */
function row(what, figure, reach, isMet) {
  rows.push([what, figure, reach, isMet]);
  console.error(`${what}: ${figure}`);
}
