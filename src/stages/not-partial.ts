/** Refuses partial dumps: what is made of one lacks the same pages. */
import { PARTIAL } from '../dump/names.js';
import type { DumpRecord } from '../dump/records.js';
import { DumpError } from '../errors.js';

const WHAT = 'pages were taken out of this dump that no lazy restore can fetch';

/**
 * Refuses a partial dump.
 * @param warn told of it instead
 * @throws {DumpError} PARTIAL_DUMP
 */
export function refusePartial(warn?: (message: string) => void): void {
  if (!warn) throw new DumpError('PARTIAL_DUMP', WHAT, { file: PARTIAL, hint: '--incomplete accepts such a dump' });
  warn(WHAT);
}

/** Makes a stage that does so when the mark of a partial dump passes. */
export function notPartial(warn?: (message: string) => void) {
  return function notPartialRecord(record: DumpRecord): DumpRecord {
    if (record.type === 'file' && record.name === PARTIAL) refusePartial(warn);
    return record;
  };
}
