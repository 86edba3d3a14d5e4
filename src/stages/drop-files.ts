/** Takes files out of a dump, with their payload. */
import { none } from 'stream-chain/defs.js';
import { type DumpRecord, type FileRecord, isPayload } from '../dump/records.js';

/** Makes a stage that drops the files that `isDropped` accepts. */
export function dropFiles(isDropped: (file: FileRecord) => boolean) {
  let drops = false;
  return (record: DumpRecord): DumpRecord | typeof none => {
    if (!isPayload(record)) drops = record.type === 'file' && isDropped(record);
    return drops ? none : record;
  };
}

/** Drops the other files of an archive that has a dump in it: only another archive has a place for them. */
export const withoutOutside = () => dropFiles((file) => file.outside === true);
