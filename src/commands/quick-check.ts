/**
 * The cheap part of verify, for a dump that is read. With random access it is checked before the first byte goes out.
 * Otherwise it is checked while it passes, before its end goes out.
 */

import type { DumpRecord } from '../dump/records.js';
import { DumpError } from '../errors.js';
import { PAGE_SIZES } from '../memory/runs.js';
import { type Finding, findingText } from '../verify/findings.js';
import type { PassingDump } from '../verify/passing.js';
import { quickFindings } from '../verify/verify.js';
import { type Arguments, type Io, pageSizeFlag } from './command.js';
import { openBeforehand } from './source.js';

/** Findings in a directory or a plain archive; undefined for a dump that arrives. */
export async function findBeforehand(path: string, args: Arguments, io: Io): Promise<Finding[] | undefined> {
  const files = await openBeforehand(path, args, io);
  if (!files) return undefined;
  try {
    return quickFindings(files, pageSizeFlag(args, PAGE_SIZES));
  } finally {
    files.close();
  }
}

/** A stage that checks a dump while it passes, and reports before it passes on the end. */
export function checkPassing(dump: PassingDump, report: (findings: readonly Finding[]) => void) {
  return function checkRecord(record: DumpRecord): DumpRecord {
    dump.see(record);
    if (record.type === 'end') report(dump.end());
    return record;
  };
}

/**
 * Prints findings.
 * @param incomplete whether errors are only warnings
 * @throws {DumpError} DAMAGED for the last error
 */
export function reportFindings(findings: readonly Finding[], incomplete: boolean, io: Io): void {
  const last = incomplete ? undefined : findings.findLast(({ severity }) => severity === 'error');
  for (const finding of findings) {
    if (finding !== last) io.finding(incomplete ? { ...finding, severity: 'warning' } : finding);
  }
  if (!last) return;
  throw new DumpError('DAMAGED', findingText(last), {
    hint: 'pagepipe verify does all checks; --incomplete reads what can be read',
  });
}
