/** The system calls of a daemon, where they are known. */
import { DumpError } from '../errors.js';
import { type DaemonCalls, daemonCalls } from '../io/linux.js';

/** A machine whose structures and system calls are known here: 64 bits, little endian. */
const MACHINES = ['x64', 'arm64', 'riscv64', 'loong64'];

/** Throws {@link DumpError} UNSUPPORTED with what to do. */
export function requireDaemonCalls(): DaemonCalls {
  const calls = MACHINES.includes(process.arch) ? daemonCalls() : undefined;
  if (calls) return calls;
  throw new DumpError('UNSUPPORTED', 'system calls for lazy restores are not available', {
    hint: MACHINES.includes(process.arch)
      ? 'npm install koffi in the folder of pagepipe; or use criu lazy-pages'
      : 'on this machine use criu lazy-pages',
  });
}
