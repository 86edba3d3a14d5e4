/** Clients over a socket: how many at once, for how long, with which certificates. */
import { createServer, type DropArgument, type Server, type Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import { createServer as createTlsServer, type TLSSocket } from 'node:tls';
import { DumpError, systemError } from '../errors.js';
import { type Address, addressText } from './address.js';
import type { TlsFiles } from './tls.js';
import { DroppedError, WaitingConnections } from './waiting.js';

/** How one client ended. */
export interface ClientEnd {
  /** As `host:port`. */
  client: string;
  /** Whether it said so itself; else it just left, or was sent away. */
  closed: boolean;
  /** Why it was sent away. */
  error?: string;
}

export interface ServerOptions {
  address: Address;
  /** Certificates: with them every client must show its own. */
  tls?: TlsFiles;
  /** Clients at a time; others are turned away. */
  maxClients: number;
  /** Within which a client must have said what it wants, and until then it does not count; if undefined, it counts at once. */
  firstSeconds?: number;
  /** A client that neither sends nor takes anything for this long is sent away; 0 for never. */
  idleSeconds: number;
  /** Whether to end after a client. */
  isLast: (end: ClientEnd) => boolean;
  signal: AbortSignal;
}

/**
 * What is done with a client: resolves to whether it closed its session.
 * @param begun to be called when the client has said what it wants; throws if it is one too many
 */
export type Serve = (stream: Duplex, client: string, begun: () => void) => Promise<boolean>;

/** The error of a client that broke its connection off. */
export const LEFT = 'left';
/** The error of a client that was still there when the server was told to stop. */
export const CUT_OFF = 'cut off: the server stops';

/** For the end of a connection to reach the client: how long it may take its time. */
export const LINGER_MS = 1000;
/** Within which a client must have shown its certificate. */
const HANDSHAKE_MS = 10_000;
/**
 * Within which a client must have sent a first message: `criu dump` connects before it looks at the processes, and
 * `criu lazy-pages` before the first fault.
 */
export const FIRST_SECONDS = 60;
/** Connections at a time that are no clients yet; above all a limit of open files. */
const MAX_OTHERS = 300;

/**
 * Listens, and serves until the signal is aborted, or until the last client has ended.
 * @param onListening told of the place when clients may come
 * @param onEnd told of each client that ends
 * @throws {DumpError} SYSTEM if it cannot listen, MALFORMED for certificates that are none; what the two functions throw
 */
export async function listen(
  options: ServerOptions,
  serve: Serve,
  { onListening, onEnd }: { onListening: (address: Address) => void; onEnd: (end: ClientEnd) => void },
): Promise<void> {
  const { address, tls, maxClients, signal } = options;
  // Who has said all may still wait for answers. With TLS that would keep those who leave in the middle of a handshake.
  const server = tls ? tlsServer(tls) : createServer({ allowHalfOpen: true });
  server.maxConnections = maxClients + MAX_OTHERS;
  /** Connections, of whatever kind. */
  const connections = new Set<Socket>();
  /** Those that are listened to; and of these the clients, by name. */
  const served = new Set<Socket>();
  const clients = new Set<string>();
  const waiting = new WaitingConnections(options.firstSeconds ?? FIRST_SECONDS);
  let stopped = false;
  const stop = () => {
    stopped = true;
    server.close();
    for (const socket of served) socket.destroy();
    // Who is still showing certificates, or does not take the end.
    setTimeout(() => {
      for (const socket of connections) socket.destroy();
    }, LINGER_MS).unref();
  };
  const ending = new Set<Promise<void>>();
  await new Promise<void>((resolve, reject) => {
    const fail = (error: unknown) => {
      reject(error);
      stop();
    };
    const attempt = (action: () => void) => {
      try {
        action();
      } catch (error) {
        fail(error);
      }
    };
    const begin = (client: string) => {
      waiting.remove(client);
      if (clients.size >= maxClients) throw new Error(`turned away: ${maxClients} clients are served already`);
      clients.add(client);
    };
    const accept = async (socket: Socket) => {
      const client = clientName(socket);
      served.add(socket);
      const run: Serve = async (stream) => {
        // One too many need not speak first.
        if (options.firstSeconds === undefined || clients.size >= maxClients) begin(client);
        return await serve(stream, client, () => begin(client));
      };
      const end = await runClient(socket, client, run, options.idleSeconds);
      waiting.remove(client);
      clients.delete(client);
      served.delete(socket);
      attempt(() => onEnd(stopped && !end.closed ? { ...end, error: CUT_OFF } : end));
      if (options.isLast(end)) stop();
    };
    server.on('error', (error) => fail(systemError(error, addressText(address))));
    server.on('close', resolve);
    server.on('connection', (socket: Socket) => {
      connections.add(socket);
      socket.on('close', () => connections.delete(socket));
      waiting.add(clientName(socket), socket);
    });
    server.on(tls ? 'secureConnection' : 'connection', (socket: Socket) => {
      const client = accept(socket).finally(() => ending.delete(client));
      ending.add(client);
    });
    server.on('tlsClientError', (error: Error, socket: TLSSocket) => {
      // The reason is there if it is the client's certificate; the error then says only that the connection has ended.
      const reason = socket.authorizationError ?? (error as { reason?: string }).reason ?? error.message;
      const client = error instanceof DroppedError ? error.client : clientName(socket);
      attempt(() => onEnd({ client, closed: false, error: `TLS: ${reason}` }));
    });
    server.on('drop', (dropped?: DropArgument) => {
      const error = `turned away: ${server.maxConnections} connections are open already`;
      attempt(() => onEnd({ client: clientName(dropped), closed: false, error }));
    });
    server.listen(address, () => attempt(() => (stopped ? server.close() : onListening(listeningAddress(server)))));
    signal.addEventListener('abort', stop);
    if (signal.aborted) stop();
  }).finally(async () => {
    signal.removeEventListener('abort', stop);
    await Promise.all(ending);
  });
}

function tlsServer(tls: TlsFiles): Server {
  try {
    return createTlsServer({
      ...tls,
      requestCert: true,
      rejectUnauthorized: true,
      handshakeTimeout: HANDSHAKE_MS,
      // With TLS 1.3 tickets for sessions follow the handshake, which Node cannot leave out. CRIU takes the first one for
      // an answer that is not there: "The page server doesn't answer". Measured with 4.1.1 and 4.2.1.
      maxVersion: 'TLSv1.2',
    });
  } catch (cause) {
    throw new DumpError('MALFORMED', `expected certificates and a key for TLS: ${(cause as Error).message}`, { cause });
  }
}

/** Serves one client over any stream, and closes it. */
export async function runClient(stream: Duplex, client: string, serve: Serve, idleSeconds: number): Promise<ClientEnd> {
  let idle = false;
  if (idleSeconds > 0 && 'setTimeout' in stream) {
    const socket = stream as Socket;
    socket.setTimeout(idleSeconds * 1000, () => {
      idle = true;
      socket.destroy();
    });
  }
  if ('setNoDelay' in stream) (stream as Socket).setNoDelay(true);
  // Whoever reads or writes is told as well; between the two nobody is.
  stream.on('error', () => {});
  try {
    const closed = await serve(stream, client, () => {});
    stream.end();
    return { client, closed };
  } catch (error) {
    stream.end();
    if (idle) return { client, closed: false, error: `nothing sent and nothing taken for ${idleSeconds} s` };
    return hasLeft(error)
      ? { client, closed: false, error: LEFT }
      : { client, closed: false, error: (error as Error).message };
  } finally {
    // What it still sends is of no interest, but its end is. One that does not take ours is not waited for.
    stream.resume();
    const linger = setTimeout(() => stream.destroy(), LINGER_MS).unref();
    stream.once('close', () => clearTimeout(linger));
  }
}

const LEAVING = new Set(['EPIPE', 'ECONNRESET', 'ERR_STREAM_PREMATURE_CLOSE', 'ERR_STREAM_DESTROYED']);

const hasLeft = (error: unknown): boolean => LEAVING.has((error as NodeJS.ErrnoException).code ?? '');

/** As it is logged; who has left already may have no address any more. */
const clientName = ({ remoteAddress, remotePort }: Partial<Socket> | DropArgument = {}): string =>
  addressText({ host: remoteAddress ?? 'unknown', port: remotePort ?? 0 });

function listeningAddress(server: Server): Address {
  const address = server.address();
  return address && typeof address === 'object' ? { host: address.address, port: address.port } : { host: '', port: 0 };
}
