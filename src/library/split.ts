/** Divides a dump into two halves: what a restore needs at its start, and what is served to it later. */
import { behindStages, pump, type RecordSink } from '../dump/pump.js';
import { TeeSink } from '../dump/tee.js';
import { coldPart, notCold } from '../halves/cold-stage.js';
import { addOriginals } from '../halves/originals.js';
import type { MemoryBudget } from '../io/byte-queue.js';
import type { FaultList } from '../memory/fault-list.js';
import { classify, type Policy } from '../stages/classify.js';
import { DROP_LAZY, filter } from '../stages/filter.js';
import { type KeepOptions, keepEager } from '../stages/keep.js';
import { notPartial } from '../stages/not-partial.js';
import { rebuild } from '../stages/rebuild.js';
import type { OpenDump } from './open-dump.js';
import { defaultBudget } from './sinks.js';

export interface SplitOptions {
  /** Which pages are lazy; by default `auto`. */
  policy?: Exclude<Policy, 'seed'>;
  /** Lazy pages that stay in the hot half, as with {@link keepEager}. */
  keep?: ({ list: FaultList } & KeepOptions) | undefined;
  /** For pagemaps that wait: 32 MiB in memory, then a file in the system's temporary folder. */
  budget?: MemoryBudget;
  /** Called for what looks wrong in the dump but is not an error. */
  warn?: (message: string) => void;
  /** Called if pages were taken out of the dump that nothing can fetch. Without it, such a dump is refused. */
  warnOfPartial?: ((message: string) => void) | undefined;
  signal?: AbortSignal;
}

/**
 * Splits a dump: `hot` gets what make-lazy makes of it, `cold` the lazy pages and the images that a page server needs. Each
 * page goes into one of them. With random access the metadata is read twice and each page once; otherwise all is read once.
 * Hot is finished before cold. If cold fails after that, hot remains. Any other failure leaves neither.
 * @throws {DumpError} UNSUPPORTED for a cold half, PARTIAL_DUMP, and as {@link classify} and both sinks do
 */
export async function split(
  dump: OpenDump,
  hot: RecordSink,
  cold: RecordSink,
  { policy = 'auto', keep, budget = defaultBudget(), warn, warnOfPartial, signal }: SplitOptions = {},
): Promise<void> {
  const hotStages = [
    notPartial(warnOfPartial),
    classify({ policy, ...(warn ? { warn } : {}) }),
    ...keepStages(keep),
    filter(DROP_LAZY),
    rebuild(),
  ];
  const coldStages = [
    addOriginals(budget),
    classify({ policy }),
    ...keepStages(keep && { list: keep.list }),
    filter({ action: 'keep', selection: { class: 'lazy' } }),
    rebuild({ holes: 'drop' }),
    ...coldPart(),
  ];
  const halves = [behindStages(hotStages, hot), behindStages(coldStages, cold)] as const;
  await (dump.files ? inTurn : atOnce)(dump, ...halves, signal);
}

const keepStages = (keep: ({ list: FaultList } & KeepOptions) | undefined) =>
  keep ? [keepEager(keep.list, keep)] : [];

/** The dump that is split, and that merge gives back, is the one that `write` would make of the source. */
const sourceStages = () => [notCold(), rebuild()];

/** Hot, then cold. The metadata is read twice, and each page once. */
async function inTurn({ records }: OpenDump, hot: RecordSink, cold: RecordSink, signal?: AbortSignal): Promise<void> {
  try {
    await pump(records, sourceStages(), hot, signal);
  } catch (error) {
    await cold.discard();
    throw error;
  }
  await pump(records, sourceStages(), cold, signal);
}

/** Both at once, from a source that can be read only once. */
const atOnce = ({ records }: OpenDump, hot: RecordSink, cold: RecordSink, signal?: AbortSignal): Promise<void> =>
  pump(records, sourceStages(), new TeeSink(hot, cold), signal);
