// Templates, whose memory is mapped and not read, side by side with the dumps that they are made of: real processes, restored
// by the CRIU of a Debian release in namespaces of their own. Needs root, gcc, what e2e/criu-root needs, and xfsprogs for
// reflinks.
import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { generateDump } from './generate.mjs';
import { NOT_MEASURED, withReflinks } from './reflinks.mjs';

const GIB = 2 ** 30;
const MIB = 2 ** 20;
const here = import.meta.dirname;
const bin = join(here, '../bin/pagepipe.js');
/** The programs of the bench are linked statically, so pagepipe cannot see what they count on. */
const TEMPLATE = ['template', '--allow-dontneed', 'all'];
const CRIU_ENVIRONMENT = ['env', '-i', 'PATH=/usr/sbin:/usr/bin:/sbin:/bin', 'HOME=/', 'CRIU_FAULT=130'];
const LARGE_MIB = 1024;
const CLONE_MIB = 256;
const CLONES = 16;

/** @param {{ work: string, pagepipe: string, measure: Function, compare: Function, row: Function, median: Function, rounds: number }} bench */
export async function template({ work, pagepipe, measure, compare, row, median, rounds }) {
  const folder = join(work, 'template');
  mkdirSync(folder, { recursive: true });
  execFileSync('gcc', ['-std=gnu99', '-O2', '-static', '-o', join(folder, 'keep'), join(here, 'programs/keep.c')]);
  const large = await Original.start(folder, 'large', LARGE_MIB);
  await restoreTimes({ large, row, median, rounds });
  await secondDump({ large, row });
  large.remove();
  const small = await Original.start(folder, 'small', CLONE_MIB);
  await sharedMemory({ small, row });
  small.remove();
  await makingOne({ work, pagepipe, measure, compare, row, median, rounds });
  rmSync(folder, { recursive: true });
}

async function restoreTimes({ large, row, median, rounds }) {
  const results = { warm: [], cold: [] };
  for (let i = 0; i < rounds; i++) {
    for (const cache of ['warm', 'cold']) {
      const pair = [];
      for (const dump of ['mapped', 'plain']) {
        if (cache === 'cold') dropCaches();
        else warm(large.folder);
        const clone = await large.restore(dump);
        pair.push(clone.cost);
        await clone.end();
      }
      results[cache].push(pair);
    }
  }
  const ratio = (cache, of) => median(results[cache].map(([ours, theirs]) => of(ours) / of(theirs)));
  const middle = (cache, side, of) => median(results[cache].map((pair) => of(pair[side])));
  const both = (cache, of, show) => [0, 1].map((side) => show(middle(cache, side, of))).join(' and ');
  const figure = (cache, of, show) => `${ratio(cache, of).toFixed(3)}: ${both(cache, of, show)}`;
  const seconds = (value) => `${(1000 * value).toFixed(0)} ms`;
  const time = ({ seconds: value }) => value;
  const memory = ({ resident }) => resident;
  const bytes = ({ read }) => read;
  row(
    'criu restore of a template against that of its dump, 1 GiB (time)',
    figure('warm', time, seconds),
    'at most 0.2',
  );
  row('  resident memory when it runs', figure('warm', memory, mebibytes), 'at most 0.03');
  row('  cold cache: bytes read until it runs', figure('cold', bytes, mebibytes), 'at most 0.1');
  row('  cold cache: time', figure('cold', time, seconds), '');
}

/** All of its memory is read, and one percent of it written. */
async function secondDump({ large, row }) {
  const sizes = {};
  for (const dump of ['plain', 'mapped']) {
    const clone = await large.restore(dump);
    await clone.tell('read');
    await clone.tell('write');
    const start = performance.now();
    sizes[dump] = [await clone.dump(), (performance.now() - start) / 1000];
  }
  const [[mapped, mappedTime], [plain, plainTime]] = [sizes.mapped, sizes.plain];
  row(
    'a second dump, all memory read and 1 % written, of a template against of a dump (bytes)',
    `${(mapped / plain).toFixed(3)}: ${mebibytes(mapped)} and ${mebibytes(plain)}`,
    'at most 0.02',
  );
  row('  time', `${(mappedTime / plainTime).toFixed(2)}: ${mappedTime.toFixed(2)} and ${plainTime.toFixed(2)} s`, '');
}

