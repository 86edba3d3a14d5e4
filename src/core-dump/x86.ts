/**
 * Registers of x86-64, and of 32-bit programs there.
 *
 * CRIU keeps the parts of the extended state, but not where they were: that differs between processors. A debugger knows a
 * layout only by its size and its mask of parts, so one of those that it knows is made.
 *
 * Source: Intel's manual, volume 1, chapter 13; Linux, arch/x86/include/asm/user_32.h and user_64.h, kernel/fpu/regset.c.
 */
import type {
  thread_info_x86,
  user_x86_fpregs_entry,
  user_x86_regs_entry,
  user_x86_xsave_entry,
} from '../generated/entries.js';
import { Fields, note } from './elf.js';

const NT_FPREGSET = 2;
const NT_X86_XSTATE = 0x202;
const NT_PRXFPREG = 0x46e62b7f;

export const FXSAVE_BYTES = 512;

type Register = Exclude<keyof user_x86_regs_entry, 'mode' | '$unknown'>;

/** The order in a core of x86-64. */
const REGISTERS_64 = [
  ...['r15', 'r14', 'r13', 'r12', 'bp', 'bx', 'r11', 'r10', 'r9', 'r8', 'ax', 'cx', 'dx', 'si', 'di', 'orig_ax'],
  ...['ip', 'cs', 'flags', 'sp', 'ss', 'fs_base', 'gs_base', 'ds', 'es', 'fs', 'gs'],
] as Register[];

/** The order in a core of i386. */
const REGISTERS_32 = [
  ...['bx', 'cx', 'dx', 'si', 'di', 'bp', 'ax', 'ds', 'es', 'fs', 'gs', 'orig_ax', 'ip', 'cs', 'flags', 'sp', 'ss'],
] as Register[];

/** Whether a thread runs 32-bit code. */
export const isCompat = ({ gpregs }: thread_info_x86): boolean => gpregs.mode === 'COMPAT';

export const registersOf64 = ({ gpregs }: thread_info_x86): bigint[] => REGISTERS_64.map((name) => gpregs[name]);
export const registersOf32 = ({ gpregs }: thread_info_x86): bigint[] => REGISTERS_32.map((name) => gpregs[name]);

/** Floating-point and vector registers of a thread of x86-64. */
export function floatNotes64({ fpregs }: thread_info_x86): Uint8Array[] {
  return [note('CORE', NT_FPREGSET, fxsave(fpregs).bytes)];
}

/** The same of i386. */
export const floatNotes32 = (info: thread_info_x86): Uint8Array[] => [note('CORE', NT_FPREGSET, i387(info))];

/** What only Linux has, behind the signal. */
export const extendedNotes64 = ({ fpregs }: thread_info_x86): Uint8Array[] => extendedState(fpregs);

export const extendedNotes32 = ({ fpregs }: thread_info_x86): Uint8Array[] => [
  note('LINUX', NT_PRXFPREG, fxsave(fpregs).bytes),
  ...extendedState(fpregs),
];

/** The area that FXSAVE writes. */
function fxsave(fpregs: user_x86_fpregs_entry, bytes = FXSAVE_BYTES): Fields {
  const out = new Fields(bytes, 8);
  out.u16(fpregs.cwd).u16(fpregs.swd).u16(fpregs.twd).u16(fpregs.fop);
  out.u64(fpregs.rip).u64(fpregs.rdp).u32(fpregs.mxcsr).u32(fpregs.mxcsr_mask);
  put32(out, 32, 32, fpregs.st_space);
  put32(out, 160, 64, fpregs.xmm_space);
  return out;
}

/** Parts of the extended state, as bits of XCR0. */
const X87_AND_SSE = 0x3n;
const AVX = 0x4n;
const MPX = 0x18n;
const AVX512 = 0xe0n;
const PKRU = 0x200n;

/** Where the mask is: in bytes that FXSAVE leaves to software. */
const MASK_AT = 464;
const HEADER_AT = 512;

