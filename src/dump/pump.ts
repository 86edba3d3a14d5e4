/**
 * Moves records from a source through stages into a sink, one at a time. The next record is asked for when the sink is done
 * with this one. So a source or a stage may reuse its buffers, and nothing queues up in between.
 */
import type { Fn, Many, none } from 'stream-chain/defs.js';
import { abortStages, flush, next } from 'stream-chain/exec.js';
import { Breather } from '../io/breathe.js';
import { portions } from './extents.js';
import type { DumpRecord } from './records.js';

/** The result of a stage: nothing, one record or several. */
export type StageOutput =
  | DumpRecord
  | typeof none
  | Many<DumpRecord>
  | Generator<DumpRecord>
  | AsyncGenerator<DumpRecord>;

/**
 * One step of a pipeline: also an item of stream-chain's `chain([...])`. A `flushable` stage is flushed after the last record,
 * and released if the pipeline fails.
 */
export type Stage = (record: DumpRecord) => StageOutput | Promise<StageOutput>;

export interface RecordSink {
  write(record: DumpRecord): void | Promise<void>;
  /** Makes the output visible; called once, after the last record. */
  finish(): void | Promise<void>;
  /** Removes what was written; called instead of finish, or after it failed. */
  discard(): void | Promise<void>;
}

/** Records one by one, or in batches: an async source gives a batch for each chunk that it reads. */
export type RecordSource = Iterable<DumpRecord> | AsyncIterable<Iterable<DumpRecord>>;

/** The records of a source in batches. */
export const batchesOf = (source: RecordSource): AsyncIterable<Iterable<DumpRecord>> | Iterable<DumpRecord>[] =>
  Symbol.asyncIterator in source ? source : [source];

/** A sink with stages in front of it. Nothing is awaited where neither a stage nor the sink returns a promise. */
export function behindStages(stages: readonly Stage[], sink: RecordSink): RecordSink {
  const items = stages as readonly Fn[] as Fn[];
  const write = (record: DumpRecord) => sink.write(record);
  const flushed = new Set<Fn>();
  return {
    write: items.length === 0 ? write : (record) => next(record, items, 0, write),
    finish: async () => {
      await flush(items, 0, write, flushed);
      await sink.finish();
    },
    discard: async () => {
      const failure = await abortStages(items, flushed);
      await sink.discard();
      if (failure !== undefined) throw failure;
    },
  };
}

/**
 * Pumps a whole dump. If anything fails, or `signal` is aborted, the sink is discarded.
 * @throws whatever source, stage or sink throw; `signal.reason` if it is aborted
 */
export async function pump(
  source: RecordSource,
  stages: readonly Stage[],
  sink: RecordSink,
  signal?: AbortSignal,
): Promise<void> {
  const out = behindStages(stages, paced(sink, signal));
  try {
    for await (const batch of batchesOf(source)) {
      for (const record of batch) {
        // An await without need would cost more than moving 64 KiB.
        const written = out.write(record);
        if (written) await written;
      }
    }
    await out.finish();
  } catch (error) {
    await out.discard();
    throw error;
  }
}

/** Passes large extents to a sink in portions; timers and signals run between them. */
function paced(sink: RecordSink, signal: AbortSignal | undefined): RecordSink {
  const breather = new Breather();
  const checkSignal = () => signal?.throwIfAborted();
  const breathe = (): void | Promise<void> => breather.due()?.then(checkSignal) ?? checkSignal();
  const put = (record: DumpRecord): void | Promise<void> => sink.write(record)?.then(breathe) ?? breathe();
  const putAll = (records: Iterator<DumpRecord>): void | Promise<void> => {
    for (let { value, done } = records.next(); !done; { value, done } = records.next()) {
      const written = put(value);
      if (written) return written.then(() => putAll(records));
    }
  };
  return {
    write: (record) => (record.type === 'extents' ? putAll(portions(record)[Symbol.iterator]()) : put(record)),
    finish: () => sink.finish(),
    discard: () => sink.discard(),
  };
}
