/**
 * The memory of frozen processes whose dump has been made without its lazy pages: these are still in the processes, and are read
 * there. What criu calls lazy is private anonymous memory, which nobody else changes.
 */
import { closeSync, openSync, readFileSync, readSync } from 'node:fs';
import { readFully } from '../bytes.js';
import type { DumpFiles } from '../dump/files.js';
import { DumpError, onFile } from '../errors.js';
import type { PageSpan } from '../memory/space.js';
import { DumpMemory } from '../serve/memory.js';

/** Areas without permission to read, of /proc/PID/maps. */
const UNREADABLE = /^([0-9a-f]+)-([0-9a-f]+) -/gm;

export class FrozenMemory extends DumpMemory {
  /** Descriptors of /proc/PID/mem, by the pid in the dump. They need no permission any more. */
  private readonly descriptors = new Map<number, number>();

  /**
   * @param files of the dump
   * @param processes their pids here, by those in the dump
   * @throws {DumpError} SYSTEM if the memory cannot be read
   */
  constructor(files: DumpFiles, processes: ReadonlyMap<number, number>) {
    super(files);
    try {
      for (const pid of this.pids) this.open(pid, processes.get(pid));
    } catch (error) {
      this.close();
      throw error;
    }
  }

  override storedAt(pid: number, pageNumber: number, most: number): PageSpan[] {
    const stored: PageSpan[] = [];
    for (const segment of this.space(pid)?.locate(pageNumber, most) ?? []) {
      if (segment.state === 'absent') break;
      stored.push(segment.state === 'lazy' ? this.inProcess(pid, segment) : segment);
    }
    return stored;
  }

  override close(): void {
    for (const fd of this.descriptors.values()) closeSync(fd);
    this.descriptors.clear();
    super.close();
  }

  private open(pid: number, process: number | undefined): void {
    if (process === undefined) {
      throw new DumpError('PROTOCOL', 'the dump has a process that is not there', { file: String(pid) });
    }
    const path = `/proc/${process}/mem`;
    this.descriptors.set(
      pid,
      onFile(path, () => openSync(path, 'r')),
    );
    this.checkUnreadable(pid, process);
  }

  /** Root may read memory that the process itself must not read, but not with every kernel. */
  private checkUnreadable(pid: number, process: number): void {
    const maps = onFile(`/proc/${process}/maps`, () => readFileSync(`/proc/${process}/maps`, 'latin1'));
    const page = new Uint8Array(this.pageSize);
    for (const [, from, to] of maps.matchAll(UNREADABLE)) {
      const [start, end] = [from, to].map((text) => Math.floor(Number.parseInt(text as string, 16) / this.pageSize));
      for (const segment of this.space(pid)?.locate(start as number, (end as number) - (start as number)) ?? []) {
        if (segment.state !== 'lazy') continue;
        this.inProcess(pid, segment).at?.file.read(page, segment.pageNumber * this.pageSize);
        break;
      }
    }
  }

  private inProcess(pid: number, { pageNumber, pages }: PageSpan): PageSpan {
    const fd = this.descriptors.get(pid) as number;
    const name = `memory of process ${pid}`;
    const read = (bytes: Uint8Array, position: number): void => {
      const some = (piece: Uint8Array, at: number) => onFile(name, () => readSync(fd, piece, 0, piece.length, at), at);
      if (readFully(some, bytes, position) === bytes.length) return;
      throw new DumpError('SYSTEM', 'the process has ended', { file: name, offset: position });
    };
    const position = pageNumber * this.pageSize;
    const file = { name, size: Number.MAX_SAFE_INTEGER, read };
    return { pageNumber, pages, state: 'stored', at: { file, position, firstPage: pageNumber, runPages: pages } };
  }
}
