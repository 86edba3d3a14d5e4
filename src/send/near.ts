/** The end of `pagepipe send` that has the dump: gives it away, then its pages, over one connection. */
import {
  constants,
  type IncomingHttpHeaders,
  performServerHandshake,
  type ServerHttp2Session,
  type ServerHttp2Stream,
} from 'node:http2';
import type { Duplex } from 'node:stream';
import { DumpError, type ErrorPlace } from '../errors.js';
import type { RecordSink } from '../pump.js';
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

/** The connection has ended too early: who runs the program at its far end may know why. */
export class ConnectionError extends DumpError {
  constructor(what: string, place: ErrorPlace) {
    super('PROTOCOL', what, place);
  }
}

export interface Shipment {
  /** Writes all of the dump, once. */
  ship(sink: RecordSink): Promise<void>;
  compress: boolean;
  /** What is done with each client of the page server; without it no pages are asked for. */
  serve?: Serve;
  /** Whether to go on when the first clients have all their pages. */
  keep: boolean;
  /** Told of the bytes of each piece of payload. */
  progress?: (bytes: number) => void;
  onLanded(landed: Landed): void;
  onEnd(end: ClientEnd): void;
}

/**
 * Sends a dump to the far end of a connection. Resolves when it is there, and, if pages are served, when the first client and all
 * that came meanwhile have theirs.
 * @param place of the far end, for errors
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
  // A far end that was killed says no more than that.
  connection.on('end', stop);
  const closed = new Promise<void>((resolve) => {
    session.on('close', resolve);
    // In Node 20 a session whose last words fail never says that it is closed. What it says otherwise comes first.
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
  /** Clients that are there now. */
  private clients = 0;
  private delivered = false;
  /** Waits for the first delivery. */
  private waiting: ServerHttp2Stream | undefined;
  private failure: unknown;

  constructor(
    private readonly session: ServerHttp2Session,
    private readonly place: string,
    private readonly shipment: Shipment,
  ) {}

  /** @param closed resolves when there is no connection any more */
  async run(closed: Promise<void>): Promise<void> {
    const { session } = this;
    session.on('error', (error) => this.fail(this.notOurs(error)));
    session.on('stream', (stream, headers) => {
      // Whoever reads or writes is told as well.
      stream.on('error', () => {});
      this.answer(stream, headers).catch((error) => this.fail(error));
    });
    await closed;
    // How the connection ends does not matter when all is done.
    if (this.failure !== undefined && !(this.isDone && this.failure instanceof ConnectionError)) throw this.failure;
    if (!this.landed) throw this.brokenOff('the far side to take all of the dump');
    if (!this.isDone) {
      throw this.brokenOff('a restore at the far side to fetch all pages', 'the same command sends it again');
    }
  }

  private get isDone(): boolean {
    const { serve, keep } = this.shipment;
    return this.landed !== undefined && (!serve || (this.delivered && (keep || this.clients === 0)));
  }

  private brokenOff(expected: string, hint?: string): DumpError {
    return new ConnectionError(`expected ${expected}, found the connection ended`, {
      file: this.place,
      ...(hint === undefined ? {} : { hint }),
    });
  }

  private notOurs(cause: unknown): unknown {
    if (this.asked || (cause as NodeJS.ErrnoException).code !== 'ERR_HTTP2_ERROR') return cause;
    return new DumpError('PROTOCOL', 'expected pagepipe at the far side, found something else on its stdout', {
      file: this.place,
      hint: 'does the start file of the shell there print something?',
      cause,
    });
  }

  private fail(error: unknown): void {
    this.failure ??= isOfConnection(error) ? this.brokenOff('the far side to go on') : error;
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
    } else if (path === PATH.PAGES && this.landed && this.shipment.serve) {
      await this.serve(stream, String(headers[CLIENT_HEADER] ?? 'unknown'), this.shipment.serve);
    } else {
      stream.respond({ ':status': 404 }, { endStream: true });
    }
  }

  private async ship(stream: ServerHttp2Stream, accepted: string): Promise<void> {
    const { compress, ship, progress } = this.shipment;
    const encoding = !compress ? undefined : accepted.includes('zstd') ? 'zstd' : 'gzip';
    stream.respond({ ':status': 200, ...(encoding ? { 'content-encoding': encoding } : {}) });
    await ship(new PageStreamSink(stream, encoding, progress));
  }

  private async serve(stream: ServerHttp2Stream, client: string, serve: Serve): Promise<void> {
    // It may have left before it was heard of.
    if (stream.closed || stream.destroyed) return;
    stream.respond({ ':status': 200 });
    this.clients++;
    const end = await runClient(stream, client, serve, 0);
    this.clients--;
    this.shipment.onEnd(this.session.destroyed && !end.closed ? { ...end, error: CUT_OFF } : end);
    if (end.closed && !this.delivered) {
      this.delivered = true;
      this.waiting?.respond({ ':status': 200 }, { endStream: true });
    }
    if (this.delivered && this.clients === 0 && !this.shipment.keep) this.session.close();
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
    throw new DumpError('PROTOCOL', 'expected to hear where the dump is, found something else', { file: place, cause });
  }
}

function parseLanded(text: string): Landed {
  const { out, bytes, pageServer } = JSON.parse(text) as Record<string, unknown>;
  const landed = { out: String(out), bytes: Number(bytes) };
  if (typeof pageServer !== 'object' || pageServer === null) return landed;
  const { host, port } = pageServer as Record<string, unknown>;
  return { ...landed, pageServer: { host: String(host), port: Number(port) } };
}
