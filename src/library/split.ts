/** A dump in two halves: what must be there at the start of a restore, and what is served to it later. */
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
  /** What is lazy; `auto` if it is not given. */
  policy?: Exclude<Policy, 'seed'>;
  /** Lazy pages that stay in the hot half, as with {@link keepEager}. */
  keep?: ({ list: FaultList } & KeepOptions) | undefined;
  /** For pagemaps that wait: 64 MiB in memory, then a file in the system's temporary folder. */
  budget?: MemoryBudget;
  /** Told of what looks wrong in the dump and is no error. */
  warn?: (message: string) => void;
  /** Told of pages that were taken out of the dump and that nothing can fetch; without it such a dump is refused. */
  warnOfPartial?: ((message: string) => void) | undefined;
  signal?: AbortSignal;
}

/**
 * Splits a dump: `hot` gets what make-lazy makes of it, `cold` the lazy pages and the images that a page server needs. Each
 * page goes into one of them. A dump that is open to random access is read twice, its pages once; any other is read once.
 * Hot is finished before cold is: if cold fails, hot may be there. Otherwise nothing is left of either.
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

/** What `write` would make of the source is what is split, and what merge gives back. */
const sourceStages = () => [notCold(), rebuild()];

/** Hot, and then cold: the metadata is read twice, and each page once. */
async function inTurn({ records }: OpenDump, hot: RecordSink, cold: RecordSink, signal?: AbortSignal): Promise<void> {
  try {
    await pump(records, sourceStages(), hot, signal);
  } catch (error) {
    await cold.discard();
    throw error;
  }
  await pump(records, sourceStages(), cold, signal);
}

/** Both, of a source that can be read only once. */
const atOnce = ({ records }: OpenDump, hot: RecordSink, cold: RecordSink, signal?: AbortSignal): Promise<void> =>
  pump(records, sourceStages(), new TeeSink(hot, cold), signal);
