/**
 * Adds the pagemaps of a dump to it once more, as files at its end, which the stages behind leave as they are. They are made of
 * the runs as these come, and held until then: in memory, and past the budget in a spill file.
 */
import { Spool, type SpoolBudget } from '../archive/spool.js';
import type { RecordSink } from '../pump.js';
import type { DumpRecord, RunsRecord, Space } from '../records.js';
import { originalName } from '../stages/cold.js';
import { PagemapWriter } from './pagemap-writer.js';

/** A pagemap in the spool, behind those before it. */
interface Original {
  space: Space;
  bytes: number;
}

export class OriginalsSink implements RecordSink {
  private pageSize = 0;
  /** One for all: a block of memory for each space of a thousand would be too much. */
  private readonly spool: Spool;
  private readonly originals: Original[] = [];
  /** Spaces whose runs have not come yet. */
  private readonly waiting = new Map<number, Space>();
  private current: { index: number; entries: PagemapWriter } | undefined;

  /** @param sink gets rebuilt records, and the pagemaps as files in front of the end */
  constructor(
    private readonly sink: RecordSink,
    budget: SpoolBudget,
  ) {
    this.spool = new Spool(budget);
  }

  async write(record: DumpRecord): Promise<void> {
    if (record.type === 'header') ({ pageSize: this.pageSize } = record);
    else if (record.type === 'space') this.waiting.set(record.space.index, record.space);
    else if (record.type === 'runs') this.add(record);
    else if (record.type === 'end') await this.putAll();
    await this.sink.write(record);
  }

  async finish(): Promise<void> {
    await this.sink.finish();
  }

  async discard(): Promise<void> {
    this.spool.close();
    await this.sink.discard();
  }

  private add({ space, runs }: RunsRecord): void {
    if (this.current?.index !== space.index) this.start(space);
    this.current?.entries.add(runs);
  }

  /** Begins with a pagemap, behind the one before, which is complete. */
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

  private async putAll(): Promise<void> {
    for (const space of this.waiting.values()) this.start(space);
    this.current?.entries.end();
    for (const { space, bytes } of this.originals) {
      const name = originalName(space.pagemap);
      await this.sink.write({
        type: 'file',
        kind: 'regular',
        name,
        mode: space.pagemapMode,
        size: bytes,
        checked: false,
      });
      for (const payload of this.spool.take(bytes)) await this.sink.write(payload);
    }
    this.spool.close();
  }
}
