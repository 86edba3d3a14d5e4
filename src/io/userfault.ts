/**
 * A userfaultfd: the missing pages of one address space, filled by another process.
 *
 * Source: userfaultfd(2), ioctl_userfaultfd(2) and the kernel's include/uapi/linux/userfaultfd.h. The numbers of the requests
 * are those of machines that encode them in the common way, which leaves out ppc64 and mips. Structures are little endian.
 */
import { constants } from 'node:os';
import type { DaemonCalls } from './linux.js';

const { EAGAIN } = constants.errno;

const UFFDIO_WAKE = 0x8010aa02;
const UFFDIO_COPY = 0xc028aa03;
const UFFDIO_ZEROPAGE = 0xc020aa04;

const EVENT = { PAGEFAULT: 0x12, FORK: 0x13, REMAP: 0x14, REMOVE: 0x15, UNMAP: 0x16 };
const MESSAGE_BYTES = 32;
/** Messages read at a time. */
const MESSAGES = 16;
const TWO_32 = 2 ** 32;

/** What has happened to an address space. Page numbers are addresses / page size. */
export interface UserfaultHandler {
  fault(page: number): void;
  /** @param fd the userfaultfd of the child, which has the pages that its parent had */
  forked(fd: number): void;
  /** Pages were moved by mremap. */
  moved(from: number, to: number, pages: number): void;
  /** Pages read as zeros from now on, as after MADV_DONTNEED. */
  removed(page: number, pages: number): void;
  unmapped(page: number, pages: number): void;
}

export class Userfault {
  private readonly messages = Buffer.allocUnsafeSlow(MESSAGE_BYTES * MESSAGES);
  /** 0 if the last copy placed all pages; otherwise the errno that the next page gave. */
  errno = 0;
  private isOpen = true;

  /** @param fd is owned, and closed by {@link close} */
  constructor(
    readonly fd: number,
    private readonly calls: DaemonCalls,
    private readonly pageSize: number,
  ) {}

  /**
   * Reads what has happened, in order, and passes it on. Does not wait.
   * @returns whether the address space still exists
   */
  read(handler: UserfaultHandler): boolean {
    const { messages } = this;
    const bytes = this.calls.read(this.fd, messages);
    if (bytes < 0) return bytes === -EAGAIN;
    for (let at = 0; at + MESSAGE_BYTES <= bytes; at += MESSAGE_BYTES) this.take(at, handler);
    return bytes > 0;
  }

  private take(at: number, handler: UserfaultHandler): void {
    switch (this.messages[at]) {
      case EVENT.PAGEFAULT:
        handler.fault(this.pageAt(at + 16));
        break;
      case EVENT.FORK:
        handler.forked(this.messages.readUInt32LE(at + 8));
        break;
      case EVENT.REMAP:
        handler.moved(this.pageAt(at + 8), this.pageAt(at + 16), this.pageAt(at + 24));
        break;
      case EVENT.REMOVE:
        handler.removed(this.pageAt(at + 8), this.pageAt(at + 16) - this.pageAt(at + 8));
        break;
      case EVENT.UNMAP:
        handler.unmapped(this.pageAt(at + 8), this.pageAt(at + 16) - this.pageAt(at + 8));
        break;
    }
  }

  private pageAt(at: number): number {
    const { messages, pageSize } = this;
    return messages.readUInt32LE(at + 4) * (TWO_32 / pageSize) + Math.floor(messages.readUInt32LE(at) / pageSize);
  }

  /**
   * Copies pages to where they are missing, and wakes who waits for them. All must be in one area.
   * @param source address in this process
   * @returns pages that were placed; why these are not all is in {@link errno}
   */
  copy(page: number, source: number, pages: number): number {
    put(page * this.pageSize, 0);
    put(source, 8);
    put(pages * this.pageSize, 16);
    put(0, 24);
    put(0, 32);
    return this.placed(this.calls.ioctl(this.fd, UFFDIO_COPY, ARGUMENT), 32, pages);
  }

  /** Makes missing pages zeros, and wakes who waits for them. All must be in one area. Returns the same as {@link copy}. */
  zero(page: number, pages: number): number {
    put(page * this.pageSize, 0);
    put(pages * this.pageSize, 8);
    put(0, 16);
    put(0, 24);
    return this.placed(this.calls.ioctl(this.fd, UFFDIO_ZEROPAGE, ARGUMENT), 24, pages);
  }

  /** Makes those who wait for pages look again. */
  wake(page: number, pages: number): void {
    put(page * this.pageSize, 0);
    put(pages * this.pageSize, 8);
    this.calls.ioctl(this.fd, UFFDIO_WAKE, ARGUMENT);
  }

  close(): void {
    if (this.isOpen) this.calls.close(this.fd);
    this.isOpen = false;
  }

  /** @param at of the number of bytes that the kernel has placed; a negative errno if none */
  /** @param at of the number of bytes that the kernel has placed; a negative errno if none */
  private placed(result: number, at: number, pages: number): number {
    this.errno = result < 0 ? -result : 0;
    if (result >= 0) return pages;
    const high = NUMBERS[at / 4 + 1];
    return high >= TWO_32 / 2 ? 0 : (high * TWO_32 + NUMBERS[at / 4]) / this.pageSize;
  }
}

/** The argument of an ioctl. All calls are synchronous, so one serves them all. */
const ARGUMENT = Buffer.allocUnsafeSlow(40);
const NUMBERS = new Uint32Array(ARGUMENT.buffer, ARGUMENT.byteOffset, ARGUMENT.length / 4) as Uint32Array & number[];

/** A u64. Addresses of pages have at most 53 significant bits. */
function put(value: number, at: number): void {
  NUMBERS[at / 4] = value % TWO_32;
  NUMBERS[at / 4 + 1] = Math.floor(value / TWO_32);
}
