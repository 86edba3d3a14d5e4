/**
 * Connections that have sent no message yet. They do not count as clients, and their number and time are limited, so a
 * silent connection keeps nobody out. When there are too many, the oldest is closed, because a real client does not wait
 * long.
 */
import type { Socket } from 'node:net';

/** From one address: many clients may share one behind a tunnel or NAT. */
const MAX_PER_ADDRESS = 64;
const MAX_WAITING = 256;

/** Why a connection was closed before its first message. */
export class DroppedError extends Error {
  constructor(
    /** As `host:port`. */
    readonly client: string,
    reason: string,
  ) {
    super(reason);
  }
}

interface Waiting {
  socket: Socket;
  address: string;
  timer: NodeJS.Timeout;
}

export class WaitingConnections {
  private readonly waiting = new Map<string, Waiting>();

  /** @param seconds for how long one may wait */
  constructor(private readonly seconds: number) {}

  add(client: string, socket: Socket): void {
    const address = socket.remoteAddress ?? '';
    const timer = setTimeout(() => this.drop(client, `no message within ${this.seconds} s`), this.seconds * 1000);
    this.waiting.set(client, { socket, address, timer });
    socket.on('close', () => this.remove(client));
    const neighbors = [...this.waiting].filter(([, other]) => other.address === address);
    const crowd = neighbors.length > MAX_PER_ADDRESS ? neighbors : [...this.waiting];
    if (crowd === neighbors || crowd.length > MAX_WAITING) {
      this.drop((crowd[0] as [string, Waiting])[0], 'no message yet, and too many other connections');
    }
  }

  /** It has sent a message, or is gone. */
  remove(client: string): void {
    clearTimeout(this.waiting.get(client)?.timer);
    this.waiting.delete(client);
  }

  private drop(client: string, reason: string): void {
    const socket = this.waiting.get(client)?.socket;
    this.remove(client);
    socket?.destroy(new DroppedError(client, reason));
  }
}
