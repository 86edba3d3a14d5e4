/** A file in a directory that is being filled. It is written from front to back, and synced in the background meanwhile. */
import { closeSync, constants, fchmodSync, fstatSync, ftruncateSync, openSync, writeSync } from 'node:fs';
import { constants as osConstants } from 'node:os';
import { join } from 'node:path';
import { type FilePlace, scratch, type WaitingBytes } from '../bytes.js';
import { invariant, onFile } from '../errors.js';
import type { AtomicDirectory } from './atomic-directory.js';
import { BackgroundSync } from './background-sync.js';
import { type Linux, linux } from './linux.js';
import { permitted } from './mode.js';

/**
 * Smaller pieces are gathered into writes of this size, at multiples of it in the file. So each write has whole pages, which the
 * page cache takes twice as fast as writes that end inside a page.
 */
const GATHER_BYTES = 128 * 1024;
/** Zeros become a hole if they fill a block of this size, at a multiple of it in the file. So a sparse file stays sparse. */
const HOLE_BYTES = 16 * 1024;
const ZEROS = new Uint8Array(HOLE_BYTES);
/** Blocks of file systems with reflinks are this large, or smaller. With larger ones, bytes are copied. */
const BLOCK_BYTES = 4096;

export class OutputFile {
  private readonly fd: number;
  private open = true;
  private readonly sync: BackgroundSync;
  /** Size of the file so far, including holes and what is gathered. */
  bytes = 0;
  private gathered: Uint8Array | undefined;
  private gatheredBytes = 0;
  /** Where the last written bytes end: after it there is a hole. */
  private writtenEnd = 0;
  private kernelCopies = true;
  private mayClone = true;
  /** Whether some of its blocks are those of another file. */
  sharesBlocks = false;

  constructor(
    private readonly directory: AtomicDirectory,
    readonly name: string,
    private readonly mode: number,
    /** Buffers to reuse: new ones would pile up until they are collected. */
    private readonly spare: Uint8Array[],
  ) {
    const flags = constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL | constants.O_NOFOLLOW;
    this.fd = onFile(name, () => openSync(join(directory.temporary, name), flags, 0o600));
    this.sync = new BackgroundSync(this.fd, name);
  }

  /** The bytes may change after the call. */
  write(bytes: Uint8Array): void {
    for (let at = 0; at < bytes.length; ) {
      const left = bytes.length - at;
      const isMany = left >= GATHER_BYTES;
      if (isMany && this.bytes % HOLE_BYTES === 0) {
        this.flush();
        const whole = left - (left % HOLE_BYTES);
        this.putWithHoles(bytes.subarray(at, at + whole), this.bytes);
        this.bytes += whole;
        at += whole;
        continue;
      }
      // Gathering is a copy: of many bytes, only those before the next block and after the last one.
      const unit = isMany ? HOLE_BYTES : GATHER_BYTES;
      const piece = bytes.subarray(at, at + unit - (this.bytes % unit));
      this.gather(piece);
      this.bytes += piece.length;
      at += piece.length;
      if (this.bytes % GATHER_BYTES === 0) this.flush();
    }
  }

  /** Takes what waits, zeros as zeros; returns how many bytes that was. */
  writeWaiting(waiting: WaitingBytes): number {
    this.flush();
    const count = onFile(this.name, () => waiting.moveTo(this.fd, this.bytes), this.bytes);
    this.bytes += count;
    if (count > 0) this.wrote(count, this.bytes);
    return count;
  }

  /** Goes on at a later position, in bytes: what is in between is a hole. */
  skipTo(position: number): void {
    invariant(position >= this.bytes, 'a file is written from front to back');
    this.flush();
    this.bytes = position;
  }

