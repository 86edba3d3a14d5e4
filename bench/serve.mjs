// The page server: its throughput, answer times and memory.
import { execFileSync, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { copyFileSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { generateDump } from './generate.mjs';

const GIB = 2 ** 30;
const PAGE = 4096;
/** Clients that fetch single pages at the same time. */
const CLIENTS = 8;
const here = import.meta.dirname;
const client = join(here, 'page-client.mjs');
const bin = join(here, '../bin/pagepipe.js');

/** @param {{ work: string, row: Function, median: Function, rounds: number }} bench */
export async function serve({ work, row, median, rounds }) {
  const dump = join(work, 'served');
  await generateDump(dump, { lazyBytes: GIB, eagerBytes: 0, dense: true });
  await withServer(dump, async (port, ends, pid) => {
    const pages = GIB / PAGE;
    const ours = () => rateOf(runClient('drain', port, 1, pages));
    if (spawnSync('nc', ['-h']).error) {
      row(
        'serve: 1 GiB drained by GETs of 1 MiB',
        `${(median(times(rounds, ours)) / GIB).toFixed(2)} GiB/s; no nc`,
        '',
      );
    } else {
      const ratios = [];
      for (let i = 0; i < rounds; i++) ratios.push(ours() / (await netcat(join(dump, 'pages-1.img'))));
      row(
        'serve: 1 GiB drained by GETs of 1 MiB, against nc sending the file (rate)',
        spread(ratios, median),
        'at least 1',
      );
    }
    const { p50, p99 } = runClient('single', port, CLIENTS, pages);
    row('serve: single pages to 8 clients that ask without a pause, as they see it', micros(p50, p99), '');
    const own = await ends(CLIENTS, ({ faults }) => faults > 0);
    row(
      '  the same, from request to answer in the server',
      micros(median(own.map((end) => end.answerP50 * 1e6)), Math.max(...own.map((end) => end.answerP99 * 1e6))),
      'p50 under 150 µs, p99 under 1 ms',
    );
    const before = cpuSeconds(pid);
    const { count } = runClient('single', port, 1, pages);
    row(
      'serve: single pages, one after the other, CPU of the server for each',
      `${(((cpuSeconds(pid) - before) / count) * 1e6).toFixed(0)} µs`,
      'at most 40 µs',
    );
  });
  rmSync(dump, { recursive: true });

  const large = join(work, 'served64');
  await generateDump(large, { lazyBytes: 64 * GIB, eagerBytes: 0 });
  const peak = await withServer(large, async (port) => runClient('drain', port, 32, (2 * GIB) / PAGE));
  row(
    'peak memory of serve, 32 clients that take 2 GiB each of a 64 GiB dump',
    `${peak.toFixed(0)} MiB`,
    'under 128 MiB',
  );
  rmSync(large, { recursive: true });
  await besideBusy({ work, row, median, rounds });
}

/**
 * Against CRIU's own server, on a machine whose processors are busy. Both are asked for the first page again and again: CRIU
 * 4.2.1 gives no other one from where it keeps them. Needs root, and what e2e/criu-root needs.
 */
async function besideBusy({ work, row, median, rounds }) {
  const what = 'serve: single pages beside two busy processes, 99th percentile, against criu page-server';
  if (process.getuid() !== 0) {
    row(what, 'needs root', '');
    return;
  }
  const dump = join(work, 'few');
  await generateDump(dump, { lazyBytes: 16 * PAGE, eagerBytes: 0, dense: true, runPages: 16 });
  // CRIU looks at the version in it.
  copyFileSync(join(here, '../fixtures/family-criu-4.2.1/inventory.img'), join(dump, 'inventory.img'));
  const p99 = { ours: [], theirs: [] };
  const busy = [];
  try {
    for (let i = 0; i < 2; i++) busy.push(spawn('sh', ['-c', 'while :; do :; done']));
    for (let i = 0; i < rounds; i++) {
      await withServer(dump, async (port) => p99.ours.push(firstPages(port).p99));
      p99.theirs.push((await withCriu(dump, firstPages)).p99);
    }
  } finally {
    for (const child of busy) child.kill();
  }
  rmSync(dump, { recursive: true });
  const [ours, theirs] = [median(p99.ours), median(p99.theirs)];
  row(what, `${(ours / theirs).toFixed(2)}: ${ours.toFixed(0)} and ${theirs.toFixed(0)} µs`, 'at most 1.5');
}

const firstPages = (port) => runClient('single', port, 1, 1, 32);

/** The same with CRIU's page server, which ends with its client. */
async function withCriu(dump, action) {
  const port = somePort();
  const words = ['page-server', '--lazy-pages', '-D', '/run/dump', '--address', '127.0.0.1', '--port', String(port)];
  const child = spawn(
    join(here, '../e2e/criu-root'),
    // CRIU_FAULT as in e2e/inside.
    ['sid', '--bind', `${dump}:/run/dump`, '--', 'env', 'CRIU_FAULT=130', 'criu', ...words, '-o', '/dev/null'],
    { stdio: 'ignore' },
  );
  const ended = once(child, 'exit');
  while (!listens(port) && child.exitCode === null);
  const result = action(port);
  await ended;
  return result;
}

/**
 * Serves a dump while `action` runs.
 * @param {(port: number, ends: Function, pid: number) => Promise<unknown>} action gets what waits for the ends of some clients
 * @returns {Promise<number>} its peak memory in MiB
 */
async function withServer(dump, action) {
  const child = spawn('node', [bin, 'serve', dump, '--listen', '127.0.0.1:0', '--json'], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const lines = createInterface({ input: child.stdout });
  const ended = [];
  let tell = () => {};
  const ends = (count, isMeant) =>
    new Promise((resolve) => {
      tell = () => {
        const meant = ended.filter(isMeant);
        if (meant.length >= count) resolve(meant);
      };
      tell();
    });
  const port = await new Promise((resolve, reject) => {
    child.on('exit', () => reject(new Error('the server ended')));
    lines.on('line', (line) => {
      const event = JSON.parse(line);
      if (event.event === 'listening') resolve(event.port);
      else {
        ended.push(event);
        tell();
      }
    });
  });
  await action(port, ends, child.pid);
  // Of the whole life of the process, in KiB.
  const status = execFileSync('grep', ['VmHWM', `/proc/${child.pid}/status`], { encoding: 'utf8' });
  const exited = new Promise((resolve) => child.on('exit', resolve));
  child.kill('SIGTERM');
  await exited;
  return Number(/\d+/.exec(status)) / 1024;
}

/** CPU seconds of a process, in ticks of 10 ms. */
function cpuSeconds(pid) {
  const fields = readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ')[1].split(' ');
  return (Number(fields[11]) + Number(fields[12])) / 100;
}

const runClient = (...words) => JSON.parse(execFileSync('node', [client, ...words.map(String)], { encoding: 'utf8' }));
const rateOf = ({ bytes, seconds }) => bytes / seconds;
const times = (count, action) => Array.from({ length: count }, action);
const micros = (p50, p99) => `p50 ${p50.toFixed(0)} µs, p99 ${p99.toFixed(0)} µs`;

const somePort = () => 20000 + Math.floor(Math.random() * 10000);
/** As the kernel says. */
const listens = (port) => spawnSync('sh', ['-c', `ss -Hltn 'sport = :${port}' | grep -q .`]).status === 0;

/** Bytes per second of a file that nc sends to the same client. */
async function netcat(file) {
  const port = somePort();
  const sender = spawn('sh', ['-c', `exec nc -N -l 127.0.0.1 ${port} < ${file}`], { stdio: 'ignore' });
  while (!listens(port) && sender.exitCode === null);
  const rate = rateOf(runClient('plain', port));
  sender.kill();
  return rate;
}

function spread(ratios, median) {
  const sorted = [...ratios].sort((a, b) => a - b);
  return `${median(ratios).toFixed(2)} (${sorted[0].toFixed(2)} to ${sorted.at(-1).toFixed(2)})`;
}
