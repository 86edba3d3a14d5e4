/** Takes out what stands beside a dump in its archive: only another archive has a place for it. */
import type { DumpRecord } from '../records.js';

export function withoutOutside() {
  let isOutside = false;
  return function* withoutOutsideRecord(record: DumpRecord): Generator<DumpRecord> {
    if (record.type === 'file') isOutside = record.outside === true;
    else if (record.type !== 'bytes' && record.type !== 'extents' && record.type !== 'check') isOutside = false;
    if (!isOutside) yield record;
  };
}
