// The daemon of lazy restores, against criu lazy-pages: real processes, restored by the CRIU of a Debian release in namespaces of
// their own, from the same dump, in turn. Needs root, gcc, zstd, and what e2e/criu-root needs.
import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { generateDump, generateTasks } from '../generate.mjs';
import { at, bin, GIB, isRoot, median, remove, rounds } from '../measure.mjs';
import { childrenOf, compile, Namespaces, pause, textIn } from '../namespaces.mjs';
import { atMost, figure, mebibytes, micros, millis, notMeasured, ratio, seconds, under } from '../rows.mjs';

const PAGE = 4096;
/** A process of so many MiB that touches so many pages. */
const LARGE = { mib: 1024, touches: 5000 };
const SET = { mib: 256, touches: 6553 };
/** Where the folder appears to CRIU. */
const INSIDE = '/run/bench';

const folder = at('lazy');
const report = join(folder, 'report');
const sockets = join(folder, 'run');

/** Dumps a process and restores it again and again. Its report is as it was at the time of the dump before each restore. */
class Restores {
  constructor(namespaces) {
    this.namespaces = namespaces;
    this.criuPath = join(folder, 'criu');
    writeFileSync(this.criuPath, `#!/bin/sh\nexec ${namespaces.enter.join(' ')} criu "$@"\n`, { mode: 0o755 });
  }

  criu(...words) {
    this.namespaces.run('criu', ...words, '-v1', '-o', `${INSIDE}/criu.log`);
  }

  /** Dumps a process; returns the folder of the dump, with a lazy one next to it. */
  async dump(name, { mib, touches }) {
    rmSync(report, { force: true });
    this.namespaces.start(`${INSIDE}/touch ${INSIDE}/report ${mib} ${touches}`);
    await textIn(report, '\n');
    const pid = /\d+/.exec(readFileSync(report, 'utf8'))[0];
    const dump = join(folder, name);
    mkdirSync(dump);
    this.criu('dump', '-t', pid, '-D', `${INSIDE}/${name}`, '-W', `${INSIDE}/run`, '--shell-job');
    this.report = readFileSync(report);
    execFileSync('node', [bin, 'make-lazy', dump, join(folder, 'small'), '--force'], { stdio: 'ignore' });
    return name;
  }

  resetReport() {
    writeFileSync(report, this.report);
  }

  /** Restores it lazily, and lets it check all of its memory. */
  async lazily(dump, who, { touches = false, options = [] } = {}) {
    this.resetReport();
    const daemon = await startDaemon(
      who === 'ours'
        ? ['node', bin, 'lazy-pages', join(folder, dump), '-W', sockets, '--json', ...options]
        : [...this.namespaces.enter, 'criu', 'lazy-pages', '-D', `${INSIDE}/${dump}`, '-W', `${INSIDE}/run`],
    );
    this.criu('restore', '--lazy-pages', '-D', `${INSIDE}/small`, '-W', `${INSIDE}/run`, '-d', '--shell-job');
    const start = performance.now();
    const task = this.namespaces.task('touch');
    if (touches) process.kill(task, 'SIGUSR1');
    const { cpu, end, faults } = await daemon.ended;
    const lines = await this.finish(task, touches);
    const [sum, p50, p99] = (lines[1] ?? '').split(' ').map((nanoseconds) => Number(nanoseconds) / 1e9);
    return { delivered: (end - start) / 1000, cpu, faults, sum, p50, p99 };
  }

  /** Seconds until the tasks run. */
  async ofArchive(archive) {
    this.resetReport();
    const start = performance.now();
    const words = ['restore', archive, '-W', sockets, '--criu', this.criuPath, '--json', '--', '--shell-job'];
    const child = spawn('node', [bin, ...words], { stdio: ['ignore', 'pipe', 'inherit'] });
    const closed = once(child, 'close');
    let running;
    for await (const line of createInterface({ input: child.stdout })) {
      if (JSON.parse(line).event === 'running') running = (performance.now() - start) / 1000;
    }
    await closed;
    await this.finish();
    return running;
  }

