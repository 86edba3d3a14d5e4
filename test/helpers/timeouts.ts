/** Timeouts of sockets without waiting: a socket of this process is idle when the test says so, and only then. */
import { Socket } from 'node:net';
import { onTestFinished, vi } from 'vitest';

export class Timeouts {
  /** Milliseconds of each timeout that was set, in their order. */
  readonly set: number[] = [];
  private readonly callbacks: (() => void)[] = [];
  private readonly watchers = new Set<() => void>();

  constructor() {
    const note = (milliseconds: number, callback: () => void) => {
      this.set.push(milliseconds);
      this.callbacks.push(callback);
      for (const watcher of this.watchers) watcher();
    };
    const spy = vi.spyOn(Socket.prototype, 'setTimeout').mockImplementation(function (this: Socket, time, callback) {
      if (callback) note(time, callback);
      return this;
    });
    onTestFinished(() => spy.mockRestore());
  }

  /** Resolves when so many sockets have a timeout. */
  has(count: number): Promise<void> {
    return new Promise((resolve) => {
      const check = () => {
        if (this.set.length < count) return;
        this.watchers.delete(check);
        resolve();
      };
      this.watchers.add(check);
      check();
    });
  }

  /** The time of each socket is up. */
  expire(): void {
    for (const callback of this.callbacks) callback();
  }
}
