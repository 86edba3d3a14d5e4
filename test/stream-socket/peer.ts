/** CRIU's side of a streamed dump or restore, played by a small program in C that is compiled here. Its first comment lists its commands. */
import { spawn, spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { onTestFinished } from 'vitest';

const folder = mkdtempSync(join(tmpdir(), 'pagepipe-peer-'));
process.on('exit', () => rmSync(folder, { recursive: true, force: true }));
export const PEER = join(folder, 'peer');

/** Why it cannot be run here; empty if it can. */
export const whyNot = prepare();

function prepare(): string {
  const source = join(import.meta.dirname, 'peer.c');
  const compiler = spawnSync('cc', ['-std=gnu11', '-O1', '-o', PEER, source], { encoding: 'utf8' });
  if (compiler.error) return 'there is no compiler';
  if (compiler.status !== 0) throw new Error(compiler.stderr);
  return '';
}

export class Peer {
  private readonly child = spawn(PEER, { stdio: ['pipe', 'pipe', 'inherit'] });
  private readonly waiting: ((answer: string) => void)[] = [];

  constructor() {
    onTestFinished(() => this.kill());
    this.child.stdin.on('error', () => {});
    createInterface({ input: this.child.stdout }).on('line', (line) => this.waiting.shift()?.(line));
  }

  /** The answer to a command. */
  answer(...words: readonly (string | number)[]): Promise<string> {
    return new Promise((resolve) => {
      this.waiting.push(resolve);
      this.child.stdin.write(`${words.join(' ')}\n`);
    });
  }

  /** Does something that must succeed; returns the number in the answer. */
  async does(...words: readonly (string | number)[]): Promise<number> {
    const answer = await this.answer(...words);
    if (!/^ok\b/.test(answer)) throw new Error(`${words.join(' ')}: ${answer}`);
    return Number(answer.slice(3));
  }

  /** As CRIU does when it is killed. */
  kill(): void {
    this.child.kill('SIGKILL');
  }
}
