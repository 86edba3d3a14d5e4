/** The end of `pagepipe send` that takes the dump, and passes on what restores ask for. */
import { existsSync, rmSync } from 'node:fs';
import { type ClientHttp2Session, type ClientHttp2Stream, connect } from 'node:http2';
import { join, resolve } from 'node:path';
import { type Duplex, PassThrough } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { type Compression, decompress } from '../archive/compression.js';
import { DumpError, onFile } from '../errors.js';
import { pump } from '../pump.js';
import type { Address } from '../serve/address.js';
import { bridge } from '../serve/bridge.js';
import { type ClientEnd, listen } from '../serve/server.js';
import { DirectorySink } from '../sink/directory.js';
import type { Written } from '../sink/dump-directory.js';
import { decodeChunks } from '../stream/stream.js';
import {
  CLIENT_HEADER,
  isOfConnection,
  type Landed,
  PATH,
  SESSION_WINDOW_BYTES,
  SETTINGS,
  UNDELIVERED,
} from './protocol.js';

/** Restores at a time. */
const MAX_CLIENTS = 64;
/** The origin that HTTP/2 asks for; there is but one place that the connection leads to. */
const ORIGIN = 'http://pagepipe';
const PLACE = 'stdin';

export interface AcceptOptions {
  /** Directory that appears. */
  out: string;
  force: boolean;
  /** Where to serve the pages that are not in it; nowhere if it is not given. */
  address?: Address;
  onWritten(written: Written): void;
  onEnd(end: ClientEnd): void;
}

/**
 * Takes a dump, and passes restores on until the near end has enough.
 * @throws {DumpError} PROTOCOL, TRUNCATED if the connection ends too early; what {@link DirectorySink} throws
 */
export async function accept(connection: Duplex, options: AcceptOptions, signal: AbortSignal): Promise<void> {
  signal.throwIfAborted();
  const session = connect(ORIGIN, {
    createConnection: () => connection,
    settings: { ...SETTINGS, enablePush: false },
  });
  session.on('connect', () => session.setLocalWindowSize(SESSION_WINDOW_BYTES));
  // Whoever waits for a stream is told.
  session.on('error', () => {});
  const stop = () => {
    session.destroy();
    connection.destroy();
  };
  signal.addEventListener('abort', stop);
  // A near end that was killed says no more than that.
  connection.on('end', stop);
  try {
    const written = await takeDump(session, options, signal);
    if (options.address) await servePages(connection, session, options.address, written, options, signal);
    else await tellLanded(session, { out: resolve(options.out), bytes: written.bytes });
  } catch (error) {
    if (signal.aborted) throw signal.reason;
    throw isOfConnection(error) ? brokenOff(error) : error;
  } finally {
    signal.removeEventListener('abort', stop);
    session.close();
  }
}

async function takeDump(session: ClientHttp2Session, options: AcceptOptions, signal: AbortSignal): Promise<Written> {
  const { out, onWritten } = options;
  const mark = join(out, UNDELIVERED);
  const sink = new DirectorySink(out, { force: options.force || existsSync(mark) });
  const stream = session.request({ ':path': PATH.DUMP, 'accept-encoding': 'zstd, gzip' });
  try {
    // From the start: a short answer that nobody reads yet is dropped by Node 24 and later when its stream is closed.
    const chunks = chunksOf(stream);
    const encoding = await answered(stream);
    const plain = encoding ? decompress({ chunks, name: PLACE }, encoding, Number.MAX_SAFE_INTEGER) : chunks;
    await pump(decodeChunks(plain, PLACE), [], sink, signal);
  } finally {
    await sink.discard();
  }
  onWritten(sink.written);
  return sink.written;
}

async function tellLanded(session: ClientHttp2Session, landed: Landed): Promise<void> {
  const stream = session.request({ ':method': 'POST', ':path': PATH.LANDED });
  stream.end(JSON.stringify(landed));
  await answered(stream);
}

async function servePages(
  connection: Duplex,
  session: ClientHttp2Session,
  address: Address,
  written: Written,
  { out, onEnd }: AcceptOptions,
  signal: AbortSignal,
): Promise<void> {
  /** Clients that are passed on, until their last byte is. */
  const clients = new Set<Promise<void>>();
  const enough = new AbortController();
  let delivered = false;
  let failure: unknown;
  const end = async () => {
    await Promise.allSettled(clients);
    enough.abort();
  };
  connection.on('close', end);
  const waitForDelivery = async () => {
    const stream = session.request({ ':path': PATH.DELIVERED });
    await answered(stream);
    delivered = true;
    onFile(out, () => rmSync(join(out, UNDELIVERED), { force: true }));
  };
  const serve = async (client: Duplex, name: string) => {
    const stream = session.request({ ':method': 'POST', ':path': PATH.PAGES, [CLIENT_HEADER]: name });
    stream.on('error', () => {});
    const passed = bridge(client, stream, stream).finally(() => clients.delete(passed));
    clients.add(passed);
    await passed;
    return true;
  };
  await listen(
    { address, maxClients: MAX_CLIENTS, idleSeconds: 0, isLast: () => false, signal: enough.signal },
    serve,
    {
      onListening: (pageServer) => {
        tellLanded(session, { out: resolve(out), bytes: written.bytes, pageServer })
          .then(waitForDelivery)
          .catch((error) => {
            failure ??= error;
            // Also where the connection was closed before anybody waited for that.
            void end();
          });
      },
      onEnd,
    },
  );
  signal.throwIfAborted();
  if (!delivered) throw failure ?? brokenOff(undefined);
}

const brokenOff = (cause: unknown): DumpError =>
  new DumpError('PROTOCOL', 'expected the sending side to go on, found the connection ended', { file: PLACE, cause });

/** Resolves when a request was granted, to the compression of the answer. */
async function answered(stream: ClientHttp2Stream): Promise<Compression | undefined> {
  const headers = await new Promise<Record<string, unknown>>((resolve, reject) => {
    stream.on('response', resolve);
    stream.on('error', (error) => reject(brokenOff(error)));
    stream.on('close', () => reject(brokenOff(undefined)));
  });
  if (headers[':status'] !== 200) {
    throw new DumpError('PROTOCOL', 'expected pagepipe send of the same version, found another one', { file: PLACE });
  }
  const encoding = headers['content-encoding'];
  return encoding === 'zstd' || encoding === 'gzip' ? encoding : undefined;
}

/** What an answer has, read from the call on. */
function chunksOf(stream: ClientHttp2Stream): AsyncGenerator<Uint8Array> {
  const body = new PassThrough({ highWaterMark: SETTINGS.maxFrameSize });
  // Met by whoever reads.
  pipeline(stream, body).catch(() => {});
  return piecesOf(body);
}

async function* piecesOf(body: PassThrough): AsyncGenerator<Uint8Array> {
  try {
    yield* body as AsyncIterable<Buffer>;
  } catch (error) {
    throw brokenOff(error);
  }
}
