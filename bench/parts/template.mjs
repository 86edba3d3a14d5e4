// Templates, whose memory is mapped and not read, against the dumps that they are made of: real processes, restored by the CRIU of
// a Debian release in namespaces of their own. Needs root, gcc, what e2e/criu-root needs, and xfsprogs for reflinks.
import { execFileSync } from 'node:child_process';
import { mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { generateDump } from '../generate.mjs';
import {
  at,
  fewRounds,
  GIB,
  inTurn,
  isRoot,
  MIB,
  measure,
  out,
  pagepipe,
  remove,
  run,
  secondsOf,
} from '../measure.mjs';
import { compile, Namespaces, textIn } from '../namespaces.mjs';
import { withReflinks } from '../reflinks.mjs';
import { atMost, figure, mebibytes, millis, notMeasured, rate, ratio, seconds, under } from '../rows.mjs';

/** The programs of the bench are linked statically, so pagepipe cannot see what they count on. */
const OPTIONS = '--allow-dontneed all';
const LARGE_MIB = 1024;
const CLONE_MIB = 256;
const CLONES = 16;
const LOG = ['-v1', '-o', '/run/own/criu.log'];

/** A process that was dumped, with a template of its dump. */
class Original {
  clones = 0;

  static async start(name, mib) {
    const original = new Original();
    original.folder = at(name);
    mkdirSync(original.folder);
    compile('programs/keep.c', join(original.folder, 'keep'), '-static');
    const { namespaces, own } = await original.enter();
    const report = join(own, 'report');
    namespaces.start(`/run/bench/keep /run/own/report ${mib}`);
    await textIn(report, 'ready ');
    const [plain, mapped] = ['plain', 'mapped'].map((dump) => join(original.folder, dump));
    mkdirSync(plain);
    const pid = /\d+/.exec(readFileSync(report, 'utf8'))[0];
    namespaces.run('criu', 'dump', '-t', pid, '-D', '/run/bench/plain', '-W', '/run/own', '--shell-job', ...LOG);
    original.report = readFileSync(report);
    await namespaces.end();
    remove(own);
    run(`${pagepipe} template ${OPTIONS} ${plain} ${mapped} --memory-name /run/bench/mapped/memory`);
    return original;
  }

  /** Namespaces for one of its clones, with a folder of their own. */
  async enter() {
    const own = join(this.folder, `run${++this.clones}`);
    mkdirSync(own);
    return { own, namespaces: await Namespaces.start(own, '/run/own', [[this.folder, '/run/bench']]) };
  }

  async restore(dump) {
    const { own, namespaces } = await this.enter();
    writeFileSync(join(own, 'report'), this.report);
    const before = bytesRead();
    const start = performance.now();
    namespaces.run('criu', 'restore', '-D', `/run/bench/${dump}`, '-W', '/run/own', '-d', '--shell-job', ...LOG);
    const seconds = (performance.now() - start) / 1000;
    return new Clone(namespaces, own, { seconds, readMib: (bytesRead() - before) / MIB });
  }
}

class Clone {
  constructor(namespaces, own, cost) {
    this.namespaces = namespaces;
    this.own = own;
    this.report = join(own, 'report');
    this.task = namespaces.task('keep');
    this.cost = { ...cost, residentMib: this.smaps('Rss') };
  }

  /** @param {'read' | 'write'} what it is to do with its memory */
  async tell(what) {
    process.kill(this.task, what === 'read' ? 'SIGUSR1' : 'SIGUSR2');
    await textIn(this.report, `${what} `);
    if (/FAILED/.test(readFileSync(this.report, 'utf8'))) throw new Error('the process found its memory changed');
  }

  /** MiB. */
  smaps(field) {
    const text = readFileSync(`/proc/${this.task}/smaps_rollup`, 'utf8');
    return Number(new RegExp(`^${field}:\\s*(\\d+)`, 'm').exec(text)[1]) / 1024;
  }

  /** MiB of pages of a dump of it, after which it is gone. */
  async dump() {
    const pid = /\d+/.exec(readFileSync(this.report, 'utf8'))[0];
    const again = join(this.own, 'again');
    mkdirSync(again);
    this.namespaces.run('criu', 'dump', '-t', pid, '-D', '/run/own/again', '-W', '/run/own', '--shell-job', ...LOG);
    const pages = readdirSync(again).filter((name) => name.startsWith('pages-'));
    return pages.reduce((sum, name) => sum + statSync(join(again, name)).size, 0) / MIB;
  }

  async end() {
    await this.namespaces.end();
    remove(this.own);
  }
}

if (isRoot) {
  const large = await Original.start('large', LARGE_MIB);
  await restoreTimes(large);
  await secondDump(large);
  remove(large.folder);
  const small = await Original.start('small', CLONE_MIB);
  await sharedMemory(small);
  remove(small.folder);
} else {
  notMeasured('restores of templates', 'no root');
}
await makingOne();

async function restoreTimes(large) {
  const costs = { warm: [], cold: [] };
  for (let i = 0; i < fewRounds; i++) {
    for (const cache of ['warm', 'cold']) {
      const pair = [];
      for (const dump of ['mapped', 'plain']) {
        if (cache === 'cold') dropCaches();
        else warm(large.folder);
        const clone = await large.restore(dump);
        pair.push(clone.cost);
        await clone.end();
      }
      costs[cache].push(pair);
    }
  }
  const pairs = (cache, of) => costs[cache].map((pair) => pair.map((cost) => cost[of]));
  ratio('`criu restore`, 1 GiB, time', pairs('warm', 'seconds'), millis, atMost(0.2));
  ratio('resident memory when it runs', pairs('warm', 'residentMib'), mebibytes, atMost(0.03));
  ratio('with a cold cache: read until it runs', pairs('cold', 'readMib'), mebibytes, atMost(0.1));
  ratio('with a cold cache: time', pairs('cold', 'seconds'), millis);
}

/** All of its memory is read, and one percent of it written. */
async function secondDump(large) {
  const [sizes, times] = [[], []];
  for (const dump of ['mapped', 'plain']) {
    const clone = await large.restore(dump);
    await clone.tell('read');
    await clone.tell('write');
    const start = performance.now();
    sizes.push(await clone.dump());
    times.push((performance.now() - start) / 1000);
    await clone.end();
  }
  ratio('second dump, all memory read and 1 % of the pages written, size', [sizes], mebibytes, atMost(0.02));
  ratio('second dump, time', [times], seconds);
}

/** Clones that run at the same time, each in namespaces of its own. */
async function sharedMemory(small) {
  const shares = [];
  for (const dump of ['mapped', 'plain']) {
    const clones = [];
    for (let i = 0; i < CLONES; i++) clones.push(await small.restore(dump));
    for (const clone of clones) await clone.tell('read');
    shares.push(clones.reduce((sum, clone) => sum + clone.smaps('Pss'), 0) / CLONES);
    for (const clone of clones) await clone.end();
  }
  const what = `${CLONES} clones of ${CLONE_MIB} MiB at once, all memory read, Pss of each`;
  ratio(what, [shares], mebibytes, atMost(0.071));
}

async function makingOne() {
  const dump = at('dense');
  await generateDump(dump, { lazyBytes: 4 * GIB, eagerBytes: 0, dense: true });
  const cp = `cp -r --reflink=never ${dump} ${out}`;
  const command = `${pagepipe} template ${dump} ${out} ${OPTIONS}`;
  const costs = inTurn({ ours: command, cp, synced: `${cp} && sync -f ${out}` }, fewRounds);
  rate('`template`, 4 GiB, against `cp`', costs.ours, costs.cp, { byClock: 1 });
  // A template is on disk when it appears.
  rate('`template`, 4 GiB, against `cp` and `sync`', costs.ours, costs.synced);
  figure('`template --in-place`, 4 GiB', secondsOf(`${command} --in-place`), seconds, under(1, seconds));
  const what = '`template`, 4 GiB, on xfs, which shares blocks';
  await withReflinks('xfs', 20 * GIB, what, async (mount) => {
    const [from, to] = ['dense', 'made'].map((name) => join(mount, name));
    run(`cp -r ${dump} ${from}`);
    const reflink = () => {
      remove(to);
      return measure(`${pagepipe} template ${from} ${to} ${OPTIONS}`);
    };
    figure(what, secondsOf(reflink), seconds, under(1, seconds));
  });
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
