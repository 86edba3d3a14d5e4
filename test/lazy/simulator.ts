/**
 * CRIU's side of a lazy restore, played by a small program in C: it is compiled here, and gets commands. Its first comment lists
 * them.
 */
import { spawn, spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { crc32 } from 'node:zlib';
import { expect, onTestFinished } from 'vitest';
import { daemonCalls } from '../../src/io/linux.js';
import { pageContent } from '../helpers/dump-writer.js';

const SOURCE = join(import.meta.dirname, 'simulator.c');
const PAGE = 4096;
/** Most pages in one answer. */
const MOST_PAGES = 256;
const NOT_PERMITTED = 77;

const folder = mkdtempSync(join(tmpdir(), 'pagepipe-simulator-'));
process.on('exit', () => rmSync(folder, { recursive: true, force: true }));
export const SIMULATOR = join(folder, 'simulator');

/** Why it cannot be run here; empty if it can. */
export const whyNot = prepare();

function prepare(): string {
  if (!daemonCalls()) return 'system calls are not available';
  const compiler = spawnSync('cc', ['-std=gnu99', '-O1', '-pthread', '-o', SIMULATOR, SOURCE], { encoding: 'utf8' });
  if (compiler.error) return 'there is no compiler';
  if (compiler.status !== 0) throw new Error(compiler.stderr);
  const { status, stderr } = spawnSync(SIMULATOR, ['none'], { input: '', encoding: 'utf8' });
  if (status === NOT_PERMITTED) return `the kernel does not permit it: ${stderr.trim()}`;
  expect(status).toBe(0);
  return '';
}

/** What a command is answered with. */
interface Answer {
  task?: number;
  process?: number;
  same?: boolean;
  pages?: number[];
  resident?: number;
}

interface Waiter {
  resolve(answer: Answer): void;
  reject(error: Error): void;
}

/** What must be in a page: bytes of a page in the dump, one byte all over, or zeros. */
export type Expected = { pid: number; address: bigint } | { byte: number } | 'zeros';

export class Simulator {
  private readonly child;
  /** Who waits for the answer of a task, by its number; 0 is the simulator itself. */
  private readonly waiting = new Map<number, Waiter[]>();
  private isOver = false;

  private constructor(socket: string) {
    // A group of its own: what is stopped ends with it, too.
    this.child = spawn(SIMULATOR, [socket], { detached: true, stdio: ['pipe', 'pipe', 'pipe'] });
    const { child } = this;
    onTestFinished(() => {
      process.kill(-(child.pid as number), 'SIGKILL');
    });
    let errors = '';
    child.stderr.setEncoding('utf8').on('data', (text: string) => {
      errors += text;
      // A task that fails does not answer.
      this.fail(new Error(errors));
    });
    child.stdin.on('error', () => {});
    createInterface({ input: child.stdout }).on('line', (line) => {
      const answer = JSON.parse(line) as Answer;
      this.waiting
        .get(answer.task ?? 0)
        ?.shift()
        ?.resolve(answer);
    });
    child.on('exit', () => this.fail(new Error('the simulator has ended')));
  }

  /** @param directory work directory of the daemon; it need not run yet */
  static async launch(directory: string): Promise<Simulator> {
    const simulator = new Simulator(join(directory, 'lazy-pages.socket'));
    await simulator.answerOf(0);
    return simulator;
  }

  /** A new restore. */
  connect = () => this.command(0, 'connect');
  /** All tasks are restored. */
  finish = () => this.command(0, 'finish');
  disconnect = () => this.command(0, 'disconnect');
  zombie = (pid: number) => this.command(0, `zombie ${pid}`);
  /** Resolves when a task has been stopped. */
  stopped = (task: number) => this.command(0, `stopped ${task}`);

  /** Starts a task; returns its pid. */
  async start(task: number): Promise<number> {
    return (await this.command(task, `task ${task}`)).process as number;
  }

  /** A task with memory, given to the daemon under its number. */
  async restore(task: number, ...areas: (readonly [address: bigint, pages: number])[]): Promise<void> {
    await this.start(task);
    for (const area of areas) await this.does(task, 'map', ...area);
    await this.send(task, task);
  }

  send = (task: number, pid: number) => this.command(task, `${task} send ${pid}`);

  /** A task does something with pages, the answer is awaited. */
  does = (task: number, verb: string, address: bigint, pages: number, last: bigint | number = 0n): Promise<Answer> =>
    this.command(task, `${task} ${verb} ${address.toString(16)} ${pages} ${last.toString(16)}`);

  fork = (task: number, child: number) => this.command(child, `${task} fork ${child}`);
  exit = (task: number) => this.command(task, `${task} exit`);

  async resident(task: number, address: bigint, pages: number): Promise<number> {
    return (await this.does(task, 'resident', address, pages)).resident as number;
  }

  /** Reads pages, by several threads with `together`, and compares them with what must be there. */
  async finds(task: number, address: bigint, pages: number, expected: Expected, verb = 'read'): Promise<void> {
    for (let done = 0; done < pages; done += MOST_PAGES) {
      const count = Math.min(MOST_PAGES, pages - done);
      const answer = await this.does(task, verb, address + BigInt(done * PAGE), count);
      expect(answer.same).toBe(true);
      expect(answer.pages).toEqual(Array.from({ length: count }, (_, i) => crcOf(expected, done + i)));
    }
  }

  private command(task: number, line: string): Promise<Answer> {
    const answer = this.answerOf(task);
    this.child.stdin.write(`${line}\n`);
    return answer;
  }

  private answerOf(task: number): Promise<Answer> {
    if (this.isOver) return Promise.reject(new Error('the simulator has ended'));
    return new Promise((resolve, reject) => {
      this.waiting.set(task, [...(this.waiting.get(task) ?? []), { resolve, reject }]);
    });
  }

  private fail(error: Error): void {
    this.isOver = true;
    for (const waiters of this.waiting.values()) for (const { reject } of waiters.splice(0)) reject(error);
  }
}

const crcs = new Map<string, number>();

function crcOf(expected: Expected, page: number): number {
  if (expected === 'zeros') return crc32(new Uint8Array(PAGE));
  if ('byte' in expected) return crc32(new Uint8Array(PAGE).fill(expected.byte));
  const [pagemap, address] = [`pagemap-${expected.pid}.img`, expected.address + BigInt(page * PAGE)];
  const known = crcs.get(`${pagemap}@${address}`);
  if (known !== undefined) return known;
  const crc = crc32(pageContent(pagemap, address));
  crcs.set(`${pagemap}@${address}`, crc);
  return crc;
}
