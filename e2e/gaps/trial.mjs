// Dumps and restores with a real CRIU, each in its own namespaces and with a time limit.
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

/** Runs a command with a time limit. Killing the group ends the pid namespace with everything in it. */
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

/** Makes `at/dump`. `at/run` holds the files of the program, which are needed for the restore. */
export async function makeDump(setting, at, namespaces) {
  mkdirSync(join(at, 'run'), { recursive: true });
  mkdirSync(join(at, 'dump'));
  const { code, stderr } = await inside(setting, 60, join(at, 'run'), join(at, 'dump'), ['dump', ...namespaces]);
  if (code !== 0)
    throw new Error(`no dump: ${stderr}${textOf(join(at, 'run/dump.log'))}${textOf(join(at, 'run/report'))}`);
}

/** Restores `dump`, a copy of the one at `at`. @returns the outcome, and the first error */
export async function restore(setting, at, dump, folder) {
  // Node's own copy refuses fifos and sockets.
  await bounded(30, 'cp', ['-a', join(at, 'run'), folder]);
  const { timedOut, stderr } = await inside(setting, setting.seconds, folder, dump, ['restore']);
  const [, outcome, detail] = /^(\w+) ?(.*)$/m.exec(textOf(join(folder, 'outcome'))) ?? [];
  const errors = textOf(join(folder, 'restore.log')).match(/.*(Error|BUG).*/g) ?? [];
  // Normal where CAP_SYS_RESOURCE is missing.
  const [first] = errors.filter((line) => !line.includes('RLIMIT_NOFILE'));
  const said = detail || first?.trim() || textOf(join(folder, 'criu.err')).trim().split('\n')[0];
  if (timedOut) return { outcome: 'hangs', said };
  if (!outcome) throw new Error(`no outcome: ${stderr}`);
  return { outcome, said };
}

/** What verify finds: `error`, `warning` or `silent`, and the codes. */
export async function verify(pagepipe, dump) {
  const [command, ...args] = pagepipe;
  const { code, stdout, stderr, timedOut } = await bounded(30, command, [...args, 'verify', dump, '--json']);
  if (timedOut) return { answer: 'hangs', codes: [] };
  if (code !== 0 && code !== 1) return { answer: `exits ${code}`, codes: [], said: stderr };
  const findings = stdout
    .split('\n')
    .filter(Boolean)
    .map((line) => JSON.parse(line))
    // The last line sums up.
    .filter(({ severity }) => severity !== undefined);
  const errors = findings.filter(({ severity }) => severity === 'error');
  const told = errors.length > 0 ? errors : findings;
  // Exit code 1 without findings: the dump could not be opened.
  const answer = errors.length > 0 || code === 1 ? 'error' : findings.length > 0 ? 'warning' : 'silent';
  return { answer, codes: [...new Set(told.map((finding) => finding.code))], said: told[0]?.message ?? stderr.trim() };
}
