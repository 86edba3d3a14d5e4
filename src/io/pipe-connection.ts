/** A connection whose output is a pipe. It is filled without the event loop while its reader keeps up. */
import { writeSync } from 'node:fs';
import { Socket } from 'node:net';
import { constants } from 'node:os';
import type { FilePlace } from '../bytes.js';
import { MAX_WAIT_MS } from './fd.js';
import { enlargePipe, type Linux } from './linux.js';
import { SocketPair } from './socket-pair.js';

const { EAGAIN } = constants.errno;

export class PipeConnection extends SocketPair {
  /** @param fd of the end of a pipe that is written; it is closed with the connection */
  constructor(
    input: Socket,
    private readonly fd: number,
    private readonly system: Linux,
  ) {
    super(input, new Socket({ fd, readable: false, writable: true }));
    enlargePipe(fd);
  }

  /**
   * Writes what the pipe takes within a short time. Returns the number of bytes; the others are for `write`. Throws EPIPE
   * if nobody reads.
   */
  writeSoon(bytes: Uint8Array): number {
    return this.soon(bytes.length, (done) => {
      // To ask costs less than the error of a write into a full pipe.
      const ready = this.system.waitWritable(this.fd, 0);
      return ready > 0 ? writeSync(this.fd, bytes, done) : ready || -EAGAIN;
    });
  }

  /** The same with bytes from a position of a file, without copying them. */
  spliceSoon({ fd, offset }: FilePlace, position: number, bytes: number): number {
    const start = offset + position;
    return this.soon(bytes, (done) => this.system.spliceFrom(fd, start + done, this.fd, bytes - done));
  }

  /** @param put puts bytes from `done` on into the pipe, and returns how many, or a negated errno */
  private soon(bytes: number, put: (done: number) => number): number {
    // The descriptor of a destroyed connection may be another file by now.
    if (this.writableLength > 0 || this.destroyed || this.output.destroyed) return 0;
    const until = Date.now() + MAX_WAIT_MS;
    let done = 0;
    while (done < bytes) {
      const count = put(done);
      if (count > 0) done += count;
      else if (count !== -EAGAIN || this.system.waitWritable(this.fd, Math.max(0, until - Date.now())) <= 0) break;
    }
    return done;
  }
}
