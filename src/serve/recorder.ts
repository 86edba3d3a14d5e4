/**
 * Records the pages that restored processes fault on, in order, each once.
 *
 * A fault asks for one page. The background sweep asks for several, but also for a single page when no more is left: an
 * isolated page, or the last one of a range. So a request for one page counts as the sweep's if the page is after the last
 * one that the sweep of this client had, no page follows it, and the page before it is either missing or was the sweep's.
 */

import { checkApart } from '../io/apart.js';
import { AtomicFile } from '../io/atomic-file.js';
import { faultLine, faultListHead } from '../memory/fault-list.js';
import { COMMAND, type Message } from '../protocol/page-server.js';
import type { DumpMemory } from './memory.js';

/** A fault list that is being written: it appears complete or not at all. */
export class FaultRecord {
  private readonly file: AtomicFile;
  private readonly recorded = new Set<string>();

  /** Throws {@link DumpError} OUTPUT_INSIDE_DUMP for a place in one of the dumps. */
  constructor(
    path: string,
    places: readonly string[],
    private readonly pageSize: number,
  ) {
    checkApart(path, places);
    this.file = new AtomicFile(path);
    this.file.write(Buffer.from(faultListHead(pageSize)));
  }

  /** @param page page number in the dump */
  add(pid: number, page: number): void {
    const line = faultLine(pid, BigInt(page) * BigInt(this.pageSize));
    if (this.recorded.has(line)) return;
    this.recorded.add(line);
    this.file.write(Buffer.from(line));
  }

  commit(): void {
    this.file.commit();
  }

  discard(): void {
    this.file.discard();
  }
}

/** Finds the faults among the requests to a page server. */
export class Recorder {
  private readonly record: FaultRecord;

  /** Throws {@link DumpError} OUTPUT_INSIDE_DUMP for a place in the dump. */
  constructor(
    path: string,
    private readonly memory: DumpMemory,
  ) {
    this.record = new FaultRecord(path, memory.places, memory.pageSize);
  }

  /** Begins with a client. Call the returned function after each answered request. */
  client(): (request: Message) => void {
    /** For each process, the first page after the last request of the sweep. */
    const swept = new Map<bigint, number>();
    return ({ command, pages, vaddr, dstId }) => {
      if (command !== COMMAND.GET) return;
      const pageNumber = Number(vaddr / BigInt(this.memory.pageSize));
      if (pages > 1 || this.isSweep(Number(dstId), pageNumber, swept.get(dstId) ?? 0)) {
        swept.set(dstId, pageNumber + pages);
        return;
      }
      this.record.add(Number(dstId), pageNumber);
    };
  }

  private isSweep(pid: number, pageNumber: number, swept: number): boolean {
    const isStored = (page: number) => this.memory.storedAt(pid, page, 1).length > 0;
    return pageNumber >= swept && !isStored(pageNumber + 1) && (pageNumber === swept || !isStored(pageNumber - 1));
  }

  commit(): void {
    this.record.commit();
  }

  discard(): void {
    this.record.discard();
  }
}
