/**
 * Passes the same records to two sinks. Bytes and references of a record stay valid until both are done with it. The second
 * sink gets the end when the first is complete, so it is never complete without the first.
 */
import type { RecordSink } from './pump.js';
import type { DumpRecord, EndRecord } from './records.js';

export class TeeSink implements RecordSink {
  private end: EndRecord | undefined;

  constructor(
    private readonly first: RecordSink,
    private readonly second: RecordSink,
  ) {}

  async write(record: DumpRecord): Promise<void> {
    await this.first.write(record);
    if (record.type === 'end') this.end = record;
    else await this.second.write(record);
  }

  async finish(): Promise<void> {
    await this.first.finish();
    if (this.end) await this.second.write(this.end);
    await this.second.finish();
  }

  async discard(): Promise<void> {
    try {
      await this.first.discard();
    } finally {
      await this.second.discard();
    }
  }
}