/** The parts that a thread has, and the bytes of the layout with the last of them. */
function layoutOf(xsave: user_x86_xsave_entry): { mask: bigint; bytes: number } {
  let mask = X87_AND_SSE;
  let bytes = 576;
  const add = (bits: bigint, end: number, ...parts: (readonly unknown[] | undefined)[]) => {
    if (parts.every((part = []) => part.length === 0)) return;
    mask |= bits;
    bytes = end;
  };
  add(AVX, 832, xsave.ymmh_space);
  add(MPX, 1088, xsave.bndreg_state, xsave.bndcsr_state);
  add(AVX512, 2688, xsave.opmask_reg, xsave.zmm_upper, xsave.hi16_zmm);
  add(PKRU, 2696, xsave.pkru);
  return { mask, bytes };
}

/** The area that XSAVE writes. A part that is in its initial state has no bit in the header, and is zeros. */
function extendedState(fpregs: user_x86_fpregs_entry): Uint8Array[] {
  const { xsave } = fpregs;
  if (!xsave) return [];
  const { mask, bytes } = layoutOf(xsave);
  if (mask === X87_AND_SSE) return [];
  const present = xsave.xstate_bv & mask;
  const out = fxsave(fpregs, bytes);
  out.at = MASK_AT;
  out.u64(mask);
  out.at = HEADER_AT;
  out.u64(present);
  if (present & 0x4n) put32(out, 576, 64, xsave.ymmh_space);
  if (present & 0x8n) put64(out, 960, 8, xsave.bndreg_state);
  if (present & 0x10n) put64(out, 1024, 2, xsave.bndcsr_state);
  if (present & 0x20n) put64(out, 1088, 8, xsave.opmask_reg);
  if (present & 0x40n) put64(out, 1152, 64, xsave.zmm_upper);
  if (present & 0x80n) put64(out, 1664, 128, xsave.hi16_zmm);
  if (present & 0x200n) put32(out, 2688, 1, xsave.pkru);
  return [note('LINUX', NT_X86_XSTATE, out.bytes)];
}

/** No more than there is room for: an image may have any number. */
function put32(out: Fields, at: number, most: number, values: readonly number[] = []): void {
  out.at = at;
  for (const value of values.slice(0, most)) out.u32(value);
}

function put64(out: Fields, at: number, most: number, values: readonly bigint[] = []): void {
  out.at = at;
  for (const value of values.slice(0, most)) out.u64(value);
}

/** Upper halves of the control words are ones. */
const ONES = 0xffff0000;

/** The registers of the old coprocessor: eight of 80 bits, and a tag of two bits for each. */
function i387({ gpregs, fpregs }: thread_info_x86): Uint8Array {
  const out = new Fields(108, 4);
  out
    .u32(ONES | fpregs.cwd)
    .u32(ONES | fpregs.swd)
    .u32(ONES | tagWord(fpregs));
  out.wide(fpregs.rip).u32((fpregs.fop << 16) | Number(gpregs.cs & 0xffffn));
  out.wide(fpregs.rdp).u32(ONES | Number(gpregs.ds & 0xffffn));
  const { bytes } = fxsave(fpregs);
  // FXSAVE has each in 16 bytes.
  for (let i = 0; i < 8; i++) out.bytes.set(bytes.subarray(32 + 16 * i, 32 + 16 * i + 10), out.at + 10 * i);
  return out.bytes;
}

const TAG = { VALID: 0, ZERO: 1, SPECIAL: 2, EMPTY: 3 } as const;

/** FXSAVE has only one bit for each register. The other follows from what is in it. */
function tagWord({ twd, swd, st_space = [] }: user_x86_fpregs_entry): number {
  const top = (swd >> 11) & 7;
  let word = 0;
  for (let i = 0; i < 8; i++) {
    const at = 4 * ((i - top) & 7);
    const tag = (twd >> i) & 1 ? tagOf(st_space[at] ?? 0, st_space[at + 1] ?? 0, st_space[at + 2] ?? 0) : TAG.EMPTY;
    word |= tag << (2 * i);
  }
  return word;
}

function tagOf(low: number, high: number, signAndExponent: number): number {
  const exponent = signAndExponent & 0x7fff;
  if (exponent === 0x7fff) return TAG.SPECIAL;
  if (exponent === 0) return low === 0 && high === 0 ? TAG.ZERO : TAG.SPECIAL;
  // The highest bit of the significand is not implied.
  return high >>> 31 === 1 ? TAG.VALID : TAG.SPECIAL;
}
