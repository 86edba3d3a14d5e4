// Runs commands and says what they cost. A part of the bench is given its own folder and the number of rounds by run.mjs.
import { execFileSync, spawnSync } from 'node:child_process';
import { readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

export const GIB = 2 ** 30;
export const MIB = 2 ** 20;

const here = import.meta.dirname;
const [folder = '.', count = '1'] = process.argv.slice(2);
/** Where the files of a part are. What is left of them is removed when it has ended. */
export const work = folder;
export const rounds = Number(count);
/** Where a round takes many seconds. */
export const fewRounds = Math.min(rounds, 3);

export const bin = join(here, '../bin/pagepipe.js');
export const pagepipe = `node ${bin}`;
const peaks = join(work, 'peaks');
export const withPeaks = `node --import ${join(here, 'peak.mjs')} ${bin}`;

export const at = (name) => join(work, name);
/** What a command makes. */
export const out = at('out');

/** Runs a shell command that must succeed. */
export function run(command) {
  execFileSync('bash', ['-o', 'pipefail', '-c', command], { stdio: 'ignore' });
}

/**
 * What a shell command costs: seconds by the clock, and CPU seconds of all its processes. `out`, which it may make, is removed.
 */
export function costOf(command) {
  const cost = clock('bash', ['-o', 'pipefail', '-c', 'eval "$0"'], command);
  remove(out);
  return cost;
}

/** The same with a disk that has nothing else to write when it starts. */
export function measure(command) {
  execFileSync('sync');
  return costOf(command);
}

/** What a shell command costs, measured by the shell that `file` and `args` start. It must succeed. */
export function clock(file, args, command) {
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
 * Measures several commands in turn.
 * @param {Record<string, string | (() => { seconds: number, cpu: number })>} commands by name
 * @returns {Record<string, { seconds: number, cpu: number }[]>} what each costs in each round
 */
export function inTurn(commands, times = rounds) {
  const costs = Object.fromEntries(Object.keys(commands).map((name) => [name, []]));
  for (let round = 0; round < times; round++) {
    for (const [name, command] of Object.entries(commands)) {
      costs[name].push(typeof command === 'string' ? measure(command) : command());
    }
  }
  return costs;
}

/** Median seconds by the clock. */
export const secondsOf = (command, times = rounds) => median(inTurn({ command }, times).command.map((c) => c.seconds));

/** Peak memory of each process of a command that runs `withPeaks`, by its first word, in MiB. */
export function peaksOf(command) {
  writeFileSync(peaks, '');
  measure(command);
  const lines = readFileSync(peaks, 'utf8').trim().split('\n');
  return lines.map((line) => line.split(' ')).map(([stage, kib]) => [stage, Number(kib) / 1024]);
}

/** Makes the program that does no more than the kernel must. */
export function buildLimit() {
  const program = at('limit');
  execFileSync('gcc', ['-O2', '-o', program, join(here, 'programs/limit.c')]);
  return program;
}

export const isThere = (program, ...args) => spawnSync(program, args, { stdio: 'ignore' }).status === 0;
export const isRoot = process.getuid() === 0;

export function median(values) {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[sorted.length >> 1];
}

export function remove(...paths) {
  for (const path of paths) rmSync(path, { recursive: true, force: true });
}