  /** Lets the process check its memory. Returns its report. */
  async finish(task = this.namespaces.task('touch'), hasTouched = false) {
    const lines = () => readFileSync(report, 'utf8').trim().split('\n');
    if (!hasTouched) process.kill(task, 'SIGUSR1');
    while (lines().length < 2) await pause();
    process.kill(task, 'SIGUSR1');
    while (lines().length < 3) await pause();
    if (lines().at(-1) !== 'OK') throw new Error(`the process found its memory changed: ${lines().at(-1)}`);
    while (existsSync(`/proc/${task}`)) await pause();
    return lines();
  }
}

mkdirSync(sockets, { recursive: true });
if (isRoot) await realProcesses();
else notMeasured('lazy restores', 'no root');
compile('../test/lazy/simulator.c', join(folder, 'simulator'), '-pthread', '-DTASKS=2048');
await memoryOfLarge();
await memoryOfMany();

async function realProcesses() {
  compile('programs/touch.c', join(folder, 'touch'), '-static');
  const namespaces = await Namespaces.start(folder, INSIDE, [[folder, folder]]);
  const restores = new Restores(namespaces);
  await compareDaemons(restores);
  await recordedSet(restores);
  await namespaces.end();
}

async function compareDaemons(restores) {
  const dump = await restores.dump('large', LARGE);
  const costs = [];
  for (let i = 0; i < rounds; i++) {
    const pair = [];
    for (const who of ['ours', 'theirs']) {
      const calm = await restores.lazily(dump, who);
      pair.push({ calm, touched: await restores.lazily(dump, who, { touches: true }) });
    }
    costs.push(pair);
  }
  const against = (what, of, show, aim) =>
    ratio(
      what,
      costs.map((pair) => pair.map(of)),
      show,
      aim,
    );
  against('process of 1 GiB, time until all pages are there', ({ calm }) => calm.delivered, seconds, atMost(0.67));
  against('CPU of the daemon', ({ calm }) => calm.cpu, seconds, atMost(1.5));
  against('5,000 touches at random meanwhile, time of all', ({ touched }) => touched.sum, millis, atMost(0.7));
  against('median of one', ({ touched }) => touched.p50, micros);
  against('99th percentile of one', ({ touched }) => touched.p99, micros, atMost(1));
  against('CPU of the daemon meanwhile', ({ touched }) => touched.cpu, seconds);
  await fromArchive(restores, dump);
  remove(join(folder, dump));
}

/** From a compressed archive until the tasks run. */
async function fromArchive(restores, dump) {
  const [archive, unpacked] = [join(folder, 'dump.tar.zst'), join(folder, 'unpacked')];
  execFileSync('node', [bin, 'copy', join(folder, dump), archive]);
  const pairs = [];
  for (let i = 0; i < rounds; i++) {
    const ours = await restores.ofArchive(archive);
    restores.resetReport();
    const start = performance.now();
    mkdirSync(unpacked);
    execFileSync('bash', ['-c', `zstd -dc ${archive} | tar xf - -C ${unpacked}`]);
    restores.criu('restore', '-D', `${INSIDE}/unpacked`, '-W', `${INSIDE}/run`, '-d', '--shell-job');
    pairs.push([ours, (performance.now() - start) / 1000]);
    await restores.finish();
    remove(unpacked);
  }
  const what = '`restore` of a zstd archive, 1 GiB, until the task runs, against `zstd -d`, `tar x` and `criu restore`';
  ratio(what, pairs, seconds, atMost(0.33));
}

/** A tenth of the memory is what the process needs. */
async function recordedSet(restores) {
  const dump = await restores.dump('set', SET);
  const list = join(folder, 'list');
  await restores.lazily(dump, 'ours', { touches: true, options: ['--record', list] });
  const pairs = [];
  for (let i = 0; i < rounds; i++) {
    const without = await restores.lazily(dump, 'ours', { touches: true });
    pairs.push([await restores.lazily(dump, 'ours', { touches: true, options: ['--order', list] }), without]);
  }
  const times = pairs.map((pair) => pair.map(({ sum }) => sum));
  ratio('working set of 10 % of 256 MiB, time to touch it, with `--order` and without', times, millis, atMost(0.5));
  const percent = (value) => `${value.toFixed(1)} %`;
  const faults = median(pairs.map(([ordered]) => (100 * ordered.faults) / SET.touches));
  figure('touches of it that still fault with `--order`', faults, percent, atMost(5, percent));
}

