/**
 * Writes down the pages that restored processes fault on, in their order, each once.
 *
 * A fault asks for one page. The background sweep asks for more, but for one where no more are left: a page that stands
 * alone, or the last of some that it goes through. So a page that lies behind what the sweep of that client had last, with
 * nothing behind it and nothing before it but what the sweep just had, is taken for the sweep's.
 */

import { checkApart } from '../io/apart.js';
import { AtomicFile } from '../io/atomic-file.js';
import { faultLine, faultListHead } from '../memory/fault-list.js';
import { COMMAND, type Message } from '../protocol/page-server.js';
import type { DumpMemory } from './memory.js';

export class Recorder {
  private readonly file: AtomicFile;
  private readonly recorded = new Set<string>();

  /** Throws {@link DumpError} OUTPUT_INSIDE_DUMP for a place in the dump. */
  constructor(
    path: string,
    private readonly memory: DumpMemory,
  ) {
    checkApart(path, memory.places);
    this.file = new AtomicFile(path);
    this.file.write(Buffer.from(faultListHead(memory.pageSize)));
  }

  /** Begins with a client; the function is told of each of its requests that was answered. */
  client(): (request: Message) => void {
    /** First page behind the last request of the sweep, of each process. */
    const swept = new Map<bigint, number>();
    return ({ command, pages, vaddr, dstId }) => {
      if (command !== COMMAND.GET) return;
      const pageNumber = Number(vaddr / BigInt(this.memory.pageSize));
      if (pages > 1 || this.isSweep(Number(dstId), pageNumber, swept.get(dstId) ?? 0)) {
        swept.set(dstId, pageNumber + pages);
        return;
      }
      const line = faultLine(dstId, vaddr);
      if (this.recorded.has(line)) return;
      this.recorded.add(line);
      this.file.write(Buffer.from(line));
    };
  }

  private isSweep(pid: number, pageNumber: number, swept: number): boolean {
    const isStored = (page: number) => this.memory.storedAt(pid, page, 1).length > 0;
    return pageNumber >= swept && !isStored(pageNumber + 1) && (pageNumber === swept || !isStored(pageNumber - 1));
  }

  commit(): void {
    this.file.commit();
  }

  discard(): void {
    this.file.discard();
  }
}
