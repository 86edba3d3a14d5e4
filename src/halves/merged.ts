/**
 * Merges the two halves of a split dump. The hot half is read from front to back. Its files, and the files outside the dump in
 * its archive, are passed on. The original pagemaps replace those of the hot half, and the pages of both halves are put
 * together.
 */

import { originalName } from '../dump/names.js';
import { PayloadCheck } from '../dump/payload-check.js';
import { payloadLength, splitPayload } from '../dump/payload-cutter.js';
import { batchesOf, type RecordSource } from '../dump/pump.js';
import type { DumpRecord, PayloadRecord, RunsRecord, Space } from '../dump/records.js';
import { DumpError, invariant } from '../errors.js';
import type { ColdHalf } from './cold-half.js';
import { SpaceMerger } from './merged-space.js';

/**
 * The records of the whole dump.
 * @throws {DumpError} MISSING_IMAGE, NOT_HALVES if the halves do not belong together
 */
export async function* mergedRecords(hot: RecordSource, cold: ColdHalf): AsyncGenerator<Iterable<DumpRecord>> {
  const merger = new Merger(cold);
  for await (const batch of batchesOf(hot)) yield merger.through(batch);
}

class Merger {
  private pageSize = 0;
  /** Spaces whose runs have not come yet, by index. */
  private readonly waiting = new Map<number, Space>();
  /** Original pagemaps whose spaces have not come. */
  private readonly unclaimed: Set<string>;
  private current: SpaceMerger | undefined;
  /** The records made of the last runs of the hot half. A number says how many bytes of their payload come there. */
  private plan: Iterator<DumpRecord | number> | undefined;
  /** Bytes of payload that come next. */
  private wantedBytes = 0;
  /** Checks the payload of the hot half, if it came with a checksum. */
  private readonly check = new PayloadCheck();
  private checks = false;

  constructor(private readonly cold: ColdHalf) {
    this.unclaimed = new Set(cold.originals);
  }

  *through(records: Iterable<DumpRecord>): Generator<DumpRecord> {
    for (const record of records) yield* this.take(record);
  }

  private *take(record: DumpRecord): Generator<DumpRecord> {
    switch (record.type) {
      case 'header': {
        const { payloadBytes: ofOneHalf, ...header } = record;
        this.pageSize = header.pageSize;
        yield header;
        break;
      }
      case 'file':
        this.plan = undefined;
        yield record;
        break;
      case 'space':
        this.claim(record.space);
        yield record;
        break;
      case 'runs':
        this.startRuns(record);
        yield* this.advance();
        break;
      case 'bytes':
      case 'extents':
        if (this.plan) yield* this.payload(record);
        else yield record;
        break;
      case 'check':
        if (!this.plan) yield record;
        else if (this.checks) this.check.end(record, this.current?.space.pagemap ?? '');
        break;
      case 'end':
        this.finish();
        yield record;
        break;
      default:
        yield record;
    }
  }

  private claim(space: Space): void {
    if (!this.unclaimed.delete(originalName(space.pagemap))) {
      throw new DumpError('MISSING_IMAGE', 'the cold half has no such pagemap', {
        file: originalName(space.pagemap),
      });
    }
    this.waiting.set(space.index, space);
  }

  private startRuns({ space, runs, checked }: RunsRecord): void {
    invariant(this.wantedBytes === 0, 'payload is complete before the next record');
    if (this.current?.space.index !== space.index) this.turnTo(space);
    this.plan = this.current?.merge(runs);
    this.checks = checked;
    this.check.start();
  }

  private turnTo(space: Space): void {
    this.current?.end();
    this.waiting.delete(space.index);
    this.current = new SpaceMerger(space, this.cold, this.pageSize);
  }

  /** The records before the next payload of the hot half. */
  private *advance(): Generator<DumpRecord> {
    while (this.wantedBytes === 0) {
      const { value, done } = this.plan?.next() ?? { done: true };
      if (done) return;
      if (typeof value === 'number') this.wantedBytes = value;
      else yield value;
    }
  }

  private *payload(record: PayloadRecord): Generator<DumpRecord> {
    if (this.checks && record.type === 'bytes') this.check.add(record.bytes);
    for (let rest: PayloadRecord | undefined = record; rest; ) {
      invariant(this.wantedBytes > 0, 'the hot half has the payload that its runs say');
      const [part, others]: [PayloadRecord, PayloadRecord | undefined] = splitPayload(rest, this.wantedBytes);
      yield part;
      this.wantedBytes -= payloadLength(part);
      yield* this.advance();
      rest = others;
    }
  }

  private finish(): void {
    this.current?.end();
    for (const space of this.waiting.values()) new SpaceMerger(space, this.cold, this.pageSize).end();
    const other = [...this.unclaimed].find((name) => !this.cold.isLeftover(name));
    if (other === undefined) return;
    throw new DumpError('NOT_HALVES', 'the hot half has no space of this pagemap', {
      file: other,
    });
  }
}