/** Clones that run at the same time, each in namespaces of its own. */
async function sharedMemory({ small, row }) {
  const shares = {};
  for (const dump of ['mapped', 'plain']) {
    const clones = [];
    for (let i = 0; i < CLONES; i++) clones.push(await small.restore(dump));
    for (const clone of clones) await clone.tell('read');
    shares[dump] = clones.reduce((sum, clone) => sum + clone.smaps('Pss'), 0) / CLONES;
    for (const clone of clones) await clone.end();
  }
  row(
    `memory of a clone of 256 MiB, all of it read, of ${CLONES} at once, of a template against a dump (Pss)`,
    `${(shares.mapped / shares.plain).toFixed(3)}: ${mebibytes(shares.mapped)} and ${mebibytes(shares.plain)}`,
    'at most 0.071',
  );
}

async function makingOne({ work, pagepipe, measure, compare, row, median, rounds }) {
  const [dump, out] = [join(work, 'dense'), join(work, 'out')];
  const options = TEMPLATE.slice(1).join(' ');
  await generateDump(dump, { lazyBytes: 4 * GIB, eagerBytes: 0, dense: true });
  compare(
    'template, 4 GiB dense, against cp (rate)',
    () => measure(`${pagepipe} template ${dump} ${out} ${options}`, out),
    () => measure(`cp -r --reflink=never ${dump} ${out}`, out),
    'at least 1',
    { seconds: true },
  );
  // A template is on disk when it appears.
  compare(
    '  against cp and sync (rate)',
    () => measure(`${pagepipe} template ${dump} ${out} ${options}`, out),
    () => measure(`cp -r --reflink=never ${dump} ${out} && sync -f ${out}`, out),
    '',
    { seconds: true },
  );
  const times = Array.from({ length: rounds }, () =>
    measure(`${pagepipe} template ${dump} ${out} --in-place ${options}`, out),
  );
  row('  --in-place', `${median(times.map(({ seconds }) => seconds)).toFixed(2)} s`, 'under 1 s');
  const isMounted = await withReflinks(work, 20 * GIB, async (mount) => {
    const shared = [join(mount, 'dense'), join(mount, 'out')];
    execFileSync('cp', ['-r', dump, shared[0]]);
    const reflinks = Array.from({ length: rounds }, () =>
      measure(`${pagepipe} template ${shared.join(' ')} ${options}`, shared[1]),
    );
    row('  on xfs, which shares blocks', `${median(reflinks.map(({ seconds }) => seconds)).toFixed(2)} s`, 'under 1 s');
  });
  if (!isMounted) row('  on xfs, which shares blocks', NOT_MEASURED, '');
  rmSync(dump, { recursive: true });
}

/** A process that was dumped, with a template of its dump. */
class Original {
  static async start(work, name, mib) {
    const original = new Original();
    original.folder = join(work, name);
    mkdirSync(original.folder);
    execFileSync('cp', [join(work, 'keep'), original.folder]);
    const namespaces = await Namespaces.start(original.folder);
    const report = join(namespaces.folder, 'report');
    namespaces.run('bash', '-c', `exec setsid /run/bench/keep /run/own/report ${mib} < /dev/null > /dev/null 2>&1 &`);
    await lineOf(report, 'ready');
    const pid = /\d+/.exec(readFileSync(report, 'utf8'))[0];
    mkdirSync(join(original.folder, 'plain'));
    namespaces.run('criu', 'dump', '-t', pid, '-D', '/run/bench/plain', '-W', '/run/own', '--shell-job', ...LOG);
    original.report = readFileSync(report);
    await namespaces.end();
    const places = [join(original.folder, 'plain'), join(original.folder, 'mapped')];
    const command = [bin, ...TEMPLATE, ...places, '--memory-name', '/run/bench/mapped/memory'];
    execFileSync('node', [...command, '--json'], { stdio: ['ignore', 'ignore', 'inherit'] });
    return original;
  }

  /** Restores it in namespaces of its own. */
  async restore(dump) {
    const namespaces = await Namespaces.start(this.folder);
    writeFileSync(join(namespaces.folder, 'report'), this.report);
    const before = bytesRead();
    const start = performance.now();
    namespaces.run('criu', 'restore', '-D', `/run/bench/${dump}`, '-W', '/run/own', '-d', '--shell-job', ...LOG);
    const seconds = (performance.now() - start) / 1000;
    return new Clone(namespaces, { seconds, read: bytesRead() - before });
  }

