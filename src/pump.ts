/**
 * Runs records from a source through stages into a sink, one at a time: the next record is asked for when the sink is
 * done with this one, so a source may reuse its buffers, and nothing waits anywhere in between.
 */
import { getManyValues, isMany } from 'stream-chain';
import { fun } from 'stream-chain/fun.js';
import { Breather } from './breathe.js';
import type { DumpRecord } from './records.js';
import { portions } from './stream/extents.js';

/** One step of a pipeline: also an item of stream-chain's `chain([...])`. */
export type Stage = (record: DumpRecord) => DumpRecord | Generator<DumpRecord>;

export interface RecordSink {
  write(record: DumpRecord): void | Promise<void>;
  /** Makes the output visible; called once, after the last record. */
  finish(): void | Promise<void>;
  /** Leaves nothing behind; called instead of, or after a failing, finish. */
  discard(): void | Promise<void>;
}

/** Records one by one, or as they come: an async source gives a batch for each chunk that it has read. */
export type RecordSource = Iterable<DumpRecord> | AsyncIterable<Iterable<DumpRecord>>;

/** What a source gives, batch by batch. */
export const batchesOf = (source: RecordSource): AsyncIterable<Iterable<DumpRecord>> | Iterable<DumpRecord>[] =>
  Symbol.asyncIterator in source ? source : [source];

/** A sink with stages in front of it, where several sinks take the records of one source. */
export function behindStages(stages: readonly Stage[], sink: RecordSink): RecordSink {
  const run = compose(stages);
  return {
    async write(record) {
      for (const out of run(record)) await sink.write(out);
    },
    finish: () => sink.finish(),
    discard: () => sink.discard(),
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
  const run = compose(stages);
  const breather = new Breather();
  try {
    for await (const batch of batchesOf(source)) {
      for (const record of batch) {
        for (const out of run(record)) {
          for (const portion of out.type === 'extents' ? portions(out) : [out]) {
            // Awaiting what is no promise would cost more than moving 64 KiB.
            const written = sink.write(portion);
            if (written) await written;
            const breath = breather.due();
            if (breath) await breath;
            signal?.throwIfAborted();
          }
        }
      }
    }
    await sink.finish();
  } catch (error) {
    await sink.discard();
    throw error;
  }
}

/** The stages as one function, by stream-chain: synchronous, as they are. */
function compose(stages: readonly Stage[]): (record: DumpRecord) => Iterable<DumpRecord> {
  if (stages.length === 0) return (record) => [record];
  const run = fun(...stages) as (record: DumpRecord) => unknown;
  return (record) => {
    const out = run(record);
    return (isMany(out) ? getManyValues(out) : out) as DumpRecord[];
  };
}
