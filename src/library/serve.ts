/** A page server on any stream, inside another program. */
import type { Duplex } from 'node:stream';
import type { DumpMemory } from '../serve/memory.js';
import { type ClientEnd, runClient } from '../serve/server.js';
import { Session, type SessionObserver } from '../serve/session.js';

export interface ServeClientOptions extends SessionObserver {
  /** Name of the client, for the result. */
  name?: string;
  /** A socket that is idle for this long is closed; 0, the default, for never. */
  idleSeconds?: number;
}

/**
 * Serves the pages of a dump to one client, until it closes its session or leaves, and ends the stream. Never rejects: a
 * failure of the client is in the result, because it does not affect others.
 * @param stream of a `net.Server` with `allowHalfOpen`, of TLS, or any other
 */
export const serveClient = (
  memory: DumpMemory,
  stream: Duplex,
  { name = 'client', idleSeconds = 0, ...observer }: ServeClientOptions = {},
): Promise<ClientEnd> => runClient(stream, name, () => new Session(memory, stream, observer).run(), idleSeconds);
