/** The near end of `pagepipe send`: sends the dump, then its pages on demand, over one connection. */
import {
  constants,
  type IncomingHttpHeaders,
  performServerHandshake,
  type ServerHttp2Session,
  type ServerHttp2Stream,
} from 'node:http2';
import type { Duplex } from 'node:stream';
import type { RecordSink } from '../dump/pump.js';
import { DumpError, type ErrorPlace } from '../errors.js';
import type { Compression } from '../io/compression.js';
import { type ClientEnd, CUT_OFF, runClient, type Serve } from '../serve/server.js';
import { PageStreamSink } from './page-stream-sink.js';
import {
  CLIENT_HEADER,
  isOfConnection,
  type Landed,
  MAX_LANDED_BYTES,
  PATH,
  SESSION_WINDOW_BYTES,
  SETTINGS,
} from './protocol.js';

/** The connection ended too early: how the program at the far end exited may say why. */
export class ConnectionError extends DumpError {
  constructor(what: string, place: ErrorPlace) {
    super('PROTOCOL', what, place);
  }
}

export interface Shipment {
  /** Writes all of the dump, once. */
  ship(sink: RecordSink): Promise<void>;
  /** Of the dump, if the far end takes it; gzip if it does not. */
  compression: Compression | undefined;
  /** Serves one client of the page server; without it no pages are served. */
  serve?: Serve;
  /** Whether to go on when the first restore has all its pages. */
  keep: boolean;
  /** Called with the size of each piece of payload, in bytes. */
  progress?: (bytes: number) => void;
  onLanded(landed: Landed): void;
  onEnd(end: ClientEnd): void;
}

/**
 * Sends a dump to the far end of a connection. Resolves when it has arrived, and, if pages are served, when a client has fetched
 * all its pages and no other one is connected.
 * @param place name of the far end, for errors
 * @throws {DumpError} PROTOCOL if the connection ends too early; whatever {@link Shipment.ship} throws
 */
export async function send(connection: Duplex, place: string, shipment: Shipment, signal: AbortSignal): Promise<void> {
  signal.throwIfAborted();
  const session = performServerHandshake(connection, { settings: SETTINGS });
  session.setLocalWindowSize(SESSION_WINDOW_BYTES);
  const stop = () => {
    session.destroy();
    connection.destroy();
  };
  signal.addEventListener('abort', stop);
  // The session itself does not end with its input, which is all that is seen of a far end that was killed.
  connection.on('end', stop);
  const closed = new Promise<void>((resolve) => {
    session.on('close', resolve);
    // In Node 20 a session never emits 'close' if its last frame cannot be written. Its other events come before this.
    connection.on('close', () => setImmediate(resolve));
  });
  try {
    await new NearEnd(session, place, shipment).run(closed);
  } catch (error) {
    throw signal.aborted ? signal.reason : error;
  } finally {
    signal.removeEventListener('abort', stop);
  }
}

class NearEnd {
  private asked = false;
  private landed: Landed | undefined;
  /** Clients that are connected now. */
  private clients = 0;
  /** Whether a client has fetched all its pages. */
  private delivered = false;
  /** The request that is answered then. */
  private waiting: ServerHttp2Stream | undefined;
  private failure: unknown;

  constructor(
    private readonly session: ServerHttp2Session,
    private readonly place: string,
    private readonly shipment: Shipment,
  ) {}

  /** @param closed resolves when the connection is gone */
  async run(closed: Promise<void>): Promise<void> {
    const { session } = this;
    session.on('error', (error) => this.fail(this.notOurs(error)));
    session.on('stream', (stream, headers) => {
      // Its reader or writer sees the error as well.
      stream.on('error', () => {});
      this.answer(stream, headers).catch((error) => this.fail(error));
    });
    await closed;
    // When all is done it does not matter how the connection ends.
    if (this.failure !== undefined && !(this.isDone && this.failure instanceof ConnectionError)) throw this.failure;
    if (!this.landed) throw this.brokenOff('before the far side had all of the dump');
    if (!this.isDone) {
      throw this.brokenOff('before a restore had fetched all pages', 'the same command sends the dump again');
    }
  }

