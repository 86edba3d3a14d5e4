// Measures what docs/benchmarks.md shows, alternating each figure with what it is compared with. Needs some 40 GiB of disk, and
// root for what is compared with crit or CRIU, and for reflinks. PAGEPIPE_BENCH_GIB says how large the dump is whose pages are
// spilled.
//
//   npm run bench -- [--rounds N] [--docs] [--check] [FOLDER [PART...]]
//
// FOLDER takes the files instead of the system's temporary folder. PART is a name in PARTS; without any, all are run.
// With --docs the tables go into docs/benchmarks.md as well. With --check it fails if an aim is missed.
//
// Each part is a program in parts/ with its own process group and folder: one that fails or hangs loses no figures of others.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { cpus, release, tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { createInterface } from 'node:readline';
import { parseArgs } from 'node:util';
import { checkPlaces, tablesOf, writeInto } from './tables.mjs';

/** In the order of the page. */
const PARTS = [
  'startup',
  'pipes',
  'copies',
  'archives',
  'send',
  'many',
  'crit',
  'make-lazy',
  'look',
  'serve',
  'capture',
  'lazy-pages',
  'template',
  'memory',
];
/** None takes half of it. */
const PART_SECONDS = 10 * 60;
const PAGE = join(import.meta.dirname, '../docs/benchmarks.md');

const { values: options, positionals } = parseArgs({
  options: {
    rounds: { type: 'string', default: '5' },
    docs: { type: 'boolean', default: false },
    check: { type: 'boolean', default: false },
  },
  allowPositionals: true,
});
// Node reads the certificates when it starts, which takes longer than all else and hides what a command adds.
delete process.env['NODE_EXTRA_CA_CERTS'];

const [folder = tmpdir(), ...chosen] = positionals;
const unknown = chosen.find((part) => !PARTS.includes(part));
if (unknown !== undefined) throw new Error(`expected a part of ${PARTS.join(', ')}, found ${unknown}`);
const parts = chosen.length > 0 ? chosen : PARTS;
if (options.docs) checkPlaces(PAGE, ['run', ...parts]);
const work = mkdtempSync(join(resolve(folder), 'pagepipe-bench-'));
let running;
for (const signal of ['SIGINT', 'SIGTERM']) process.once(signal, stop);

const system = `Node.js ${process.versions.node}, Linux ${release().split('-')[0]}, ${cpus().length} × ${cpus()[0]?.model}`;
const run = `${dateOf(new Date())}, up to ${options.rounds} rounds, ${system}`;
console.log(run);
const begin = Date.now();
for (const part of parts) await measurePart(part);
if (options.docs && chosen.length === 0) writeInto(PAGE, 'run', `${run}. It took ${minutesSince(begin)} minutes.`);
console.error(`${minutesSince(begin)} minutes`);
rmSync(work, { recursive: true, force: true });

async function measurePart(part) {
  const start = Date.now();
  const rows = [];
  const code = await runPart(part, (row) => rows.push(row));
  console.error(`(${part}: ${Math.round((Date.now() - start) / 1000)} s)`);
  const texts = [tablesOf(rows)];
  if (code !== 0) {
    console.error(`${part} failed`);
    texts.push('The rest of this part was not measured: it failed.');
  }
  if (code !== 0 || (options.check && rows.some(({ aims }) => aims.some(({ isMet }) => !isMet)))) process.exitCode = 1;
  const text = texts.join('\n\n');
  console.log(`\n## ${part}\n\n${text}`);
  if (options.docs) writeInto(PAGE, part, chosen.length > 0 ? `Measured apart: ${run}.\n\n${text}` : text);
}

/** Runs a part to its end, and ends what it leaves running. `tell` is given its rows. Returns its exit code. */
async function runPart(part, tell) {
  const files = join(work, part);
  mkdirSync(files);
  const script = join(import.meta.dirname, 'parts', `${part}.mjs`);
  running = spawn('node', [script, files, options.rounds], { stdio: ['ignore', 'pipe', 'inherit'], detached: true });
  const timer = setTimeout(stopPart, 1000 * PART_SECONDS);
  createInterface({ input: running.stdout }).on('line', (line) => {
    const row = JSON.parse(line);
    console.error(row.cells.filter((cell) => cell !== '').join(' | '));
    tell(row);
  });
  const [code] = await once(running, 'close');
  clearTimeout(timer);
  stopPart();
  rmSync(files, { recursive: true, force: true });
  return code;
}

function stopPart() {
  try {
    process.kill(-running.pid, 'SIGKILL');
  } catch {
    // All of its processes have ended.
  }
}

function stop() {
  stopPart();
  rmSync(work, { recursive: true, force: true });
  process.exit(1);
}

function dateOf(date) {
  return date.toLocaleDateString('en-GB', { day: 'numeric', month: 'long', year: 'numeric', timeZone: 'UTC' });
}

function minutesSince(start) {
  return Math.round((Date.now() - start) / 60_000);
}
