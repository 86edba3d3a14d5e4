// Measures what docs/benchmarks.md shows: each figure beside what it is compared with, in one run, in turn. Needs some
// 10 GiB of disk. `npm run bench -- FOLDER` puts the files elsewhere than in the system's temporary folder.
import { execFileSync, spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { cpus, tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { generateDump } from './generate.mjs';

const GIB = 2 ** 30;
const MIB = 2 ** 20;
const ROUNDS = 5;

const work = mkdtempSync(join(resolve(process.argv[2] ?? tmpdir()), 'pagepipe-bench-'));
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
  console.log(`node ${process.version}, ${cpus().length} cores, ${cpus()[0]?.model}; medians of ${ROUNDS} rounds\n`);
  await largeDump();
  await manyRuns();
  await densePipes();
  await memory();
  startup();
  for (const [what, figure, reach] of rows) console.log(`${what.padEnd(76)} ${figure.padEnd(28)} ${reach}`);
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
    () => time(`${pagepipe} read ${dump} | ${pagepipe} write ${out}`, out),
    () => time(`mkdir ${out}; tar cf - -C ${dump} . | tar xf - -C ${out}`, out),
    'at least 1',
  );
  compare(
    '  the same, with what tar wrote synced to disk as well',
    () => time(`${pagepipe} read ${dump} | ${pagepipe} write ${out}`, out),
    () => time(`mkdir ${out}; tar cf - -C ${dump} . | tar xf - -C ${out}; sync ${out}/*`, out),
    '',
  );
  const five = `${pagepipe} read ${dump} | ${pagepipe} classify | ${pagepipe} filter --drop all --pid 99 | ${pagepipe} rebuild`;
  compare(
    'five processes, 2 GiB dense, nothing dropped, against five bare node pipes',
    () => time(`${five} | ${pagepipe} write ${out}`, out),
    () => time(`${bare} < ${pages} | ${bare} | ${bare} | ${bare} | ${bare} > ${out}`, out),
    'at least 0.9',
  );
  compare(
    '  the same without the writing: four stages, against four bare pipes',
    () => time(`${five} > /dev/null`),
    () => time(`${bare} < ${pages} | ${bare} | ${bare} | ${bare} > /dev/null`),
    '',
  );
  compare(
    '  the same, against four cat',
    () => time(`${five} > /dev/null`),
    () => time(`cat < ${pages} | cat | cat | cat > /dev/null`),
    '',
  );
  rmSync(dump, { recursive: true });
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
      writeFileSync(peaks, '');
      time(command, out);
      for (const line of readFileSync(peaks, 'utf8').trim().split('\n')) {
        const [stage, kib] = line.split(' ');
        figures[stage] ??= [];
        figures[stage].push(Number(kib) / 1024);
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

function startup() {
  const help = () => time(`${pagepipe} --help > /dev/null`);
  help();
  const nothing = () => time('node -e 0');
  const seconds = median(Array.from({ length: 4 * ROUNDS }, help));
  const node = median(Array.from({ length: 4 * ROUNDS }, nothing));
  row(
    'pagepipe --help',
    `${(1000 * seconds).toFixed(0)} ms (node alone ${(1000 * node).toFixed(0)} ms)`,
    'under 150 ms',
  );
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

/** Seconds that a command takes. What was written before is on the disk when it starts. */
function time(command, out) {
  if (out && existsSync(out)) rmSync(out, { recursive: true });
  execFileSync('sync');
  const start = process.hrtime.bigint();
  run(command, out, true);
  const seconds = Number(process.hrtime.bigint() - start) / 1e9;
  if (out) rmSync(out, { recursive: true });
  return seconds;
}

/** Runs two in turn; the figure is the median of the ratios of their rates. */
function compare(what, ours, theirs, reach) {
  const pairs = Array.from({ length: ROUNDS }, () => [ours(), theirs()]);
  const ratios = pairs.map(([a, b]) => b / a).sort((a, b) => a - b);
  const [first, last] = [ratios[0], ratios.at(-1)].map((ratio) => ratio.toFixed(2));
  row(what, `${median(ratios).toFixed(2)} (${first} to ${last})`, reach);
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

function row(what, figure, reach) {
  rows.push([what, figure, reach]);
  console.error(`${what}: ${figure}`);
}
