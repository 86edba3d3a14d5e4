/** Counts the pages whose bytes pass by. Changes nothing. */
import type { DumpRecord } from '../dump/records.js';
import { hasPayload } from '../memory/runs.js';

export class PageCounter {
  pages = 0;

  readonly stage = (record: DumpRecord): DumpRecord => {
    if (record.type === 'runs') {
      const { bits, pages } = record.runs;
      for (let i = 0; i < bits.length; i++) if (hasPayload(bits[i] as number)) this.pages += pages[i] as number;
    }
    return record;
  };
}
