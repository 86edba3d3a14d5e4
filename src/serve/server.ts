/** Clients over a socket: how many at once, for how long, with which certificates. */
import { createServer, type DropArgument, type Server, type Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import { createServer as createTlsServer, type TLSSocket } from 'node:tls';
import { DumpError, systemError } from '../errors.js';
import { DirectSocket } from '../io/direct-socket.js';
import { type Address, addressText } from './address.js';
import type { TlsFiles } from './tls.js';
import { DroppedError, WaitingConnections } from './waiting.js';

/** How one client ended. */
export interface ClientEnd {
  /** As `host:port`. */
  client: string;
  /** Whether it closed its session. Otherwise it just left, or was disconnected. */
  closed: boolean;
  /** Why it was disconnected. */
  error?: string;
}

export interface ServerOptions {
  address: Address;
  /** Certificates. With them, every client must present its own. */
  tls?: TlsFiles;
  /** Clients at a time. Further ones are refused. */
  maxClients: number;
  /** Time limit for a client's first message. Until then it does not count; if undefined, it counts at once. */
  firstSeconds?: number;
  /** A client that neither sends nor takes anything for this long is disconnected; 0 for never. */
  idleSeconds: number;
  /** Whether clients without TLS are a {@link DirectSocket}, where Node allows it. Those are read by its `drain` alone. */
  isDirect?: boolean;
  /** Whether to end after a client. */
  isLast: (end: ClientEnd) => boolean;
  signal: AbortSignal;
}

/**
 * What is done with a client: resolves to whether it closed its session.
 * @param begun to be called when the client has said what it wants; throws if it is one too many
 */
export type Serve = (stream: Duplex, client: string, begun: () => void) => Promise<boolean>;

/** The error of a client whose connection broke. */
export const LEFT = 'left';
/** The error of a client that was still there when the server was told to stop. */
export const CUT_OFF = 'cut off: the server stops';

/** Time limit for the end of a connection to reach the client. */
export const LINGER_MS = 1000;
/** Time limit for a client to present its certificate. */
const HANDSHAKE_MS = 10_000;
/**
 * Time limit for a client's first message: `criu dump` connects before it looks at the processes, and `criu lazy-pages`
 * before the first fault.
 */
export const FIRST_SECONDS = 60;
/** Connections at a time that are not clients yet. Mostly a limit on open files. */
const MAX_OTHERS = 300;

/**
 * Listens, and serves until the signal is aborted, or until the last client has ended.
 * @param onListening called with the address when clients can connect
 * @param onEnd called for each client that ends
 * @throws {DumpError} SYSTEM if it cannot listen, MALFORMED for files that are not certificates; what the two functions throw
 */
export async function listen(
  options: ServerOptions,
  serve: Serve,
  { onListening, onEnd }: { onListening: (address: Address) => void; onEnd: (end: ClientEnd) => void },
): Promise<void> {
  const { address, tls, maxClients, isDirect = false, signal } = options;
  // A client that has sent everything may still wait for answers. With TLS that would keep one that left during the handshake.
  const server = tls ? tlsServer(tls) : createServer({ allowHalfOpen: true, pauseOnConnect: isDirect });
  server.maxConnections = maxClients + MAX_OTHERS;
  /** All connections. */
  const connections = new Set<Socket>();
  /** Connections that are being read; and the clients among them, by name. */
  const served = new Set<Socket>();
  const clients = new Set<string>();
  const waiting = new WaitingConnections(options.firstSeconds ?? FIRST_SECONDS);
  let stopped = false;
  const stop = () => {
    stopped = true;
    server.close();
    for (const socket of served) socket.destroy();
    // Those still in the handshake, and those that do not take the end.
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
        // One too many is refused without waiting for its first message.
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
    const attend = (socket: Socket) => {
      const client = accept(socket).finally(() => ending.delete(client));
      ending.add(client);
    };
    server.on('connection', (accepted: Socket) => {
      const socket = isDirect && !tls ? DirectSocket.of(accepted) : accepted;
      connections.add(socket);
      socket.on('close', () => connections.delete(socket));
      waiting.add(clientName(socket), socket);
      if (!tls) attend(socket);
    });
    server.on('secureConnection', attend);
    server.on('tlsClientError', (error: Error, socket: TLSSocket) => {
      // If the client's certificate is the reason, this has it; the error says only that the connection has ended.
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
      // With TLS 1.3, session tickets follow the handshake, and Node cannot leave them out. CRIU takes the first one for a
      // missing answer: "The page server doesn't answer". Measured with 4.1.1 and 4.2.1.
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
  // A pending read or write sees the error too; between the two, only this handler does.
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
    // What the client still sends is discarded until its end. One that does not take ours is not waited for.
    stream.resume();
    const linger = setTimeout(() => stream.destroy(), LINGER_MS).unref();
    stream.once('close', () => clearTimeout(linger));
  }
}

const LEAVING = new Set([
  'EPIPE',
  'ECONNRESET',
  'ERR_STREAM_PREMATURE_CLOSE',
  'ERR_STREAM_DESTROYED',
  // HTTP/2 ends the stream of a client that has left.
  'ERR_STREAM_WRITE_AFTER_END',
]);

const hasLeft = (error: unknown): boolean => LEAVING.has((error as NodeJS.ErrnoException).code ?? '');

/** The client's name in the log. One that has already left may have no address. */
const clientName = ({ remoteAddress, remotePort }: Partial<Socket> | DropArgument = {}): string =>
  addressText({ host: remoteAddress ?? 'unknown', port: remotePort ?? 0 });

function listeningAddress(server: Server): Address {
  const address = server.address();
  return address && typeof address === 'object' ? { host: address.address, port: address.port } : { host: '', port: 0 };
}
