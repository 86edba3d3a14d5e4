/** What commands cost: processor time and memory. They run in a process of their own, one after the other. */
import { type ChildProcess, fork } from 'node:child_process';
import { join } from 'node:path';
import { afterAll } from 'vitest';
import type { Outcome } from './cli.js';

export interface Cost extends Outcome {
  cpuSeconds: number;
  /** Peak. */
  mebibytes: number;
}

/** Gives a function that runs `pagepipe` to its end. To be called once in a file. */
export function costs(): (words: readonly string[]) => Promise<Cost> {
  let child: ChildProcess | undefined;
  afterAll(() => child?.kill());
  return (words) => {
    const commands = child ?? fork(join(import.meta.dirname, 'cost-process.mjs'), { execArgv: ['--expose-gc'] });
    child = commands;
    return new Promise((resolve, reject) => {
      const ended = (code: number | null) => reject(new Error(`the process of commands ended with ${code}`));
      commands.once('exit', ended);
      commands.once('message', (cost: Cost) => {
        commands.off('exit', ended);
        resolve(cost);
      });
      commands.send(words);
    });
  };
}
