/** What the flags of pagemap entries say of where their pages are. */
import { PE_LAZY, PE_PARENT, PE_PRESENT, type RunBatch } from '../memory/runs.js';
import type { Findings } from './findings.js';

/** What was noted of one pagemap. */
export interface FlagNotes {
  /** First entry whose pages are in the parent dump. */
  firstParentEntry: number | undefined;
  /** Pages that are neither here nor in a parent, but are to be fetched. */
  lazyPages: number;
}

/**
 * Notes what the flags of a batch say.
 * @param first index of its first entry
 * @param file the pagemap, as findings name it
 */
export function noteFlags(notes: FlagNotes, runs: RunBatch, first: number, findings: Findings, file: string): void {
  for (let i = 0; i < runs.bits.length; i++) {
    const state = (runs.bits[i] as number) & (PE_PARENT | PE_LAZY | PE_PRESENT);
    if (state & PE_PARENT) notes.firstParentEntry ??= first + i;
    else if (state === PE_LAZY) notes.lazyPages += runs.pages[i] as number;
    else if (state === 0) {
      const message = 'expected the flag PARENT, LAZY or PRESENT, found none';
      findings.add({ code: 'MALFORMED', severity: 'error', file, entry: first + i, message });
    }
  }
}

/** Pages that are not here, in all pagemaps. */
export class LazyPages {
  private pages = 0;
  private pagemaps = 0;
  private first = '';

  add(pagemap: string, { lazyPages }: FlagNotes): void {
    if (lazyPages === 0) return;
    if (this.pagemaps++ === 0) this.first = pagemap;
    this.pages += lazyPages;
  }

  /** Tells of them, once for the dump. */
  tell(findings: Findings): void {
    if (this.pages === 0) return;
    const places = this.pagemaps === 1 ? '' : `, of ${this.pagemaps} pagemaps,`;
    const message = `${this.pages} pages${places} are not in this dump: it can only be restored lazily, by criu restore --lazy-pages with the full dump or a page server behind it`;
    findings.add({ code: 'LAZY_ONLY', severity: 'warning', file: this.first, message });
  }
}