  remove() {
    rmSync(this.folder, { recursive: true });
  }
}

const LOG = ['-v1', '-o', '/run/own/criu.log'];

class Clone {
  constructor(namespaces, cost) {
    this.namespaces = namespaces;
    this.report = join(namespaces.folder, 'report');
    this.task = childrenOf(namespaces.first).find((pid) => commOf(pid) === 'keep');
    this.cost = { ...cost, resident: this.smaps('Rss') };
  }

  /** @param {'read' | 'write'} what it is to do with its memory */
  async tell(what) {
    process.kill(this.task, what === 'read' ? 'SIGUSR1' : 'SIGUSR2');
    await lineOf(this.report, what);
    if (/FAILED/.test(readFileSync(this.report, 'utf8'))) throw new Error('the process found its memory changed');
  }

  /** Bytes. */
  smaps(field) {
    const text = readFileSync(`/proc/${this.task}/smaps_rollup`, 'utf8');
    return Number(new RegExp(`^${field}:\\s*(\\d+)`, 'm').exec(text)[1]) * 1024;
  }

  /** Bytes of pages of a dump of it, after which it is gone. */
  async dump() {
    const pid = /\d+/.exec(readFileSync(this.report, 'utf8'))[0];
    const out = join(this.namespaces.folder, 'again');
    mkdirSync(out);
    this.namespaces.run('criu', 'dump', '-t', pid, '-D', '/run/own/again', '-W', '/run/own', '--shell-job', ...LOG);
    const pages = readdirSync(out).filter((name) => name.startsWith('pages-'));
    const bytes = pages.reduce((sum, name) => sum + statSync(join(out, name)).size, 0);
    await this.end();
    return bytes;
  }

  async end() {
    await this.namespaces.end();
  }
}

let count = 0;

/** Namespaces in which CRIU runs. The folder that all have in common appears under /run/bench, that of their own under /run/own. */
class Namespaces {
  static async start(shared) {
    const namespaces = new Namespaces();
    namespaces.folder = join(shared, `run${++count}`);
    mkdirSync(namespaces.folder);
    const hold = 'trap exit TERM\ntouch /run/own/holding\nsleep infinity &\nwait\n';
    writeFileSync(join(namespaces.folder, 'hold'), hold);
    const binds = ['--bind', `${shared}:/run/bench`, '--bind', `${namespaces.folder}:/run/own`];
    const command = ['sid', ...binds, '--', 'bash', '/run/own/hold'];
    namespaces.unshare = spawn(join(here, '../e2e/criu-root'), command, { stdio: 'ignore' });
    while (!existsSync(join(namespaces.folder, 'holding'))) await pause();
    [namespaces.first] = childrenOf(namespaces.unshare.pid);
    return namespaces;
  }

  run(...command) {
    const enter = ['--target', String(this.first), '--mount', '--pid', ...CRIU_ENVIRONMENT];
    execFileSync('nsenter', [...enter, ...command], { stdio: ['ignore', 'ignore', 'inherit'] });
  }

  async end() {
    const closed = once(this.unshare, 'close');
    process.kill(this.first);
    await closed;
    rmSync(this.folder, { recursive: true });
  }
}

async function lineOf(report, word) {
  while (!existsSync(report) || !readFileSync(report, 'utf8').includes(`${word} `)) await pause();
}

/** So that each restore finds the same in the cache. The mapped files have holes behind their memory. */
function warm(folder) {
  const script = 'for file in "$@"; do head -c 2G "$file"; done > /dev/null';
  const files = readdirSync(folder, { recursive: true, withFileTypes: true }).filter((entry) => entry.isFile());
  execFileSync('bash', ['-c', script, 'warm', ...files.map(({ parentPath, name }) => join(parentPath, name))]);
}

function dropCaches() {
  execFileSync('sync');
  writeFileSync('/proc/sys/vm/drop_caches', '3');
}

/** From all disks of the machine, in bytes. */
function bytesRead() {
  return Number(/^pgpgin (\d+)/m.exec(readFileSync('/proc/vmstat', 'utf8'))[1]) * 1024;
}

const childrenOf = (pid) => readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').trim().split(' ').map(Number);
const commOf = (pid) => readFileSync(`/proc/${pid}/comm`, 'utf8').trim();
const pause = () => new Promise((resolve) => setTimeout(resolve, 2));
const mebibytes = (bytes) => `${(bytes / MIB).toFixed(1)} MiB`;
