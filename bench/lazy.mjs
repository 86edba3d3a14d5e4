// The daemon of lazy restores, side by side with criu lazy-pages: real processes, restored by the CRIU of a Debian release in
// namespaces of their own, from the same dump, in turn. Needs root, gcc, and what e2e/criu-root needs.
import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { generateDump, generateTasks } from './generate.mjs';

const GIB = 2 ** 30;
const PAGE = 4096;
const here = import.meta.dirname;
const bin = join(here, '../bin/pagepipe.js');
const CRIU_ENVIRONMENT = ['env', '-i', 'PATH=/usr/sbin:/usr/bin:/sbin:/bin', 'HOME=/', 'CRIU_FAULT=130'];
/** A process of so many MiB that touches so many pages. */
const LARGE = { mib: 1024, touches: 5000 };
const SET = { mib: 256, touches: 6553 };

/** @param {{ work: string, row: Function, median: Function, rounds: number }} bench */
export async function lazy({ work, row, median, rounds }) {
  const folder = join(work, 'lazy');
  mkdirSync(join(folder, 'run'), { recursive: true });
  compile('programs/touch.c', join(folder, 'touch'), '-static');
  compile('../test/lazy/simulator.c', join(folder, 'simulator'), '-pthread', '-DTASKS=2048');
  const namespaces = await Namespaces.start(folder);
  try {
    await compareDaemons({ folder, namespaces, row, median, rounds });
    await recordedSet({ folder, namespaces, row, median, rounds });
  } finally {
    await namespaces.end();
  }
  await daemonMemory({ folder, row });
  rmSync(folder, { recursive: true });
}

async function compareDaemons({ folder, namespaces, row, median, rounds }) {
  const dump = await namespaces.dump('large', LARGE);
  const times = { ours: [], theirs: [] };
  for (let i = 0; i < rounds; i++) {
    for (const who of ['ours', 'theirs']) {
      const calm = await namespaces.restore(dump, who);
      const touched = await namespaces.restore(dump, who, { touches: true });
      times[who].push({ calm, touched });
    }
  }
  const middle = (who, of) => median(times[who].map(of));
  const against = (what, of, unit, reach) => {
    const ratio = median(times.ours.map((own, i) => of(own) / of(times.theirs[i])));
    row(what, `${ratio.toFixed(2)}: ${unit(middle('ours', of))} and ${unit(middle('theirs', of))}`, reach);
  };
  against(
    'lazy-pages: 1 GiB, all pages there after the restore, against criu lazy-pages (time)',
    ({ calm }) => calm.delivered,
    seconds,
    'at most 0.67',
  );
  against('  CPU of the daemon', ({ calm }) => calm.cpu, seconds, 'at most 1.5');
  against('  5,000 touches at random meanwhile: all of them', ({ touched }) => touched.sum, micros, 'at most 0.7');
  against('  the median of one', ({ touched }) => touched.p50, micros, '');
  against('  the 99th percentile', ({ touched }) => touched.p99, micros, 'at most 1');
  against('  CPU of the daemon', ({ touched }) => touched.cpu, seconds, '');
  await fromArchive({ folder, namespaces, dump, row, median, rounds });
  rmSync(join(folder, dump), { recursive: true });
}

/** From a compressed archive until the tasks run. */
async function fromArchive({ folder, namespaces, dump, row, median, rounds }) {
  const [archive, out] = [join(folder, 'dump.tar.zst'), join(folder, 'out')];
  execFileSync('node', [bin, 'copy', join(folder, dump), archive]);
  const costs = [];
  for (let i = 0; i < rounds; i++) {
    const ours = await namespaces.restoreArchive(archive);
    namespaces.resetReport();
    const start = performance.now();
    mkdirSync(out);
    execFileSync('bash', ['-c', `zstd -dc ${archive} | tar xf - -C ${out}`]);
    namespaces.criu(['restore', '-D', '/run/bench/out', '-W', '/run/bench/run', '-d', '--shell-job']);
    costs.push([ours, (performance.now() - start) / 1000]);
    await namespaces.finish();
    rmSync(out, { recursive: true });
  }
  const [ours, theirs] = [0, 1].map((side) => median(costs.map((cost) => cost[side])));
  row(
    'restore of an archive of zstd, 1 GiB, until the task runs, against zstd -d | tar x and criu restore (time)',
    `${median(costs.map(([a, b]) => a / b)).toFixed(2)}: ${seconds(ours)} and ${seconds(theirs)}`,
    'at most 0.33',
  );
}

