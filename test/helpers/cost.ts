/** What a command costs, as a process of its own: processor time and memory. */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { BIN, type Outcome, runProcess } from './cli.js';
import { tempDir } from './temp.js';

export interface Cost extends Outcome {
  cpuSeconds: number;
  /** Peak. */
  mebibytes: number;
}

// The peak that getrusage has begins with that of the parent.
const REPORT = `import { readFileSync } from 'node:fs';
process.on('exit', () => {
  const { user, system } = process.cpuUsage();
  const [, kibibytes] = /VmHWM:\\s*(\\d+)/.exec(readFileSync('/proc/self/status', 'latin1'));
  process.stderr.write('\\0' + JSON.stringify([(user + system) / 1e6, kibibytes / 1024]));
});`;

/** Runs `pagepipe` to its end. */
export async function costOf(words: readonly string[], input?: Uint8Array): Promise<Cost> {
  const hook = join(tempDir(), 'report.mjs');
  writeFileSync(hook, REPORT);
  const outcome = await runProcess(process.execPath, ['--import', hook, BIN, ...words], input ? { input } : {});
  const [stderr = '', report = '[]'] = outcome.stderr.split('\0');
  const [cpuSeconds, mebibytes] = JSON.parse(report) as [number, number];
  return { code: outcome.code, stdout: outcome.stdout, stderr, cpuSeconds, mebibytes };
}
