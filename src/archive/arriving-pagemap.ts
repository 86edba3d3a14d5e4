/** A pagemap that arrives in pieces: what it says of its space and of its pages file. */
import { PagemapDecoder } from '../image/pagemap.js';
import { PE_PARENT, type RunBatch } from '../memory/runs.js';
import { pagesName, type Space, spaceIdentity } from '../records.js';

export class ArrivingPagemap {
  /** Bytes that its pages file has, by the runs so far. */
  payloadBytes = 0;
  /** Whether it has pages that are in a parent dump. */
  hasParentPages = false;
  /** Whether all of it has come. */
  ended = false;
  private readonly decoder: PagemapDecoder;

  /** @param pageSize bytes */
  constructor(
    readonly name: string,
    pageSize: number,
  ) {
    this.decoder = new PagemapDecoder(pageSize, name);
  }

  /** What is known of its space, once the head has come. */
  get space(): Pick<Space, 'kind' | 'pid' | 'pagemap' | 'pagesId' | 'head'> | undefined {
    const { head, pagesId } = this.decoder;
    return head && { ...spaceIdentity(this.name), pagemap: this.name, pagesId, head };
  }

  /** Name of its pages file, once the head has come. */
  get pages(): string | undefined {
    return this.decoder.head && pagesName(this.decoder);
  }

  /** Takes the next bytes; gives the runs that they complete. Throws {@link DumpError}. */
  push(bytes: Uint8Array): RunBatch | undefined {
    const runs = this.decoder.push(bytes);
    if (runs) {
      this.payloadBytes += runs.payloadBytes;
      this.hasParentPages ||= runs.bits.some((bits) => (bits & PE_PARENT) !== 0);
    }
    return runs;
  }

  /** All bytes have come. Throws {@link DumpError} if they are no whole pagemap. */
  end(): void {
    this.decoder.end();
    this.ended = true;
  }
}
