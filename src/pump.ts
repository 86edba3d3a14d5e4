/**
 * Runs records from a source through stages into a sink, one at a time: the next record is asked for when the sink is
 * done with this one, so a source may reuse its buffers, and nothing waits anywhere in between.
 */
import { gen } from 'stream-chain';
import { Breather } from './breathe.js';
import type { DumpRecord } from './records.js';

/** One step of a pipeline: also an item of stream-chain's `chain([...])`. */
export type Stage = (record: DumpRecord) => DumpRecord | Iterable<DumpRecord>;

export interface RecordSink {
  write(record: DumpRecord): void | Promise<void>;
  /** Makes the output visible; called once, after the last record. */
  finish(): void | Promise<void>;
  /** Leaves nothing behind; called instead of, or after a failing, finish. */
  discard(): void;
}

/**
 * Pumps a whole dump. If anything fails, or `signal` is aborted, the sink is discarded.
 * @throws whatever source, stage or sink throw; `signal.reason` if it is aborted
 */
export async function pump(
  source: Iterable<DumpRecord> | AsyncIterable<DumpRecord>,
  stages: readonly Stage[],
  sink: RecordSink,
  signal?: AbortSignal,
): Promise<void> {
  const run = gen(...stages) as (record: DumpRecord) => AsyncGenerator<DumpRecord>;
  const breather = new Breather();
  try {
    for await (const record of source) {
      signal?.throwIfAborted();
      if (stages.length === 0) await sink.write(record);
      else for await (const out of run(record)) await sink.write(out);
      await breather.due();
    }
    signal?.throwIfAborted();
    await sink.finish();
  } catch (error) {
    sink.discard();
    throw error;
  }
}
