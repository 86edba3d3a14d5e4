/**
 * Writes down the pages that restored processes fault on, in their order, each once.
 *
 * A fault asks for one page. The background sweep asks for more, but for a page that stands alone it also asks for one:
 * such a request is taken for the sweep's if no neighbor of the page is stored and it lies behind what the sweep had last.
 */
import { COMMAND, type Message } from '../protocol/page-server.js';
import { AtomicFile } from '../sink/atomic-file.js';
import type { DumpMemory } from './memory.js';

export class Recorder {
  private readonly file: AtomicFile;
  private readonly recorded = new Set<string>();
  /** First page behind the last request of the sweep, of each process. */
  private readonly swept = new Map<bigint, number>();

  constructor(
    path: string,
    private readonly memory: DumpMemory,
  ) {
    this.file = new AtomicFile(path);
    this.file.write(Buffer.from(`# pagepipe fault list 1, page size ${memory.pageSize}\n`));
  }

  /** A request that was answered. */
  add({ command, pages, vaddr, dstId }: Message): void {
    if (command !== COMMAND.GET) return;
    const pageNumber = Number(vaddr / BigInt(this.memory.pageSize));
    if (pages > 1 || this.isSweep(Number(dstId), pageNumber, this.swept.get(dstId) ?? 0)) {
      this.swept.set(dstId, pageNumber + pages);
      return;
    }
    const line = `${dstId} 0x${vaddr.toString(16)}\n`;
    if (this.recorded.has(line)) return;
    this.recorded.add(line);
    this.file.write(Buffer.from(line));
  }

  private isSweep(pid: number, pageNumber: number, swept: number): boolean {
    if (pageNumber < swept) return false;
    const isStored = (page: number) => this.memory.storedAt(pid, page, 1).length > 0;
    return !isStored(pageNumber - 1) && !isStored(pageNumber + 1);
  }

  commit(): void {
    this.file.commit();
  }

  discard(): void {
    this.file.discard();
  }
}