/** A tenth of the memory is what the process needs. */
async function recordedSet({ folder, namespaces, row, median, rounds }) {
  const dump = await namespaces.dump('set', SET);
  const list = join(folder, 'list');
  await namespaces.restore(dump, 'ours', { touches: true, options: ['--record', list] });
  const results = [];
  for (let i = 0; i < rounds; i++) {
    const without = await namespaces.restore(dump, 'ours', { touches: true });
    results.push([await namespaces.restore(dump, 'ours', { touches: true, options: ['--order', list] }), without]);
  }
  const share = median(results.map(([ordered]) => ordered.faults / SET.touches));
  const [ordered, without] = [0, 1].map((side) => median(results.map((result) => result[side].sum)));
  row(
    'lazy-pages --order, a working set of 10 % of 256 MiB: touches of it that still fault',
    `${(100 * share).toFixed(1)} %`,
    'at most 5 %',
  );
  row(
    '  time to touch all of it, against without --order',
    `${median(results.map(([a, b]) => a.sum / b.sum)).toFixed(2)}: ${micros(ordered)} and ${micros(without)}`,
    'at most 0.5',
  );
  rmSync(join(folder, dump), { recursive: true });
}

/** Memory of the daemon for a large process, and for many; what plays CRIU is the simulator of the tests. */
async function daemonMemory({ folder, row }) {
  for (const { what, reach, generate, pids, areas, reads } of [
    {
      what: 'a process of 64 GiB',
      reach: 'under 128 MiB',
      generate: (dump) => generateDump(dump, { lazyBytes: 64 * GIB, eagerBytes: 0 }),
      pids: [1],
      areas: [`${(0x10000000).toString(16)} ${(64 * GIB) / PAGE}`],
      reads: Array.from({ length: 64 }, (_, i) => `${(0x10000000 + i * GIB).toString(16)} 16`),
    },
    {
      what: '2,000 processes',
      reach: 'under 256 MiB',
      generate: (dump) => generateTasks(dump, 2000),
      pids: Array.from({ length: 2000 }, (_, i) => i + 1),
      areas: [`${(0x10000000).toString(16)} 8`],
      reads: [`${(0x10000000).toString(16)} 8`],
    },
  ]) {
    const dump = join(folder, 'dump');
    await generate(dump);
    const daemon = await startDaemon(['node', bin, 'lazy-pages', dump, '-W', join(folder, 'run'), '--json'], folder);
    const simulator = spawn(
      'bash',
      ['-c', 'ulimit -n $(ulimit -Hn); exec "$@"', '-', join(folder, 'simulator'), daemon.socket],
      {
        stdio: ['pipe', 'pipe', 'inherit'],
      },
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
      for (const area of areas) await tell(`${pid} map ${area}`);
      await tell(`${pid} send ${pid}`);
    }
    for (const pid of pids) for (const read of reads) await tell(`${pid} read ${read}`);
    const peak = peakOf(daemon.pid);
    // All of a large process does not fit into memory.
    if (pids.length === 1) await tell('1 exit');
    await tell('finish');
    await daemon.ended;
    simulator.stdin.end();
    row(`peak memory of lazy-pages for ${what}`, `${peak.toFixed(0)} MiB`, reach);
    rmSync(dump, { recursive: true });
  }
}

/** Starts what delivers pages; it listens then. What it costs is known when it has ended. */
async function startDaemon(command, folder) {
  const socket = join(folder, 'run', 'lazy-pages.socket');
  rmSync(socket, { force: true });
  // The last line is what `time` says.
  const script = `TIMEFORMAT='%3R %3U %3S'; LC_ALL=C; time "$@" > ${folder}/events 2> ${folder}/daemon.log`;
  const child = spawn('bash', ['-c', script, 'bench', ...command], { stdio: ['ignore', 'ignore', 'pipe'] });
  let said = '';
  child.stderr.setEncoding('utf8').on('data', (text) => {
    said += text;
  });
  const ended = once(child, 'close').then(([code]) => {
    const at = performance.now();
    if (code !== 0) throw new Error(`${command.join(' ')}: exit code ${code}\n${read(folder, 'daemon.log')}`);
    const [, user, system] = said.trim().split('\n').at(-1).split(' ').map(Number);
    const last = read(folder, 'events').trim().split('\n').at(-1);
    return { cpu: user + system, at, faults: last ? JSON.parse(last).faults : undefined };
  });
  while (!existsSync(socket)) await Promise.race([pause(), ended]);
  return { ended, socket, pid: childrenOf(child.pid)[0] };
}

/** Namespaces in which CRIU runs. What is in the folder appears under /run/bench. */
class Namespaces {
  static async start(folder) {
    const namespaces = new Namespaces();
    namespaces.folder = folder;
    writeFileSync(join(folder, 'hold'), 'trap exit TERM\ntouch /run/bench/holding\nsleep infinity &\nwait\n');
    namespaces.unshare = spawn(
      join(here, '../e2e/criu-root'),
      ['sid', '--bind', `${folder}:/run/bench`, '--bind', `${folder}:${folder}`, '--', 'bash', '/run/bench/hold'],
      { stdio: 'ignore' },
    );
    while (!existsSync(join(folder, 'holding'))) await pause();
    [namespaces.first] = childrenOf(namespaces.unshare.pid);
    namespaces.enter = ['nsenter', '--target', String(namespaces.first), '--mount', '--pid', ...CRIU_ENVIRONMENT];
    writeFileSync(join(folder, 'criu'), `#!/bin/sh\nexec ${namespaces.enter.join(' ')} criu "$@"\n`, { mode: 0o755 });
    return namespaces;
  }

