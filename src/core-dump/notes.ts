/**
 * The notes of every machine: what process and threads there are, and which files are mapped. The registers are those of
 * `x86.ts` and `aarch64.ts`.
 *
 *     notes := PRPSINFO thread+ AUXV? FILE?          thread := PRSTATUS FPREGSET SIGINFO machine's own*
 *
 * A debugger takes the first thread for the current one, so it is the main thread.
 *
 * Source: Linux, include/linux/elfcore.h, fs/binfmt_elf.c.
 */
import { type ElfClass, Fields, note } from './elf.js';

const NT_PRSTATUS = 1;
const NT_PRPSINFO = 3;
const NT_AUXV = 6;
export const NT_FILE = 0x46494c45;
const NT_SIGINFO = 0x53494749;

/** Bytes of a siginfo_t. */
const SIGINFO_BYTES = 128;
const COMM_BYTES = 16;
/** Of the arguments, with the NUL at the end. */
export const ARGUMENT_BYTES = 80;
/** What a user id becomes that does not fit 16 bits. Source: DEFAULT_OVERFLOWUID. */
const OVERFLOW_ID = 65534;

/** The ids of a process, inside its pid namespace. */
export interface ProcessIds {
  pid: number;
  ppid: number;
  pgid: number;
  sid: number;
}

export interface ProcessInfo extends ProcessIds {
  state: 'running' | 'stopped';
  nice: number;
  /** PF_* of the kernel. */
  flags: number;
  uid: number;
  gid: number;
  comm: Uint8Array;
  /** The start of its arguments, each ended by a NUL. */
  args: Uint8Array;
}

/** What every thread has. Masks have a bit for each signal. */
export interface ThreadStatus extends ProcessIds {
  pendingSignals: bigint;
  blockedSignals: bigint;
}

/** By the name of the state in ps(1), in the order of the kernel. */
const STATES = { running: [0, 'R'], stopped: [3, 'T'] } as const;

export function processNote(elf: ElfClass, info: ProcessInfo): Uint8Array {
  const isWide = elf.word === 8;
  const out = new Fields(isWide ? 136 : 124, elf.word);
  const [state, name] = STATES[info.state];
  out.u8(state).u8(name.charCodeAt(0)).u8(0).u8(info.nice);
  if (isWide) out.u32(0);
  out.word(info.flags);
  if (isWide) out.u32(info.uid).u32(info.gid);
  else out.u16(narrowId(info.uid)).u16(narrowId(info.gid));
  out.u32(info.pid).u32(info.ppid).u32(info.pgid).u32(info.sid);
  out.bytes.set(info.comm.subarray(0, COMM_BYTES - 1), out.at);
  out.bytes.set(argumentText(info.args), out.at + COMM_BYTES);
  return note('CORE', NT_PRPSINFO, out.bytes);
}

const narrowId = (id: number): number => (id > 0xffff ? OVERFLOW_ID : id);

/** The arguments in one line, as ps(1) has them. */
function argumentText(args: Uint8Array): Uint8Array {
  const text = args.slice(0, ARGUMENT_BYTES - 1).map((byte) => (byte === 0 ? 0x20 : byte));
  return text.subarray(0, text.findLastIndex((byte) => byte !== 0x20) + 1);
}

/** @param registers as the machine has them in a signal frame or a core */
export function statusNote(elf: ElfClass, status: ThreadStatus, registers: readonly bigint[]): Uint8Array {
  const { word } = elf;
  const words = 2 + 8 + registers.length;
  const bytes = 16 + words * word + 4 * 4 + 4;
  const out = new Fields(Math.ceil(bytes / word) * word, word);
  // The signal that ended it: none did.
  out.at = 16;
  out.wide(status.pendingSignals).wide(status.blockedSignals);
  out.u32(status.pid).u32(status.ppid).u32(status.pgid).u32(status.sid);
  // The times that it has run.
  out.at += 8 * word;
  for (const register of registers) out.wide(register);
  // There are floating-point registers.
  out.u32(1);
  return note('CORE', NT_PRSTATUS, out.bytes);
}

export const siginfoNote = (): Uint8Array => note('CORE', NT_SIGINFO, new Uint8Array(SIGINFO_BYTES));

/** The auxiliary vector. @param words as the images have them: always 64 bits, and of a narrow machine two of its words each */
export function auxiliaryNote(elf: ElfClass, words: readonly bigint[]): Uint8Array {
  const out = new Fields(words.length * 8, elf.word);
  for (const word of words) out.u64(word);
  return note('CORE', NT_AUXV, out.bytes);
}
