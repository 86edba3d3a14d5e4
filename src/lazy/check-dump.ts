/** What is checked of a dump before a task depends on it. */
import type { DumpFiles } from '../dump/files.js';
import { DumpError } from '../errors.js';
import { DumpMemory } from '../serve/memory.js';
import { refusePartial } from '../stages/not-partial.js';
import type { Finding } from '../verify/findings.js';
import { quickFindings } from '../verify/verify.js';

export interface DumpCheck {
  /** Bytes; by default found in the dump. */
  pageSize?: number | undefined;
  /** Whether lazy pages may be missing. */
  incomplete: boolean;
  /** Whether pages may be flagged as lazy and be nowhere in the dump: a page server has them. */
  leavesPages?: boolean;
  /** Takes what is wrong; throws unless it may be. */
  report(findings: readonly Finding[]): void;
  /** Told of a partial dump, which is refused without it. */
  warnOfPartial?: ((message: string) => void) | undefined;
}

/** Findings that are none here: COLD is a half of a dump, and a page server has the pages that OUT leaves to it. */
const COLD_HALF = 'COLD_HALF';
const LAZY_ONLY = 'LAZY_ONLY';

/**
 * Checks a whole dump. Returns its memory.
 * @throws {DumpError} PARTIAL_DUMP, NOT_A_DUMP, and what `report` throws
 */
export function checkDump(files: DumpFiles, check: DumpCheck): DumpMemory {
  const { pageSize, incomplete, leavesPages = false } = check;
  const page = pageSize === undefined ? {} : { pageSize };
  const all = quickFindings(files, page);
  if (!leavesPages && !incomplete && all.some(({ code }) => code === LAZY_ONLY)) throw lacksPages(files.path);
  check.report(all.filter(({ code }) => code !== COLD_HALF && !(code === LAZY_ONLY && leavesPages)));
  const memory = new DumpMemory(files, page);
  if (memory.isPartial) refusePartial(check.warnOfPartial);
  return memory;
}

/** A dump that leaves its lazy pages to another one. */
export const lacksPages = (file: string): DumpError =>
  new DumpError('PARTIAL_DUMP', 'its lazy pages are not in it: this is what a lazy restore begins with', {
    file,
    hint: 'give the whole dump that it was made from, or a page server that has it: --page-server',
  });
