/**
 * Files that arrive one after another, and are then read at random: in memory up to a budget, beyond that in an unnamed file.
 *
 * All files share one address range. Its first blocks are in memory, the rest is in the unnamed file at the same position. A
 * file consists of extents of the range. A new extent is as large as the file is already. So a file of any size has few
 * extents, whatever the size of its pieces, and many small files share a block.
 */

import { BLOCK_BYTES, giveBack, type MemoryBudget, takeBlock } from './byte-queue.js';
import { TempFile } from './temp-file.js';

/** Size of the first and of the largest extents. Reserved bytes that are never used are wasted. */
const MIN_EXTENT_BYTES = 1024;
const MAX_EXTENT_BYTES = 1024 * 1024;

export class HoldStore {
  /** The blocks in memory. Once there is no room for another one, all further blocks are in the file. */
  private readonly blocks: Uint8Array[] = [];
  private isFull = false;
  private temporary: TempFile | undefined;
  /** Bytes of the range. */
  private end = 0;

  constructor(private readonly budget: MemoryBudget) {}

  /** A new, empty file. */
  file(): StoredFile {
    return new StoredFile(this);
  }

  /** Reserves bytes of the range; returns their place. */
  reserve(bytes: number): number {
    const place = this.end;
    this.end += bytes;
    while (!this.isFull && this.blocks.length * BLOCK_BYTES < this.end) {
      const block = takeBlock(this.budget);
      if (block) this.blocks.push(block);
      else this.isFull = true;
    }
    return place;
  }

  /** Throws {@link DumpError} SYSTEM if the disk is full. */
  write(bytes: Uint8Array, place: number): void {
    for (let done = 0; done < bytes.length; ) {
      const room = this.inMemory(place + done, bytes.length - done);
      if (!room) {
        this.temporary ??= new TempFile(this.budget.directory);
        this.temporary.write(bytes.subarray(done), place + done);
        return;
      }
      room.set(bytes.subarray(done, done + room.length));
      done += room.length;
    }
  }

  /** Fills `buffer` from a place of the range. */
  read(buffer: Uint8Array, place: number): void {
    for (let done = 0; done < buffer.length; ) {
      const held = this.inMemory(place + done, buffer.length - done);
      if (!held) {
        this.temporary?.read(buffer.subarray(done), place + done);
        return;
      }
      buffer.set(held, done);
      done += held.length;
    }
  }

  /** Drops all files. */
  close(): void {
    for (const block of this.blocks) giveBack(block, this.budget);
    this.blocks.length = 0;
    this.temporary?.close();
    this.temporary = undefined;
  }

  /** The beginning of a part of the range, up to the end of its block; undefined if that is not in memory. */
  private inMemory(place: number, bytes: number): Uint8Array | undefined {
    const at = place % BLOCK_BYTES;
    return this.blocks[Math.floor(place / BLOCK_BYTES)]?.subarray(at, at + bytes);
  }
}

/** One file in {@link HoldStore}. */
export class StoredFile {
  /** Bytes. */
  size = 0;
  /** Where each extent begins in the file, and in the range. */
  private readonly starts: number[] = [];
  private readonly places: number[] = [];
  /** Bytes of all extents. */
  private room = 0;

  constructor(private readonly held: HoldStore) {}

  /** Appends a copy of bytes. Throws {@link DumpError} SYSTEM if the disk is full. */
  push(bytes: Uint8Array): void {
    for (let done = 0; done < bytes.length; ) {
      if (this.size === this.room) this.addExtent();
      const count = Math.min(bytes.length - done, this.room - this.size);
      this.held.write(bytes.subarray(done, done + count), this.placeOf(this.starts.length - 1, this.size));
      this.size += count;
      done += count;
    }
  }

  /** Reads into `buffer` from a position; returns the number of bytes. */
  readSome(buffer: Uint8Array, position: number): number {
    const count = Math.max(0, Math.min(buffer.length, this.size - position));
    for (let done = 0; done < count; ) {
      const at = position + done;
      const extent = this.extentAt(at);
      const end = Math.min(position + count, this.starts[extent + 1] ?? this.size);
      this.held.read(buffer.subarray(done, done + end - at), this.placeOf(extent, at));
      done += end - at;
    }
    return count;
  }

  private addExtent(): void {
    const bytes = Math.min(Math.max(this.size, MIN_EXTENT_BYTES), MAX_EXTENT_BYTES);
    const place = this.held.reserve(bytes);
    // The last extent grows if no other file came in between.
    const last = this.places.length - 1;
    if (last < 0 || this.placeOf(last, this.room) !== place) {
      this.starts.push(this.room);
      this.places.push(place);
    }
    this.room += bytes;
  }

  private placeOf(extent: number, position: number): number {
    return (this.places[extent] as number) + position - (this.starts[extent] as number);
  }

  /** The extent of a position. */
  private extentAt(position: number): number {
    let low = 0;
    let high = this.starts.length - 1;
    while (low < high) {
      const middle = (low + high + 1) >>> 1;
      if ((this.starts[middle] as number) <= position) low = middle;
      else high = middle - 1;
    }
    return low;
  }
}
