/**
 * A stage that adds the pagemaps of a dump as files at its end; later stages leave these as they are. They are made
 * of the runs as these come, and held until then: in memory, and past the budget in a spill file.
 *
 * Its payload is overwritten when the next record is asked for, so it belongs into `pump`, not into `chain()`.
 */
import { flushable, none } from 'stream-chain/defs.js';
import { originalName } from '../dump/names.js';
import { PagemapWriter } from '../dump/pagemap-writer.js';
import type { DumpRecord, RunsRecord, Space } from '../dump/records.js';
import { ByteQueue, type MemoryBudget } from '../io/byte-queue.js';

/** A pagemap in the spool, after those before it. */
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
  /** One for all: a block of memory for each space of a thousand would be too much. */
  private readonly spool: ByteQueue;
  private readonly originals: Original[] = [];
  /** Spaces whose runs have not come yet. */
  private readonly waiting = new Map<number, Space>();
  private current: { index: number; entries: PagemapWriter } | undefined;

  constructor(budget: MemoryBudget) {
    this.spool = new ByteQueue(budget);
  }

  *take(record: DumpRecord): Generator<DumpRecord> {
    if (record.type === 'header') ({ pageSize: this.pageSize } = record);
    else if (record.type === 'space') this.waiting.set(record.space.index, record.space);
    else if (record.type === 'runs') this.add(record);
    else if (record.type === 'end') yield* this.files();
    yield record;
  }

  close(): void {
    this.spool.close();
  }

  private add({ space, runs }: RunsRecord): void {
    if (this.current?.index !== space.index) this.start(space);
    this.current?.entries.add(runs);
  }

  /** Begins with a pagemap; the one before is complete. */
  private start(space: Space): void {
    this.current?.entries.end();
    this.waiting.delete(space.index);
    const original = { space, bytes: 0 };
    this.originals.push(original);
    const entries = new PagemapWriter(space, this.pageSize, (bytes) => {
      this.spool.push(bytes);
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
      yield* this.spool.take(bytes);
    }
  }
}