  /**
   * Copies from another file inside the kernel, holes as holes.
   * @param position in the other file, in bytes
   * @returns bytes, fewer than asked for if the kernel cannot go on or the other file ends. The next read then shows why.
   */
  readonly copyFrom = ({ fd, offset }: FilePlace, position: number, bytes: number): number => {
    const system = this.kernelCopies ? linux() : undefined;
    if (!system) return 0;
    this.flush();
    const start = offset + position;
    const end = Math.min(start + bytes, onFile(this.name, () => fstatSync(fd)).size);
    const shift = this.bytes - start;
    let at = this.clone(system, fd, start, end);
    while (this.kernelCopies && at < end) {
      at = nextData(system, fd, at, end);
      for (const hole = nextHole(system, fd, at, end); at < hole; ) {
        const count = system.copyFileRange(fd, at, this.fd, at + shift, hole - at);
        if (count <= 0) {
          this.kernelCopies = false;
          break;
        }
        at += count;
        this.wrote(count, at + shift);
      }
    }
    this.bytes = at + shift;
    return at - start;
  };

  /**
   * Has the file share the blocks of another one. That writes nothing, so it needs no sync before the last.
   * @returns where it ended: at `start`, unless the file system does it
   */
  private clone(system: Linux, fd: number, start: number, end: number): number {
    const bytes = Math.max(0, end - start - ((end - start) % BLOCK_BYTES));
    const isAligned = start % BLOCK_BYTES === 0 && this.bytes % BLOCK_BYTES === 0;
    if (!this.mayClone || !isAligned || bytes === 0) return start;
    this.mayClone = system.cloneRange(fd, start, this.fd, this.bytes, bytes) === 0;
    if (!this.mayClone) return start;
    this.sharesBlocks = true;
    this.writtenEnd = this.bytes + bytes;
    return start + bytes;
  }

  private gather(piece: Uint8Array): void {
    this.gathered ??= this.spare.pop() ?? scratch(GATHER_BYTES);
    this.gathered.set(piece, this.gatheredBytes);
    this.gatheredBytes += piece.length;
  }

  /** Writes what was gathered. */
  private flush(): void {
    const { gathered, gatheredBytes } = this;
    if (!gathered || gatheredBytes === 0) return;
    this.gatheredBytes = 0;
    this.putWithHoles(gathered.subarray(0, gatheredBytes), this.bytes - gatheredBytes);
  }

  /** Writes everything that cannot be a hole. `position` is where a gathered write begins: a multiple of HOLE_BYTES. */
  private putWithHoles(bytes: Uint8Array, position: number): void {
    let from = 0;
    for (let at = 0; at + HOLE_BYTES <= bytes.length; at += HOLE_BYTES) {
      if (Buffer.compare(bytes.subarray(at, at + HOLE_BYTES), ZEROS) !== 0) continue;
      if (at > from) this.put(bytes.subarray(from, at), position + from);
      from = at + HOLE_BYTES;
    }
    if (from < bytes.length) this.put(bytes.subarray(from), position + from);
  }

  private put(bytes: Uint8Array, position: number): void {
    for (let done = 0; done < bytes.length; ) {
      const [at, left] = [done, bytes.length - done];
      done += onFile(this.name, () => writeSync(this.fd, bytes, at, left, position + at), position + at);
    }
    this.wrote(bytes.length, position + bytes.length);
  }

  /** @param end of what was written, in the file */
  private wrote(bytes: number, end: number): void {
    this.writtenEnd = end;
    this.sync.wrote(bytes);
  }

  /** Gives the file its mode; it is synced and closed in the background. */
  finish(): Promise<void> | undefined {
    this.flush();
    if (this.gathered) this.spare.push(this.gathered);
    onFile(this.name, () => {
      if (this.writtenEnd < this.bytes) ftruncateSync(this.fd, this.bytes);
      fchmodSync(this.fd, permitted(this.mode));
    });
    this.open = false;
    return this.directory.finishFile(this.fd, this.name, this.sync.settled());
  }

  /** Closes a file that is not finished. */
  async abandon(): Promise<void> {
    if (!this.open) return;
    this.open = false;
    await this.sync.idle();
    closeSync(this.fd);
  }
}

/** Position of the next data, at most `end`. A file system without SEEK_DATA counts as having no holes. */
function nextData(system: Linux, fd: number, at: number, end: number): number {
  const data = system.seekData(fd, at);
  if (data === -osConstants.errno.ENXIO) return end;
  return data < 0 ? at : Math.min(data, end);
}

function nextHole(system: Linux, fd: number, at: number, end: number): number {
  const hole = at < end ? system.seekHole(fd, at) : end;
  return hole < 0 ? end : Math.min(hole, end);
}
