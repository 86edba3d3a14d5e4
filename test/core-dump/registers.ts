/** Core images with registers, made by hand, and the names and places of registers in notes. */
import { Message } from '../helpers/dump-writer.js';

/** Field numbers of `user_x86_regs_entry` count from 1 in this order. */
export const X86_REGISTERS = [
  ...['r15', 'r14', 'r13', 'r12', 'bp', 'bx', 'r11', 'r10', 'r9', 'r8', 'ax', 'cx', 'dx', 'si', 'di', 'orig_ax', 'ip'],
  ...['cs', 'flags', 'sp', 'ss', 'fs_base', 'gs_base', 'ds', 'es', 'fs', 'gs'],
];

/** A value for each register that no other one has. */
export const registerValue = (i: number): bigint => 0x1111_2222_0000_0000n + BigInt(i + 1) * 0x1_0001n;

export interface X86State {
  mode?: 1 | 2;
  /** Of FXSAVE. */
  stSpace?: readonly number[];
  xmmSpace?: readonly number[];
  xsave?: Message;
  registers?: Record<string, bigint>;
  twd?: number;
  swd?: number;
}

/** `thread_info_x86`. */
export function x86Info({
  mode,
  stSpace = [],
  xmmSpace = [],
  xsave,
  registers = {},
  twd = 3,
  swd = 2,
}: X86State): Message {
  const general = new Message();
  for (const [i, name] of X86_REGISTERS.entries()) general.int(i + 1, registers[name] ?? registerValue(i));
  if (mode !== undefined) general.int(28, mode);
  const float = new Message().int(1, 0x37f).int(2, swd).int(3, twd).int(4, 0x7ff);
  float.int(5, 0x1234_5678_9abcn).int(6, 0xdef0_1234n).int(7, 0x1f80).int(8, 0xffff);
  for (const value of stSpace) float.int(9, value);
  for (const value of xmmSpace) float.int(10, value);
  if (xsave) float.field(13, xsave);
  return new Message().int(1, 0).field(2, general).field(3, float);
}

/** `thread_info_aarch64`: x0 is 0x100, x1 0x101 and so on; the halves of the vectors count from 0x200. */
export function aarch64Info(): Message {
  const general = new Message();
  for (let i = 0; i < 31; i++) general.int(1, 0x100 + i);
  general.int(2, 0x7fff_0000_0010n).int(3, 0x40_1000).int(4, 0x6000_0000);
  const vectors = new Message();
  for (let i = 0; i < 64; i++) vectors.int(1, 0x200 + i);
  vectors.int(2, 0x11).int(3, 0x22);
  return new Message().int(1, 0).int(2, 0xffff_8000_1230n).field(3, general).field(4, vectors);
}

export interface CoreSpec {
  /** 1 for x86-64. */
  march?: number;
  info?: Message;
  comm?: string;
  /** 3 for a stopped task. */
  state?: number;
  blocked?: bigint;
  uid?: number;
  gid?: number;
  nice?: number;
  /** `siginfo_t` of pending signals. */
  pending?: readonly Uint8Array[];
  /** Of a thread that is not the main one. */
  isThread?: boolean;
}

/** `core_entry`. */
export function coreMessage(spec: CoreSpec = {}): Message {
  const { march = 1, comm = 'prog', state = 1, blocked = 0n, uid = 0, gid = 0, nice = 0, pending = [] } = spec;
  const { info = march === 3 ? aarch64Info() : x86Info({}) } = spec;
  const core = new Message().int(1, march).field(march === 3 ? 8 : 2, info);
  if (!spec.isThread) {
    const task = new Message().int(1, state).int(2, 0).int(3, 0).int(4, 0x40_0000).int(5, blocked).field(6, comm);
    const timer = new Message().int(1, 0).int(2, 0).int(3, 0).int(4, 0);
    core.field(3, task.field(7, new Message().field(1, timer).field(2, timer).field(3, timer)).field(8, ''));
  }
  const credentials = new Message().int(1, uid).int(2, gid);
  for (let field = 3; field <= 8; field++) credentials.int(field, 0);
  credentials.int(13, 0);
  const queue = new Message();
  for (const siginfo of pending) queue.field(1, new Message().field(1, siginfo));
  // sint32: zigzag.
  const thread = new Message()
    .int(1, 0)
    .int(2, 0)
    .int(3, (nice << 1) ^ (nice >> 31));
  if (spec.isThread) thread.int(6, blocked);
  return core.field(5, thread.field(9, queue).field(10, credentials));
}
