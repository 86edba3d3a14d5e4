// Dumps and restores by a real CRIU, each in namespaces of its own and with limits of time.
import { spawn } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import process from 'node:process';
import { fileURLToPath } from 'node:url';

const here = dirname(fileURLToPath(import.meta.url));

const running = new Set();
const killGroup = (child) => process.kill(-child.pid, 'SIGKILL');
process.on('exit', () => running.forEach(killGroup));
for (const signal of ['SIGINT', 'SIGTERM']) process.once(signal, () => process.exit(1));

/** Runs to the end or to the limit. The first process of the pid namespace dies with what is killed, and all in it with that. */
function bounded(seconds, command, args) {
  return new Promise((resolve) => {
    const child = spawn(command, args, { stdio: ['ignore', 'pipe', 'pipe'], detached: true });
    let stdout = '';
    let stderr = '';
    let timedOut = false;
    running.add(child);
    child.stdout.on('data', (text) => (stdout += text));
    child.stderr.on('data', (text) => (stderr += text));
    const timer = setTimeout(() => {
      timedOut = true;
      killGroup(child);
    }, seconds * 1000);
    child.on('close', (code) => {
      running.delete(child);
      clearTimeout(timer);
      resolve({ code, stdout, stderr, timedOut });
    });
  });
}

function inside({ suite, programs }, seconds, folder, dump, args) {
  const bind = (from, to) => ['--bind', `${from}:/run/gaps/${to}`];
  const binds = [
    ...bind(here, 'scripts'),
    ...bind(programs, 'programs'),
    ...bind(dump, 'dump'),
    ...bind(folder, 'run'),
  ];
  return bounded(seconds, join(here, '..', 'criu-root'), [suite, ...binds, '--', '/run/gaps/scripts/inside', ...args]);
}

const textOf = (path) => (existsSync(path) ? readFileSync(path, 'utf8') : '');

export async function criuVersion({ suite }) {
  // Building a root takes minutes.
  const { stdout, stderr } = await bounded(900, join(here, '..', 'criu-root'), [suite, '--', 'criu', '--version']);
  const version = /^Version: (.*)$/m.exec(stdout)?.[1];
  if (!version) throw new Error(`CRIU does not run: ${stderr}`);
  return version;
}

/** Makes `at/dump`, and keeps in `at/run` what the program has outside of the dump. */
export async function makeDump(setting, at, namespaces) {
  mkdirSync(join(at, 'run'), { recursive: true });
  mkdirSync(join(at, 'dump'));
  const { code, stderr } = await inside(setting, 60, join(at, 'run'), join(at, 'dump'), ['dump', ...namespaces]);
  if (code !== 0)
    throw new Error(`no dump: ${stderr}${textOf(join(at, 'run/dump.log'))}${textOf(join(at, 'run/report'))}`);
}

/** Restores `dump` where the one at `at` was made. @returns the outcome, and CRIU's first word about it */
export async function restore(setting, at, dump, folder) {
  // With its fifo and its socket, which Node does not copy.
  await bounded(30, 'cp', ['-a', join(at, 'run'), folder]);
  const { timedOut, stderr } = await inside(setting, setting.seconds, folder, dump, ['restore']);
  const [, outcome, detail] = /^(\w+) ?(.*)$/m.exec(textOf(join(folder, 'outcome'))) ?? [];
  const errors = textOf(join(folder, 'restore.log')).match(/.*(Error|BUG).*/g) ?? [];
  // A line of every restore where a privilege is missing.
  const [first] = errors.filter((line) => !line.includes('RLIMIT_NOFILE'));
  const said = detail || first?.trim() || textOf(join(folder, 'criu.err')).trim().split('\n')[0];
  if (timedOut) return { outcome: 'hangs', said };
  if (!outcome) throw new Error(`no outcome: ${stderr}`);
  return { outcome, said };
}

/** What verify finds: `error`, `warning` or `silent`, with the codes. */
export async function verify(pagepipe, dump) {
  const [command, ...args] = pagepipe;
  const { code, stdout, stderr, timedOut } = await bounded(30, command, [...args, 'verify', dump, '--json']);
  if (timedOut) return { answer: 'hangs', codes: [] };
  if (code !== 0 && code !== 1) return { answer: `exits ${code}`, codes: [], said: stderr };
  const findings = stdout
    .split('\n')
    .filter(Boolean)
    .map((line) => JSON.parse(line));
  const errors = findings.filter(({ severity }) => severity === 'error');
  const told = errors.length > 0 ? errors : findings;
  // That it cannot be opened is no finding.
  const answer = errors.length > 0 || code === 1 ? 'error' : findings.length > 0 ? 'warning' : 'silent';
  return { answer, codes: [...new Set(told.map((finding) => finding.code))], said: told[0]?.message ?? stderr.trim() };
}
