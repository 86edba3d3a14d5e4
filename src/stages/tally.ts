/** Counts pages and bytes kept and taken out, by space and kind. Changes nothing. */

import type { DumpRecord, RunsRecord, Space } from '../dump/records.js';
import { detailOf, KIND_MASK, KIND_SHIFT, PE_LAZY, PE_PARENT, PE_PRESENT, storedBytes, TAKEN } from '../memory/runs.js';
import { KINDS, type Kind } from '../memory/vma.js';

/** Pages, and bytes of the pages file. */
export interface Amount {
  pages: number;
  bytes: number;
}

export interface KindTally {
  kept: Amount;
  taken: Amount;
}

export interface SpaceTally {
  space: Space;
  kept: Amount;
  taken: Amount;
  /** Pages that were not in the dump: in its parent, or fetched lazily already. */
  parentPages: number;
  holePages: number;
  kinds: Partial<Record<Kind, KindTally>>;
}

export const newKindTally = (): KindTally => ({
  kept: { pages: 0, bytes: 0 },
  taken: { pages: 0, bytes: 0 },
});

/** A tally stage and what it has counted; it belongs between filter and rebuild. */
export function tally(): { stage: (record: DumpRecord) => DumpRecord; spaces: SpaceTally[] } {
  const spaces: SpaceTally[] = [];
  let pageSize = 0;

  function count({ space, runs }: RunsRecord): void {
    const total = spaces[space.index] as SpaceTally;
    for (let i = 0; i < runs.bits.length; i++) {
      const bits = runs.bits[i] as number;
      const pages = runs.pages[i] as number;
      if (bits & PE_PARENT) {
        total.parentPages += pages;
        continue;
      }
      if (!(bits & PE_PRESENT)) {
        if (bits & PE_LAZY) total.holePages += pages;
        continue;
      }
      const bytes = storedBytes(detailOf(runs, i), pages, pageSize);
      const kind = KINDS[(bits & KIND_MASK) >>> KIND_SHIFT] ?? 'unknown';
      const of = bits & TAKEN ? 'taken' : 'kept';
      total.kinds[kind] ??= newKindTally();
      for (const amount of [total[of], total.kinds[kind][of]]) {
        amount.pages += pages;
        amount.bytes += bytes;
      }
    }
  }

  const stage = (record: DumpRecord): DumpRecord => {
    if (record.type === 'header') ({ pageSize } = record);
    if (record.type === 'space') {
      spaces[record.space.index] = {
        space: record.space,
        ...newKindTally(),
        parentPages: 0,
        holePages: 0,
        kinds: {},
      };
    }
    if (record.type === 'runs') count(record);
    return record;
  };
  return { stage, spaces };
}
