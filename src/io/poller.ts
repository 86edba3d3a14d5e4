/** Waits for many descriptors at once: epoll(7), which Node does not give. */
import { getSystemErrorName } from 'node:util';
import { systemError } from '../errors.js';
import type { DaemonCalls } from './linux.js';

const EPOLLIN = 1;
const EPOLL_CTL_ADD = 1;
const EPOLL_CTL_DEL = 2;
/** On x86-64 alone the structure has no gap between its two members. */
const EVENT_BYTES = process.arch === 'x64' ? 12 : 16;
const DATA_AT = EVENT_BYTES - 8;
/** Events taken at a time. */
const MOST = 64;

/** Called when a descriptor has something to read, or has ended. */
export type Ready = () => void;

export class Poller {
  private readonly epoll: number;
  /** Something to read here ends a wait. */
  private readonly bell: number;
  private readonly events = Buffer.allocUnsafeSlow(EVENT_BYTES * MOST);
  private readonly handlers = new Map<number, Ready>();
  private isWaiting = false;
  private waiting: Promise<number> = Promise.resolve(0);

  /** Throws {@link DumpError} SYSTEM. */
  constructor(private readonly calls: DaemonCalls) {
    this.epoll = checked(calls.epollCreate(), 'epoll_create1');
    this.bell = checked(calls.eventfd(), 'eventfd');
    this.add(this.bell, () => calls.read(this.bell, Buffer.alloc(8)));
  }

  add(fd: number, ready: Ready): void {
    const event = Buffer.alloc(EVENT_BYTES);
    event.writeUInt32LE(EPOLLIN, 0);
    event.writeUInt32LE(fd, DATA_AT);
    checked(this.calls.epollControl(this.epoll, EPOLL_CTL_ADD, fd, event), 'epoll_ctl');
    this.handlers.set(fd, ready);
  }

  /** To be called before the descriptor is closed. */
  remove(fd: number): void {
    this.handlers.delete(fd);
    this.calls.epollControl(this.epoll, EPOLL_CTL_DEL, fd, Buffer.alloc(EVENT_BYTES));
  }

  /** Calls the handlers of what is ready now. Returns how many there were. */
  poll(): number {
    return this.call(this.calls.epollWait(this.epoll, this.events, MOST, 0));
  }

  /** Waits until something is ready, or {@link ring} is called. The event loop goes on meanwhile. */
  async wait(): Promise<number> {
    this.isWaiting = true;
    this.waiting = this.calls.epollWaitAside(this.epoll, this.events, MOST, -1);
    try {
      return this.call(await this.waiting);
    } finally {
      this.isWaiting = false;
    }
  }

  /** Ends a wait. */
  ring(): void {
    if (this.isWaiting) this.calls.write(this.bell, Buffer.from(new BigUint64Array([1n]).buffer));
  }

  /** A thread that still waited would keep the process from ending. */
  async close(): Promise<void> {
    this.ring();
    await this.waiting;
    for (const fd of [this.epoll, this.bell]) this.calls.close(fd);
  }

  private call(count: number): number {
    for (let i = 0; i < count; i++) this.handlers.get(this.events.readUInt32LE(i * EVENT_BYTES + DATA_AT))?.();
    return Math.max(count, 0);
  }
}

/** Throws {@link DumpError} SYSTEM for a negated errno. */
export function checked(result: number, what: string): number {
  if (result >= 0) return result;
  const code = getSystemErrorName(result);
  throw systemError(Object.assign(new Error(code), { code, errno: result, syscall: what }), what);
}
