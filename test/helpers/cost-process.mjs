/** Runs command lines one after the other, and says of each what it has cost. */
import { closeSync, openSync, readFileSync, writeFileSync } from 'node:fs';
import { main } from '../../dist/cli.js';

const none = openSync('/dev/null', 'r+');
const { signal } = new AbortController();

async function costOf(words) {
  const outcome = { stdout: '', stderr: '' };
  globalThis.gc();
  // From now on VmHWM is the peak of this command line.
  writeFileSync('/proc/self/clear_refs', '5');
  const before = process.cpuUsage();
  const io = {
    stdinFd: none,
    stdoutFd: none,
    stdinIsTerminal: false,
    stdoutIsTerminal: false,
    stderrIsTerminal: false,
    out: (text) => {
      outcome.stdout += text;
    },
    err: (text) => {
      outcome.stderr += text;
    },
    signal,
  };
  const code = await main(words, io, { listen() {} });
  const { user, system } = process.cpuUsage(before);
  const [, kibibytes] = /VmHWM:\s*(\d+)/.exec(readFileSync('/proc/self/status', 'latin1'));
  return { code, ...outcome, cpuSeconds: (user + system) / 1e6, mebibytes: kibibytes / 1024 };
}

process.on('message', async (words) => process.send(await costOf(words)));
process.on('disconnect', () => closeSync(none));
