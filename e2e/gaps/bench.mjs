// Makes one change in each copy of a dump, restores the copy with CRIU, and runs verify on it.
//
//   bench.mjs WORK [OPTION...]    WORK is a temporary folder that holds the programs; verify-gaps describes the options
import { appendFileSync, mkdirSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import process from 'node:process';
import { parseArgs } from 'node:util';
import { everyImage, everyImageOfNamespaces } from './changes/every-image.mjs';
import { files } from './changes/files.mjs';
import { memory } from './changes/memory.mjs';
import { namespaces, surroundings } from './changes/surroundings.mjs';
import { tasks } from './changes/tasks.mjs';
import { DumpCopy, Original } from './dump-copy.mjs';
import { overviewOf, summarize, tableOf, writeInto } from './table.mjs';
import { criuVersion, makeDump, restore, verify } from './trial.mjs';

/** A restore takes a second on an idle machine. */
const RESTORE_SECONDS = 20;
const QUICK_STEP = 6;
/** More than there are processors: a trial is mostly waiting. */
const WORKERS = 4;

const DUMPS = [
  { name: 'plain', namespaces: [], changes: [...everyImage, ...memory, ...tasks, ...files, ...surroundings] },
  {
    name: 'namespaces',
    namespaces: ['--uts', '--ipc', '--pid', '--time'],
    changes: [...everyImageOfNamespaces, ...namespaces],
  },
];

const { values: options, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    quick: { type: 'boolean', default: false },
    check: { type: 'string' },
    write: { type: 'boolean', default: false },
    suite: { type: 'string', default: 'trixie' },
    only: { type: 'string' },
    json: { type: 'string' },
    reuse: { type: 'string' },
  },
});
if (options.write && (options.quick || options.only)) throw new Error('--write needs all changes');
const [work] = positionals;
const pagepipe = process.env.PAGEPIPE.split(' ');
const setting = { suite: options.suite, programs: join(work, 'programs'), seconds: RESTORE_SECONDS };

/** What CRIU did in an earlier run, by dump, image and change. */
const known = new Map();
const keyOf = ({ dump, image, what }) => `${dump} ${image}: ${what}`;
if (options.reuse) {
  const lines = readFileSync(options.reuse, 'utf8').split('\n').filter(Boolean);
  for (const result of lines.map((line) => JSON.parse(line))) if (result.outcome) known.set(keyOf(result), result);
}

const isWanted = ({ image, what }, index) =>
  (!options.quick || index % QUICK_STEP === 0) && (!options.only || RegExp(options.only).test(`${image}: ${what}`));

/** Tries a change, or an unchanged copy. `outcome` is undefined if the change could not be made, which is a bug here. */
async function attempt(at, original, change, folder, earlier) {
  mkdirSync(folder);
  const copy = new DumpCopy(original, join(folder, 'dump'));
  try {
    await change?.apply(copy);
  } catch (error) {
    return { said: String(error.stderr || error.stack) };
  }
  const { directory } = copy;
  const { answer, codes, said: verifySaid } = await verify(pagepipe, directory);
  const { outcome, said } = earlier ?? (await restore(setting, at, directory, join(folder, 'run')));
  if (!process.env.KEEP) rmSync(folder, { recursive: true });
  return { outcome, said, answer, codes, verifySaid };
}

async function tryAll({ name, namespaces: unshared, changes }) {
  const wanted = changes.filter(isWanted);
  if (wanted.length === 0) return { untouched: [], results: [] };
  const at = join(work, name);
  await makeDump(setting, at, unshared);
  const original = new Original(join(at, 'dump'), pagepipe);
  await original.prepare();
  const untouched = [{ image: name, ...(await attempt(at, original, undefined, join(at, 'untouched'))) }];
  const results = [];
  let next = 0;
  const worker = async () => {
    while (next < wanted.length) {
      const index = next++;
      const change = { dump: name, ...wanted[index] };
      const result = await attempt(at, original, change, join(at, String(index)), known.get(keyOf(change)));
      results[index] = { ...change, ...result };
      if (options.json) appendFileSync(options.json, `${JSON.stringify(results[index])}\n`);
      if (process.stderr.isTTY) process.stderr.write(`\r${name}: ${index + 1} of ${wanted.length} `);
    }
  };
  await Promise.all(Array.from({ length: WORKERS }, worker));
  return { untouched, results };
}

const version = await criuVersion(setting);
const untouched = [];
const results = [];
for (const dump of DUMPS) {
  const tried = await tryAll(dump);
  untouched.push(...tried.untouched);
  results.push(...tried.results);
}

const unmade = results.filter(({ outcome }) => outcome === undefined);
for (const { image, what, said } of unmade) console.error(`${image}: ${what}: ${said}`);
if (unmade.length > 0) process.exitCode = 1;

const made = results.filter(({ outcome }) => outcome !== undefined);
const summary = summarize(untouched, made);
console.log(tableOf(version, made, summary));
if (options.write) writeInto(new URL('../../docs/verify.md', import.meta.url), overviewOf(version, made, summary));
for (const complaint of summary.complaints) console.error(complaint);
if (summary.complaints.length > 0 && options.check) process.exitCode = 1;
if (options.check && summary.foundPercent < Number(options.check)) {
  console.error(
    `verify finds ${summary.foundPercent} % of what CRIU cannot restore, expected at least ${options.check} %`,
  );
  process.exitCode = 1;
}
