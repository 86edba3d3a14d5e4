/** A connection whose end is not noticed: Node sometimes gives no event for that of an HTTP/2 session. */
import type { Socket } from 'node:net';
import { Duplex } from 'node:stream';
import { vi } from 'vitest';

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

/** Lets time limits of five seconds pass at once. */
export function hastenLinger(): void {
  const real = globalThis.setTimeout;
  vi.spyOn(globalThis, 'setTimeout').mockImplementation(((callback: () => void, milliseconds?: number) =>
    real(callback, milliseconds === 5000 ? 0 : milliseconds)) as typeof setTimeout);
}
