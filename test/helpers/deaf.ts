/** A connection whose end is not noticed: Node sometimes gives no event for that of an HTTP/2 session. */
import type { Socket } from 'node:net';
import { Duplex } from 'node:stream';
import { onTestFinished, vi } from 'vitest';

/** Passes on what comes and goes, but neither tells its reader of the end nor the other side. */
export function deafConnection(socket: Socket): Duplex {
  const connection = new Duplex({
    autoDestroy: false,
    read() {},
    write: (chunk, _encoding, done) => void socket.write(chunk, done),
    final() {},
    destroy(error, done) {
      socket.destroy();
      done(error);
    },
  });
  socket.on('error', () => {});
  socket.on('data', (chunk) => connection.push(chunk));
  return connection;
}

/** Makes time limits of five seconds others, until the test ends. */
export function lingerFor(milliseconds: number): void {
  const real = globalThis.setTimeout;
  const spy = vi.spyOn(globalThis, 'setTimeout');
  spy.mockImplementation(((callback: () => void, delay?: number) =>
    real(callback, delay === 5000 ? milliseconds : delay)) as typeof setTimeout);
  onTestFinished(() => spy.mockRestore());
}
