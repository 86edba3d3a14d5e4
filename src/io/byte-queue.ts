/**
 * Bytes that came too early, first in, first out: in memory up to a budget that all queues share, beyond that in an unnamed
 * file. A queue that has begun to use the file continues there until it is empty.
 */
import { type PayloadFile, scratch, type WaitingBytes } from '../bytes.js';
import { TempFile } from './temp-file.js';

/** Memory is used in blocks of this size. */
export const BLOCK_BYTES = 256 * 1024;

/** What need not be read goes into the file from here on: memory would have to be filled with it. */
const FILE_AFTER_BYTES = 4 * 1024 * 1024;

/** Bytes of a queue, or a reference to them. */
type Queued = { type: 'bytes'; bytes: Uint8Array } | { type: 'extents'; file: PayloadFile; extents: Float64Array };

/** Shared by all queues and stores of a run. */
export interface MemoryBudget {
  /** Memory that is still free. */
  bytes: number;
  /** Folder of the unnamed files. */
  directory: string;
  /** Blocks to reuse: new ones would pile up until the garbage collector runs. */
  spare?: Uint8Array[];
}

/** A block with any content; undefined if no memory is free. */
export function takeBlock(budget: MemoryBudget): Uint8Array | undefined {
  if (budget.bytes < BLOCK_BYTES) return undefined;
  budget.bytes -= BLOCK_BYTES;
  return budget.spare?.pop() ?? scratch(BLOCK_BYTES);
}

/** Gives back a block of {@link takeBlock}. */
export function giveBack(block: Uint8Array, budget: MemoryBudget): void {
  budget.bytes += BLOCK_BYTES;
  budget.spare ??= [];
  budget.spare.push(block);
}

export class ByteQueue {
  private readonly blocks: Uint8Array[] = [];
  /** Bytes written to the last block, and read from the first. */
  private lastBytes = 0;
  private firstRead = 0;
  private memoryBytes = 0;
  private file: FileQueue | undefined;
  constructor(private readonly budget: MemoryBudget) {}

  /** Bytes held. */
  get size(): number {
    return this.memoryBytes + (this.file?.size ?? 0);
  }

  /** Copies bytes. Throws {@link DumpError} SYSTEM if the disk is full. */
  push(bytes: Uint8Array): void {
    let at = 0;
    while (at < bytes.length && !this.file) {
      const block = this.room();
      if (!block) break;
      const count = Math.min(BLOCK_BYTES - this.lastBytes, bytes.length - at);
      block.set(bytes.subarray(at, at + count), this.lastBytes);
      this.lastBytes += count;
      this.memoryBytes += count;
      at += count;
    }
    if (at === bytes.length) return;
    this.file ??= new FileQueue(this.budget.directory);
    this.file.append(bytes.subarray(at));
  }

  /** Takes what waits into the file, if there is one or enough to begin it; returns how many bytes that was. */
  pushWaiting(waiting: WaitingBytes): number {
    if (this.memoryBytes >= FILE_AFTER_BYTES) this.file ??= new FileQueue(this.budget.directory);
    return this.file?.appendWaiting(waiting) ?? 0;
  }

  /** The block to write to, if memory is free. */
  private room(): Uint8Array | undefined {
    if (this.blocks.length > 0 && this.lastBytes < BLOCK_BYTES) return this.blocks.at(-1);
    const block = takeBlock(this.budget);
    if (!block) return undefined;
    this.blocks.push(block);
    this.lastBytes = 0;
    return block;
  }

  /** Takes out at most `most` bytes, valid until the next call of any method. */
  *take(most: number): Generator<Queued> {
    let left = Math.min(most, this.size);
    while (left > 0 && this.memoryBytes > 0) {
      const block = this.blocks[0] as Uint8Array;
      const end = this.blocks.length === 1 ? this.lastBytes : BLOCK_BYTES;
      const count = Math.min(left, end - this.firstRead);
      const bytes = block.subarray(this.firstRead, this.firstRead + count);
      this.firstRead += count;
      this.memoryBytes -= count;
      left -= count;
      yield { type: 'bytes', bytes };
      if (this.firstRead === end) this.dropBlock();
    }
    if (left > 0 && this.file) yield this.file.take(left);
    if (this.file?.size === 0) this.file = this.file.close();
  }

  private dropBlock(): void {
    const block = this.blocks.shift();
    if (block) giveBack(block, this.budget);
    this.firstRead = 0;
  }

  close(): void {
    for (const block of this.blocks) giveBack(block, this.budget);
    this.blocks.length = 0;
    this.memoryBytes = 0;
    this.file = this.file?.close();
  }
}

/** The part of a queue that is in a file. */
class FileQueue {
  readonly payload: PayloadFile;
  /** Position of the next read, in bytes. */
  position = 0;
  private end = 0;
  private readonly file: TempFile;
  /** Who still reads what was taken out, and the queue itself. */
  private users = 1;

  constructor(directory: string) {
    const file = new TempFile(directory);
    this.file = file;
    this.payload = {
      name: 'temporary file',
      size: Number.MAX_SAFE_INTEGER,
      place: () => ({ fd: file.fd, offset: 0 }),
      read: (buffer, position) => file.read(buffer, position),
      keep: () => {
        this.users++;
        return () => this.leave();
      },
    };
  }

  get size(): number {
    return this.end - this.position;
  }

  append(bytes: Uint8Array): void {
    this.file.write(bytes, this.end);
    this.end += bytes.length;
  }

  appendWaiting(waiting: WaitingBytes): number {
    const count = this.file.take(waiting, this.end);
    this.end += count;
    return count;
  }

  take(count: number): Queued {
    const extents = Float64Array.of(this.position, count);
    this.position += count;
    return { type: 'extents', file: this.payload, extents };
  }

  close(): undefined {
    this.leave();
    return undefined;
  }

  private leave(): void {
    this.users--;
    if (this.users === 0) this.file.close();
  }
}