  async end() {
    const closed = once(this.unshare, 'close');
    process.kill(this.first);
    await closed;
  }

  run(...command) {
    const [program, ...words] = [...this.enter, ...command];
    return execFileSync(program, words, { stdio: ['ignore', 'pipe', 'inherit'], encoding: 'utf8' });
  }

  criu = (words) => this.run('criu', ...words, '-v1', '-o', '/run/bench/criu.log');

  /** Dumps a process; returns the folder of the dump, with a lazy one next to it. */
  async dump(name, { mib, touches }) {
    const report = join(this.folder, 'report');
    rmSync(report, { force: true });
    // A child of the first process, with descriptors of these namespaces.
    this.run(
      'bash',
      '-c',
      `exec setsid /run/bench/touch /run/bench/report ${mib} ${touches} < /dev/null > /dev/null 2>&1 &`,
    );
    while (!existsSync(report) || !readFileSync(report, 'utf8').endsWith('\n')) await pause();
    this.pid = Number(/\d+/.exec(readFileSync(report, 'utf8')));
    mkdirSync(join(this.folder, name));
    this.criu(['dump', '-t', String(this.pid), '-D', `/run/bench/${name}`, '-W', '/run/bench/run', '--shell-job']);
    this.report = readFileSync(report);
    execFileSync('node', [bin, 'make-lazy', join(this.folder, name), join(this.folder, name, '../small'), '--force'], {
      stdio: 'ignore',
    });
    return name;
  }

  /** The report as it was at the time of the dump: what an earlier restore has written would be taken for an answer. */
  resetReport() {
    writeFileSync(join(this.folder, 'report'), this.report);
  }

  /** Restores it lazily, and lets it check all of its memory. */
  async restore(dump, who, { touches = false, options = [] } = {}) {
    const { folder } = this;
    this.resetReport();
    const daemon = await startDaemon(
      who === 'ours'
        ? ['node', bin, 'lazy-pages', join(folder, dump), '-W', join(folder, 'run'), '--json', ...options]
        : [...this.enter, 'criu', 'lazy-pages', '-D', `/run/bench/${dump}`, '-W', '/run/bench/run'],
      folder,
    );
    this.criu(['restore', '--lazy-pages', '-D', '/run/bench/small', '-W', '/run/bench/run', '-d', '--shell-job']);
    const running = performance.now();
    const task = this.task();
    if (touches) process.kill(task, 'SIGUSR1');
    const { cpu, at, faults } = await daemon.ended;
    const lines = await this.finish(task, touches);
    const [sum, p50, p99] = (lines[1] ?? '').split(' ').map((nanoseconds) => Number(nanoseconds) / 1000);
    return { delivered: (at - running) / 1000, cpu, faults, sum, p50, p99 };
  }

  /** Seconds until the tasks run. */
  async restoreArchive(archive) {
    const { folder } = this;
    this.resetReport();
    const start = performance.now();
    const child = spawn(
      'node',
      [
        bin,
        'restore',
        archive,
        '-W',
        join(folder, 'run'),
        '--criu',
        join(folder, 'criu'),
        '--json',
        '--',
        '--shell-job',
      ],
      { stdio: ['ignore', 'pipe', 'inherit'] },
    );
    const closed = once(child, 'close');
    let running;
    for await (const line of createInterface({ input: child.stdout })) {
      if (JSON.parse(line).event === 'running') running = (performance.now() - start) / 1000;
    }
    await closed;
    await this.finish();
    return running;
  }

  /** The restored process, as it is seen here: it is a child of the first one in its namespace. */
  task() {
    return childrenOf(this.first).find((pid) => readFileSync(`/proc/${pid}/comm`, 'utf8').trim() === 'touch');
  }

  /** Lets the process check its memory. Returns its report. */
  async finish(task = this.task(), hasTouched = false) {
    const report = join(this.folder, 'report');
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

function compile(source, program, ...options) {
  execFileSync('gcc', ['-std=gnu99', '-O2', ...options, '-o', program, join(here, source)]);
}

const read = (folder, name) => readFileSync(join(folder, name), 'utf8');

const childrenOf = (pid) => readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').trim().split(' ').map(Number);

/** Of the whole life of a process, in MiB. */
const peakOf = (pid) => Number(/^VmHWM:\s*(\d+)/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))[1]) / 1024;
const pause = () => new Promise((resolve) => setTimeout(resolve, 2));
const seconds = (value) => `${value.toFixed(2)} s`;
const micros = (value) => (value >= 10_000 ? `${(value / 1000).toFixed(0)} ms` : `${value.toFixed(1)} µs`);
