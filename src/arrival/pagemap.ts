/** A pagemap of an incoming dump, read as its bytes come. */
import { pagesName, spaceIdentity } from '../dump/names.js';
import type { Space } from '../dump/records.js';
import { PagemapDecoder } from '../image/pagemap.js';
import { PagesLayout } from '../memory/pages-layout.js';
import { PE_PARENT, type RunBatch } from '../memory/runs.js';

/** The part of a space that its pagemap gives. */
type KnownSpace = Pick<Space, 'kind' | 'pid' | 'pagemap' | 'pagesId' | 'head' | 'oneMagic'>;

/** A pagemap that arrives in pieces: its space, and the size of its pages file. */
export class ArrivingPagemap {
  /** Whether it has pages that are in a parent dump. */
  hasParentPages = false;
  /** Whether all of it has come. */
  ended = false;
  private readonly decoder: PagemapDecoder;
  private readonly layout: PagesLayout;

  /** @param pageSize bytes */
  constructor(
    readonly name: string,
    pageSize: number,
  ) {
    this.decoder = new PagemapDecoder(pageSize, name);
    this.layout = new PagesLayout(pageSize);
  }

  /** Bytes of its pages file, according to the runs so far. */
  get pagesBytes(): number {
    return this.layout.end;
  }

  /** Known once the head has come. */
  get space(): KnownSpace | undefined {
    const { head, pagesId, oneMagic } = this.decoder;
    const known = { ...spaceIdentity(this.name), pagemap: this.name, pagesId };
    return head && { ...known, head, ...(oneMagic ? { oneMagic } : {}) };
  }

  /** Name of its pages file, once the head has come. */
  get pages(): string | undefined {
    return this.decoder.head && pagesName(this.decoder);
  }

  /** Takes the next bytes; returns the runs that they complete. Throws {@link DumpError}. */
  push(bytes: Uint8Array): RunBatch | undefined {
    const runs = this.decoder.push(bytes);
    if (runs) {
      this.layout.place(runs);
      this.hasParentPages ||= runs.bits.some((bits) => (bits & PE_PARENT) !== 0);
    }
    return runs;
  }

  /** Called after the last bytes. Throws {@link DumpError} if the pagemap is incomplete. */
  end(): void {
    this.decoder.end();
    this.ended = true;
  }
}
