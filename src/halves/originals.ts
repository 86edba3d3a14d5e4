/**
 * A stage that adds the original pagemaps of a dump as files at its end. Later stages do not change them. They are made from the
 * runs, and held until the end: in memory up to the budget, beyond that in an unnamed file.
 *
 * Its payload is overwritten when the next record is asked for, so it is for `pump` and not for `chain()`.
 */
import { flushable, none } from 'stream-chain/defs.js';
import { originalName } from '../dump/names.js';
import { PagemapWriter } from '../dump/pagemap-writer.js';
import type { DumpRecord, RunsRecord, Space } from '../dump/records.js';
import { ByteQueue, type MemoryBudget } from '../io/byte-queue.js';

/** A pagemap in the queue, in order. */
interface Original {
  space: Space;
  bytes: number;
}

/** Makes the stage, for rebuilt records. */
export function addOriginals(budget: MemoryBudget) {
  const originals = new Originals(budget);
  const close = (): typeof none | Generator<DumpRecord> => {
    originals.close();
    return none;
  };
  return flushable((record: DumpRecord) => originals.take(record), close, close);
}

class Originals {
  private pageSize = 0;
  /** One queue for all: one block of memory for each of a thousand spaces would be too much. */
  private readonly queue: ByteQueue;
  private readonly originals: Original[] = [];
  /** Spaces whose runs have not come yet. */
  private readonly waiting = new Map<number, Space>();
  private current: { index: number; entries: PagemapWriter } | undefined;

  constructor(budget: MemoryBudget) {
    this.queue = new ByteQueue(budget);
  }

  *take(record: DumpRecord): Generator<DumpRecord> {
    if (record.type === 'header') ({ pageSize: this.pageSize } = record);
    else if (record.type === 'space') this.waiting.set(record.space.index, record.space);
    else if (record.type === 'runs') this.add(record);
    else if (record.type === 'end') yield* this.files();
    yield record;
  }

  close(): void {
    this.queue.close();
  }

  private add({ space, runs }: RunsRecord): void {
    if (this.current?.index !== space.index) this.start(space);
    this.current?.entries.add(runs);
  }

  /** Begins a pagemap; the one before is complete. */
  private start(space: Space): void {
    this.current?.entries.end();
    this.waiting.delete(space.index);
    const original = { space, bytes: 0 };
    this.originals.push(original);
    const entries = new PagemapWriter(space, this.pageSize, (bytes) => {
      this.queue.push(bytes);
      original.bytes += bytes.length;
    });
    this.current = { index: space.index, entries };
  }

  private *files(): Generator<DumpRecord> {
    for (const space of this.waiting.values()) this.start(space);
    this.current?.entries.end();
    for (const { space, bytes } of this.originals) {
      const name = originalName(space.pagemap);
      yield { type: 'file', kind: 'regular', name, mode: space.pagemapMode, size: bytes, checked: false };
      yield* this.queue.take(bytes);
    }
  }
}
