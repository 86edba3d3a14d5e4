// The page server: its throughput, answer times and memory.
import { execFileSync, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { copyFileSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { generateDump } from '../generate.mjs';
import { at, bin, GIB, isRoot, isThere, median, remove, rounds } from '../measure.mjs';
import { atMost, figure, mebibytes, micros, notMeasured, rate, ratio, under } from '../rows.mjs';

const PAGE = 4096;
/** Clients that fetch single pages at the same time. */
const CLIENTS = 8;
/** Of 5,000 requests each. After that, V8 has compiled what answers them. */
const RUNS_OF_A_SERVER = 5;
const here = import.meta.dirname;
const client = join(here, '../page-client.mjs');
const dump = at('dump');

await ofOneGib();
remove(dump);
await besideBusy();
remove(dump);
await manyClients();

async function ofOneGib() {
  const pages = GIB / PAGE;
  await generateDump(dump, { lazyBytes: GIB, eagerBytes: 0, dense: true });
  await withServer(dump, async (port, ends, pid) => {
    const what = '`serve`: 1 GiB by requests of 1 MiB, against `nc` that sends the file';
    if (!isThere('nc', '-h')) notMeasured(what, 'no nc');
    else {
      const [ours, theirs] = [[], []];
      for (let i = 0; i < rounds; i++) {
        ours.push(runClient('drain', port, 1, pages));
        theirs.push(netcat(join(dump, 'pages-1.img')));
      }
      rate(what, ours, theirs, { byClock: 1 });
    }
    const { p50, p99 } = runClient('single', port, CLIENTS, pages);
    const own = await ends(CLIENTS, ({ faults }) => faults > 0);
    const inServer = 'single pages to 8 clients that ask without a pause, in the server';
    figure(`${inServer}, median`, median(own.map((end) => end.answerP50)), micros, under(150e-6, micros));
    const slowest = Math.max(...own.map((end) => end.answerP99));
    figure(`${inServer}, 99th percentile`, slowest, micros, under(1e-3, micros));
    figure('the same as the clients see it, who share a core, median', p50 / 1e6, micros);
    figure('the same as the clients see it, 99th percentile', p99 / 1e6, micros);
    const before = cpuSeconds(pid);
    const { count } = runClient('single', port, 1, pages);
    const each = (cpuSeconds(pid) - before) / count;
    figure('single pages one after the other, CPU of the server for each', each, micros, atMost(40e-6, micros));
  });
}

/**
 * Against CRIU's own server, on a machine whose processors are busy. Both are asked for the first page again and again: CRIU
 * 4.2.1 gives no other one from where it keeps them. Needs root, and what e2e/criu-root needs.
 *
 * What counts is the CPU that a request takes: a server that has used up its share waits for a tick of the scheduler, 4 ms at
 * 250 Hz, and the percentile shows that as soon as one request in a hundred has to wait. In the first thousands of requests
 * V8 compiles the code, so a server is measured when it is new, and again later. A shorter slice by sched_setattr(2) does not
 * help: with 100 µs instead of 1.4 ms the percentile was 1.7 times as large.
 */
async function besideBusy() {
  const what = 'single pages beside two busy processes, 99th percentile, against `criu page-server`';
  if (!isRoot) {
    notMeasured(what, 'no root');
    return;
  }
  await generateDump(dump, { lazyBytes: 16 * PAGE, eagerBytes: 0, dense: true, runPages: 16 });
  // CRIU looks at the version in it.
  copyFileSync(join(here, '../../fixtures/family-criu-4.2.1/inventory.img'), join(dump, 'inventory.img'));
  const firstPages = (port) => runClient('single', port, 1, 1, 32).p99 / 1e6;
  const [first, later] = [[], []];
  const busy = [0, 1].map(() => spawn('sh', ['-c', 'while :; do :; done'], { stdio: 'ignore' }));
  for (let i = 0; i < rounds; i++) {
    const ours = [];
    await withServer(dump, (port) => {
      for (let run = 0; run < RUNS_OF_A_SERVER; run++) ours.push(firstPages(port));
    });
    const theirs = await withCriu(firstPages);
    first.push([ours[0], theirs]);
    later.push([ours.at(-1), theirs]);
  }
  for (const child of busy) child.kill();
  ratio(what, first, micros, atMost(1.5));
  ratio('the same, later in the life of the server', later, micros);
}

async function manyClients() {
  await generateDump(dump, { lazyBytes: 64 * GIB, eagerBytes: 0 });
  const peak = await withServer(dump, (port) => runClient('drain', port, 32, GIB / 2 / PAGE));
  figure('peak memory, 32 clients that take 512 MiB each of 64 GiB', peak, mebibytes, under(128, mebibytes));
}

/** What `action` finds out from CRIU's page server, which ends with its client. */
async function withCriu(action) {
  const port = somePort();
  const words = ['page-server', '--lazy-pages', '-D', '/run/dump', '--address', '127.0.0.1', '--port', String(port)];
  const child = spawn(
    join(here, '../../e2e/criu-root'),
    // CRIU_FAULT as in e2e/inside.
    ['sid', '--bind', `${dump}:/run/dump`, '--', 'env', 'CRIU_FAULT=130', 'criu', ...words, '-o', '/dev/null'],
    { stdio: 'ignore' },
  );
  const ended = once(child, 'exit');
  waitFor(port);
  const result = action(port);
  await ended;
  return result;
}

/**
 * Serves a dump while `action` runs.
 * @param {(port: number, ends: Function, pid: number) => unknown} action gets what waits for the ends of some clients
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
  const status = readFileSync(`/proc/${child.pid}/status`, 'utf8');
  const exited = once(child, 'exit');
  child.kill('SIGTERM');
  await exited;
  return Number(/^VmHWM:\s*(\d+)/m.exec(status)[1]) / 1024;
}

/** CPU seconds of a process, in ticks of 10 ms. */
function cpuSeconds(pid) {
  const fields = readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ')[1].split(' ');
  return (Number(fields[11]) + Number(fields[12])) / 100;
}

function runClient(...words) {
  return JSON.parse(execFileSync('node', [client, ...words.map(String)], { encoding: 'utf8' }));
}

function somePort() {
  return 20000 + Math.floor(Math.random() * 10000);
}

/** Until somebody listens, as the kernel says. */
function waitFor(port) {
  const script = `until ss -Hltn 'sport = :${port}' | grep -q .; do sleep 0.01; done`;
  spawnSync('timeout', ['30', 'sh', '-c', script]);
}

/** What it costs a client to take a file from nc. */
function netcat(file) {
  const port = somePort();
  const sender = spawn('sh', ['-c', `exec nc -N -l 127.0.0.1 ${port} < ${file}`], { stdio: 'ignore' });
  waitFor(port);
  const cost = runClient('plain', port);
  sender.kill();
  return cost;
}
