/** The machines that cores are made for: how wide their words are, and the notes of a thread. */
import { DumpError } from '../errors.js';
import type { core_entry, thread_info_aarch64, thread_info_x86 } from '../generated/entries.js';
import * as arm from './aarch64.js';
import { ELF32, ELF64, type ElfClass } from './elf.js';
import { siginfoNote, statusNote, type ThreadStatus } from './notes.js';
import * as x86 from './x86.js';

export interface Machine {
  name: 'x86-64' | 'i386' | 'aarch64';
  elf: ElfClass;
  /** EM_*. */
  number: number;
  /**
   * @param file of the core, for errors
   * @throws {DumpError} MALFORMED if it has no registers
   */
  threadNotes(core: core_entry, status: ThreadStatus, file: string): Uint8Array[];
}

const X86_64: Machine = {
  name: 'x86-64',
  elf: ELF64,
  number: 62,
  threadNotes(core, status, file) {
    const info = x86Info(core, file);
    return [
      statusNote(ELF64, status, x86.registersOf64(info)),
      ...x86.floatNotes64(info),
      siginfoNote(),
      ...x86.extendedNotes64(info),
    ];
  },
};

const I386: Machine = {
  name: 'i386',
  elf: ELF32,
  number: 3,
  threadNotes(core, status, file) {
    const info = x86Info(core, file);
    return [
      statusNote(ELF32, status, x86.registersOf32(info)),
      ...x86.floatNotes32(info),
      siginfoNote(),
      ...x86.extendedNotes32(info),
    ];
  },
};

const AARCH64: Machine = {
  name: 'aarch64',
  elf: ELF64,
  number: 183,
  threadNotes(core, status, file) {
    const info: thread_info_aarch64 | undefined = core.ti_aarch64;
    if (!info) throw noRegisters('ti_aarch64', file);
    return [
      statusNote(ELF64, status, arm.registersOf(info)),
      ...arm.floatNotes(info),
      siginfoNote(),
      arm.tlsNote(info),
    ];
  },
};

/**
 * The machine of a process, by the core of its main thread.
 * @param file of the core, for errors
 * @throws {DumpError} UNSUPPORTED for another one, MALFORMED
 */
export function machineOf(core: core_entry, file: string): Machine {
  if (core.mtype === 'X86_64') return x86.isCompat(x86Info(core, file)) ? I386 : X86_64;
  if (core.mtype === 'AARCH64') return AARCH64;
  throw new DumpError('UNSUPPORTED', `expected a process of x86-64, i386 or aarch64, found one of ${core.mtype}`, {
    file,
  });
}

function x86Info({ thread_info }: core_entry, file: string): thread_info_x86 {
  if (!thread_info) throw noRegisters('thread_info', file);
  return thread_info;
}

const noRegisters = (field: string, file: string): DumpError =>
  new DumpError('MALFORMED', `expected registers in ${field}, found none`, { file });
