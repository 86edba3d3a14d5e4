// Namespaces in which CRIU runs, from e2e/criu-root. Needs root.
import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

const here = import.meta.dirname;
/** CRIU_FAULT as in e2e/inside. */
const ENVIRONMENT = ['env', '-i', 'PATH=/usr/sbin:/usr/bin:/sbin:/bin', 'HOME=/', 'CRIU_FAULT=130'];

export class Namespaces {
  /**
   * @param folder for the script that keeps them
   * @param inside where it appears in them
   * @param {[string, string][]} places of other folders
   */
  static async start(folder, inside, places = []) {
    const namespaces = new Namespaces();
    const holding = join(folder, 'holding');
    const hold = `trap exit TERM\ntouch ${inside}/holding\nsleep infinity &\nwait\n`;
    writeFileSync(join(folder, 'hold'), hold);
    const binds = [[folder, inside], ...places].flatMap(([from, to]) => ['--bind', `${from}:${to}`]);
    const command = ['sid', ...binds, '--', 'bash', `${inside}/hold`];
    namespaces.unshare = spawn(join(here, '../e2e/criu-root'), command, { stdio: 'ignore' });
    while (!existsSync(holding)) await pause();
    [namespaces.first] = childrenOf(namespaces.unshare.pid);
    namespaces.enter = ['nsenter', '--target', String(namespaces.first), '--mount', '--pid', ...ENVIRONMENT];
    return namespaces;
  }

  /** Runs a command in them, and returns what it says. */
  run(...command) {
    const [program, ...words] = [...this.enter, ...command];
    return execFileSync(program, words, { stdio: ['ignore', 'pipe', 'inherit'], encoding: 'utf8' });
  }

  /** Starts a process that goes on: a child of the first one, with descriptors of these namespaces. */
  start(command) {
    this.run('bash', '-c', `exec setsid ${command} < /dev/null > /dev/null 2>&1 &`);
  }

  /** The process of this name, as it is seen from outside. */
  task(name) {
    return childrenOf(this.first).find((pid) => readFileSync(`/proc/${pid}/comm`, 'utf8').trim() === name);
  }

  async end() {
    const closed = once(this.unshare, 'close');
    process.kill(this.first);
    await closed;
  }
}

export function compile(source, program, ...options) {
  execFileSync('gcc', ['-std=gnu99', '-O2', ...options, '-o', program, join(here, source)]);
}

/** Waits for what a process writes to its report. */
export async function textIn(report, text) {
  while (!existsSync(report) || !readFileSync(report, 'utf8').includes(text)) await pause();
}

export const childrenOf = (pid) =>
  readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').trim().split(' ').map(Number);
export const pause = () => new Promise((done) => setTimeout(done, 2));