async function memoryOfLarge() {
  const dump = join(folder, 'dump');
  await generateDump(dump, { lazyBytes: 64 * GIB, eagerBytes: 0 });
  const area = `${(0x10000000).toString(16)} ${(64 * GIB) / PAGE}`;
  const reads = Array.from({ length: 64 }, (_, i) => `${(0x10000000 + i * GIB).toString(16)} 16`);
  // All of a large process does not fit into memory.
  const peak = await daemonMemory(dump, { pids: [1], area, reads, ending: ['1 exit'] });
  figure('peak memory for a process of 64 GiB', peak, mebibytes, under(128, mebibytes));
  remove(dump);
}

async function memoryOfMany() {
  const dump = join(folder, 'dump');
  await generateTasks(dump, 2000);
  const pids = Array.from({ length: 2000 }, (_, i) => i + 1);
  const area = `${(0x10000000).toString(16)} 8`;
  const peak = await daemonMemory(dump, { pids, area, reads: [area], ending: [] });
  figure('peak memory for 2,000 processes', peak, mebibytes, under(256, mebibytes));
  remove(dump);
}

/** Memory of the daemon, in MiB; what plays CRIU is the simulator of the tests. */
async function daemonMemory(dump, { pids, area, reads, ending }) {
  const daemon = await startDaemon(['node', bin, 'lazy-pages', dump, '-W', sockets, '--json']);
  const simulator = spawn(
    'bash',
    ['-c', 'ulimit -n $(ulimit -Hn); exec "$@"', '-', join(folder, 'simulator'), daemon.socket],
    { stdio: ['pipe', 'pipe', 'inherit'] },
  );
  const lines = createInterface({ input: simulator.stdout })[Symbol.asyncIterator]();
  await lines.next();
  const tell = async (line) => {
    simulator.stdin.write(`${line}\n`);
    await lines.next();
  };
  await tell('connect');
  for (const pid of pids) {
    await tell(`task ${pid}`);
    await tell(`${pid} map ${area}`);
    await tell(`${pid} send ${pid}`);
  }
  for (const pid of pids) for (const read of reads) await tell(`${pid} read ${read}`);
  const status = readFileSync(`/proc/${daemon.pid}/status`, 'utf8');
  for (const line of [...ending, 'finish']) await tell(line);
  await daemon.ended;
  simulator.stdin.end();
  return Number(/^VmHWM:\s*(\d+)/m.exec(status)[1]) / 1024;
}

/** Starts what delivers pages; it listens then. What it costs is known when it has ended. */
async function startDaemon(command) {
  const [socket, events, log] = [
    join(sockets, 'lazy-pages.socket'),
    join(folder, 'events'),
    join(folder, 'daemon.log'),
  ];
  rmSync(socket, { force: true });
  // The last line is what `time` says.
  const script = `TIMEFORMAT='%3R %3U %3S'; LC_ALL=C; time "$@" > ${events} 2> ${log}`;
  const child = spawn('bash', ['-c', script, 'bench', ...command], { stdio: ['ignore', 'ignore', 'pipe'] });
  let said = '';
  child.stderr.setEncoding('utf8').on('data', (text) => {
    said += text;
  });
  const ended = once(child, 'close').then(([code]) => {
    const end = performance.now();
    if (code !== 0) throw new Error(`${command.join(' ')}: exit code ${code}\n${readFileSync(log, 'utf8')}`);
    const [, user, system] = said.trim().split('\n').at(-1).split(' ').map(Number);
    const last = readFileSync(events, 'utf8').trim().split('\n').at(-1);
    return { cpu: user + system, end, faults: last ? JSON.parse(last).faults : undefined };
  });
  while (!existsSync(socket)) await Promise.race([pause(), ended]);
  return { ended, socket, pid: childrenOf(child.pid)[0] };
}
