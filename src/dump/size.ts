/** A sink that writes nothing and says how large the directory would be. */

import { PagemapWriter } from './pagemap-writer.js';
import type { RecordSink } from './pump.js';
import type { DumpRecord } from './records.js';

export class SizeSink implements RecordSink {
  /** Bytes of all regular files. */
  bytes = 0;
  private pageSize = 0;
  private readonly pagemaps: PagemapWriter[] = [];

  write(record: DumpRecord): void {
    switch (record.type) {
      case 'header':
        ({ pageSize: this.pageSize } = record);
        break;
      case 'space':
        this.pagemaps[record.space.index] = new PagemapWriter(record.space, this.pageSize, (bytes) => {
          this.bytes += bytes.length;
        });
        break;
      case 'file':
        if (!record.outside) this.bytes += record.size;
        break;
      case 'runs':
        this.bytes += record.runs.payloadBytes;
        this.pagemaps[record.space.index]?.add(record.runs);
        break;
      default:
    }
  }

  finish(): void {
    for (const pagemap of this.pagemaps) pagemap.end();
  }

  discard(): void {}
}
