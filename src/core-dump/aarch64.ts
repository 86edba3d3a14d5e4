/**
 * Registers of 64-bit ARM.
 *
 * Source: Linux, arch/arm64/include/uapi/asm/ptrace.h, include/uapi/linux/elf.h.
 */
import type { thread_info_aarch64 } from '../generated/entries.js';
import { Fields, note } from './elf.js';

const NT_FPREGSET = 2;
const NT_ARM_TLS = 0x401;

/** General registers x0 to x30, each of 64 bits. */
const GENERAL = 31;
/** Vector registers, each of two words. */
const VECTOR_WORDS = 64;
const FPSIMD_BYTES = 528;

/** General registers, stack pointer, program counter, state. */
export const registersOf = ({ gpregs: { regs = [], sp, pc, pstate } }: thread_info_aarch64): bigint[] => [
  ...Array.from({ length: GENERAL }, (_, i) => regs[i] ?? 0n),
  sp,
  pc,
  pstate,
];

export function floatNotes({ fpsimd: { vregs = [], fpsr, fpcr } }: thread_info_aarch64): Uint8Array[] {
  const out = new Fields(FPSIMD_BYTES, 8);
  for (const half of vregs.slice(0, VECTOR_WORDS)) out.u64(half);
  out.at = 8 * VECTOR_WORDS;
  out.u32(fpsr).u32(fpcr);
  return [note('CORE', NT_FPREGSET, out.bytes)];
}

/** Where thread-local storage is. */
export const tlsNote = ({ tls }: thread_info_aarch64): Uint8Array =>
  note('LINUX', NT_ARM_TLS, new Fields(8, 8).u64(tls).bytes);
