/** A page server on any stream, as a part of another program. */
import type { Duplex } from 'node:stream';
import type { DumpMemory } from '../serve/memory.js';
import { type ClientEnd, runClient } from '../serve/server.js';
import { Session, type SessionObserver } from '../serve/session.js';

export interface ServeClientOptions extends SessionObserver {
  /** Name of the client, for its end. */
  name?: string;
  /** A socket over which nothing passes for this long is closed; 0, the default, for never. */
  idleSeconds?: number;
}

/**
 * Serves the pages of a dump to one client, until it closes its session or leaves, and ends the stream. What goes wrong with
 * a client is in the result: others are not affected, so this never rejects.
 * @param stream of a `net.Server` with `allowHalfOpen`, of TLS, or any other
 */
export const serveClient = (
  memory: DumpMemory,
  stream: Duplex,
  { name = 'client', idleSeconds = 0, ...observer }: ServeClientOptions = {},
): Promise<ClientEnd> => runClient(stream, name, () => new Session(memory, stream, observer).run(), idleSeconds);