  private get isDone(): boolean {
    const { serve, keep } = this.shipment;
    return this.landed !== undefined && (!serve || (this.delivered && (keep || this.clients === 0)));
  }

  private brokenOff(when: string, hint?: string): DumpError {
    return new ConnectionError(`the connection ended ${when}`, {
      file: this.place,
      ...(hint === undefined ? {} : { hint }),
    });
  }

  private notOurs(cause: unknown): unknown {
    if (this.asked || (cause as NodeJS.ErrnoException).code !== 'ERR_HTTP2_ERROR') return cause;
    return new DumpError('PROTOCOL', 'the far side printed something that is not from pagepipe', {
      file: this.place,
      hint: 'does a startup file of its shell print something?',
      cause,
    });
  }

  private fail(error: unknown): void {
    this.failure ??= isOfConnection(error) ? this.brokenOff('too early') : error;
    this.session.destroy(undefined, constants.NGHTTP2_INTERNAL_ERROR);
  }

  private async answer(stream: ServerHttp2Stream, headers: IncomingHttpHeaders): Promise<void> {
    const path = headers[':path'];
    if (path === PATH.DUMP && !this.asked) {
      this.asked = true;
      await this.ship(stream, String(headers['accept-encoding'] ?? ''));
    } else if (path === PATH.LANDED && this.asked && !this.landed) {
      const landed = await readLanded(stream, this.place);
      this.landed = landed;
      stream.respond({ ':status': 200 }, { endStream: true });
      this.shipment.onLanded(landed);
    } else if (path === PATH.DELIVERED && this.landed && !this.waiting) {
      this.waiting = stream;
      this.endIfDone();
    } else if (path === PATH.PAGES && this.landed && this.shipment.serve) {
      await this.serve(stream, String(headers[CLIENT_HEADER] ?? 'unknown'), this.shipment.serve);
    } else {
      stream.respond({ ':status': 404 }, { endStream: true });
    }
  }

  private async ship(stream: ServerHttp2Stream, accepted: string): Promise<void> {
    const { compression, ship, progress } = this.shipment;
    const encoding = compression && (accepted.includes(compression) ? compression : 'gzip');
    stream.respond({ ':status': 200, ...(encoding ? { 'content-encoding': encoding } : {}) });
    await ship(new PageStreamSink(stream, encoding, progress));
  }

  private async serve(stream: ServerHttp2Stream, client: string, serve: Serve): Promise<void> {
    // The client may be gone by now.
    if (stream.closed || stream.destroyed) return;
    stream.respond({ ':status': 200 });
    this.clients++;
    const end = await runClient(stream, client, serve, 0);
    this.clients--;
    this.shipment.onEnd(this.session.destroyed && !end.closed ? { ...end, error: CUT_OFF } : end);
    if (end.closed) this.delivered = true;
    this.endIfDone();
  }

  /** Answers the far end when pages are delivered. A client may be faster than the request for this answer. */
  private endIfDone(): void {
    const { waiting } = this;
    if (!this.delivered || !waiting) return;
    if (!waiting.headersSent) waiting.respond({ ':status': 200 }, { endStream: true });
    if (this.isDone && !this.shipment.keep) this.session.close();
  }
}

async function readLanded(stream: ServerHttp2Stream, place: string): Promise<Landed> {
  const pieces: Buffer[] = [];
  let bytes = 0;
  for await (const piece of stream.iterator({ destroyOnReturn: false })) {
    bytes += piece.length;
    if (bytes > MAX_LANDED_BYTES) break;
    pieces.push(piece);
  }
  try {
    return parseLanded(Buffer.concat(pieces).toString());
  } catch (cause) {
    throw new DumpError('PROTOCOL', 'the far side did not say where the dump is', { file: place, cause });
  }
}

function parseLanded(text: string): Landed {
  const { out, bytes, pageServer } = JSON.parse(text) as Record<string, unknown>;
  const landed = { out: String(out), bytes: Number(bytes) };
  if (typeof pageServer !== 'object' || pageServer === null) return landed;
  const { host, port } = pageServer as Record<string, unknown>;
  return { ...landed, pageServer: { host: String(host), port: Number(port) } };
}
