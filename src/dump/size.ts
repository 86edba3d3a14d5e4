/** A sink that writes nothing and says how large the directory would be. */

import { PagesLayout } from '../memory/pages-layout.js';
import { countHolePages } from '../memory/runs.js';
import { PARTIAL } from './names.js';
import { PagemapWriter } from './pagemap-writer.js';
import type { RecordSink } from './pump.js';
import type { DumpRecord } from './records.js';

export class SizeSink implements RecordSink {
  /** Bytes of all regular files. */
  bytes = 0;
  /** Pages that are flagged as lazy and are in no pages file. */
  holePages = 0;
  isPartial = false;
  private pageSize = 0;
  private readonly pagemaps: PagemapWriter[] = [];
  private readonly pages: PagesLayout[] = [];

  write(record: DumpRecord): void {
    switch (record.type) {
      case 'header':
        ({ pageSize: this.pageSize } = record);
        break;
      case 'space':
        this.pagemaps[record.space.index] = new PagemapWriter(record.space, this.pageSize, (bytes) => {
          this.bytes += bytes.length;
        });
        this.pages[record.space.index] = new PagesLayout(this.pageSize);
        break;
      case 'file':
        if (!record.outside) this.bytes += record.size;
        this.isPartial ||= record.name === PARTIAL;
        break;
      case 'runs':
        this.pages[record.space.index]?.place(record.runs);
        this.holePages += countHolePages(record.runs);
        this.pagemaps[record.space.index]?.add(record.runs);
        break;
      default:
    }
  }

  finish(): void {
    for (const pagemap of this.pagemaps) pagemap.end();
    for (const { end } of this.pages) this.bytes += end;
  }

  discard(): void {}
}
