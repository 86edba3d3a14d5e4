/** Clients over a socket: how many at once, for how long, with which certificates. */
import { createServer, type Server, type Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import { createServer as createTlsServer, type TLSSocket } from 'node:tls';
import { systemError } from '../errors.js';
import type { Address } from './address.js';
import type { TlsFiles } from './tls.js';

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
  /** A client that neither sends nor takes anything for this long is sent away; 0 for never. */
  idleSeconds: number;
  /** Whether to end after a client. */
  isLast: (end: ClientEnd) => boolean;
  signal: AbortSignal;
}

/** What is done with a client: resolves to whether it closed its session. */
export type Serve = (stream: Duplex, client: string) => Promise<boolean>;

/**
 * Listens, and serves until the signal is aborted, or until the last client has ended.
 * @param onListening told of the place when clients may come
 * @param onEnd told of each client that ends
 * @throws {DumpError} SYSTEM if it cannot listen
 */
export async function listen(
  options: ServerOptions,
  serve: Serve,
  { onListening, onEnd }: { onListening: (address: Address) => void; onEnd: (end: ClientEnd) => void },
): Promise<void> {
  const { address, tls, signal } = options;
  const sockets = new Set<Socket>();
  const server = tls ? createTlsServer({ ...tls, requestCert: true, rejectUnauthorized: true }) : createServer();
  const finished = new Promise<void>((resolve, reject) => {
    server.on('error', (error) => reject(systemError(error, `${address.host}:${address.port}`)));
    server.on('close', resolve);
  });
  const stop = () => {
    server.close();
    for (const socket of sockets) socket.destroy();
  };
  const accept = async (socket: Socket) => {
    const client = `${socket.remoteAddress}:${socket.remotePort}`;
    if (sockets.size >= options.maxClients) {
      socket.destroy();
      onEnd({ client, closed: false, error: `turned away: ${options.maxClients} clients are served already` });
      return;
    }
    sockets.add(socket);
    const end = await runClient(socket, client, serve, options.idleSeconds);
    sockets.delete(socket);
    onEnd(end);
    if (options.isLast(end)) stop();
  };
  server.on(tls ? 'secureConnection' : 'connection', (socket: Socket | TLSSocket) => void accept(socket));
  server.on('tlsClientError', (error: Error, socket: TLSSocket) => {
    onEnd({ client: `${socket.remoteAddress}:${socket.remotePort}`, closed: false, error: `TLS: ${error.message}` });
  });
  server.listen(address, () => onListening(listeningAddress(server)));
  signal.addEventListener('abort', stop);
  if (signal.aborted) stop();
  await finished;
  signal.removeEventListener('abort', stop);
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
    const closed = await serve(stream, client);
    stream.end();
    return { client, closed };
  } catch (error) {
    stream.end();
    if (idle) return { client, closed: false, error: `nothing sent and nothing taken for ${idleSeconds} s` };
    return hasLeft(error)
      ? { client, closed: false, error: 'left' }
      : { client, closed: false, error: (error as Error).message };
  } finally {
    // A client that does not take the end is not waited for.
    setTimeout(() => stream.destroy(), 1000).unref();
  }
}

const LEFT = new Set(['EPIPE', 'ECONNRESET', 'ERR_STREAM_PREMATURE_CLOSE', 'ERR_STREAM_DESTROYED']);

const hasLeft = (error: unknown): boolean => LEFT.has((error as NodeJS.ErrnoException).code ?? '');

function listeningAddress(server: Server): Address {
  const address = server.address();
  return address && typeof address === 'object' ? { host: address.address, port: address.port } : { host: '', port: 0 };
}
