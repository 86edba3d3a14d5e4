/** Where pages are between the dump and a task: what is copied once more in the cache costs less than a mapping of the file. */
import type { DaemonCalls } from '../io/linux.js';
import type { LocalSource } from './page-source.js';

export class PageBuffer {
  readonly bytes: Buffer;
  /** Of the first byte in this process. */
  readonly address: number;
  /** Its beginnings, by their pages: a new one for each read would keep the garbage collector busy. */
  private readonly starts: Buffer[] = [];

  constructor(
    private readonly calls: DaemonCalls,
    private readonly pageSize: number,
    readonly pages: number,
  ) {
    this.bytes = Buffer.allocUnsafeSlow(pages * pageSize);
    this.address = calls.addressOf(this.bytes);
  }

  /**
   * Reads pages of the dump, which are ready.
   * @throws {DumpError} if they cannot be read, or have changed
   */
  fill(source: LocalSource, pid: number, page: number, pages: number): void {
    const bytes = pages * this.pageSize;
    const position = source.positionOf?.(pid, page, pages) ?? -1;
    if (position >= 0 && this.calls.readAt(source.fd as number, this.address, bytes, position) === bytes) return;
    // It says what is wrong.
    source.read(pid, page, this.start(pages));
  }

  private start(pages: number): Buffer {
    let start = this.starts[pages];
    if (!start) {
      start = this.bytes.subarray(0, pages * this.pageSize);
      this.starts[pages] = start;
    }
    return start;
  }
}
