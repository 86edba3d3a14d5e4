/** Merges the two halves of a split dump. */
import type { DumpFiles } from '../dump/files.js';
import { pump, type RecordSink } from '../dump/pump.js';
import type { DumpRecord } from '../dump/records.js';
import { ColdHalf } from '../halves/cold-half.js';
import { mergedRecords } from '../halves/merged.js';
import type { OpenDump } from './open-dump.js';

/**
 * Writes the dump that the two halves come from, byte for byte, or fails and leaves nothing.
 * @param openCold opens the files of the cold half with readable pages, when `hot` and `out` are open; closed at the end
 * @throws {DumpError} MISSING_IMAGE, NOT_HALVES where the halves do not belong together
 */
export const merge = (
  hot: OpenDump,
  openCold: () => Promise<DumpFiles>,
  out: RecordSink,
  signal?: AbortSignal,
): Promise<void> => pump(withCold(hot, openCold), [], out, signal);

async function* withCold(
  { records }: OpenDump,
  openCold: () => Promise<DumpFiles>,
): AsyncGenerator<Iterable<DumpRecord>> {
  const files = await openCold();
  try {
    yield* mergedRecords(records, new ColdHalf(files));
  } finally {
    files.close();
  }
}
