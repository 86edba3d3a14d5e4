/** The near end of `pagepipe send`, after the dump: a page server whose clients are streams of HTTP/2. */
import { constants, type IncomingHttpHeaders, type ServerHttp2Stream } from 'node:http2';
import type { Duplex } from 'node:stream';
import { type ClientEnd, CUT_OFF, runClient, type Serve } from '../serve/server.js';
import { CLIENT_HEADER, ConnectionError, isOfConnection, PATH } from './protocol.js';
import { type NearSession, nearSession } from './sessions.js';

interface Options {
  /** Whether to go on when the first restore has all its pages. */
  keep: boolean;
  onEnd(end: ClientEnd): void;
}

/**
 * Serves pages. Resolves when a client has fetched all its pages, no other one is connected, and the far end has ended.
 * @param place name of the far end, for errors
 * @throws {ConnectionError} if the connection ends too early
 */
export async function servePages(connection: Duplex, place: string, serve: Serve, options: Options): Promise<void> {
  await new NearEnd(nearSession(connection), place, serve, options).run();
}

class NearEnd {
  /** Clients that are connected now. */
  private clients = 0;
  /** Whether a client has fetched all its pages. */
  private delivered = false;
  /** The request that is answered then. */
  private waiting: ServerHttp2Stream | undefined;
  private failure: unknown;

  constructor(
    private readonly near: NearSession,
    private readonly place: string,
    private readonly serve: Serve,
    private readonly options: Options,
  ) {}

  async run(): Promise<void> {
    const { session, closed } = this.near;
    session.on('error', (error) => this.fail(error));
    session.on('stream', (stream, headers) => {
      // Its reader or writer sees the error as well.
      stream.on('error', () => {});
      this.answer(stream, headers).catch((error) => this.fail(error));
    });
    await closed;
    // When all is done it does not matter how the connection ends.
    if (this.failure !== undefined && !(this.isDone && this.failure instanceof ConnectionError)) throw this.failure;
    if (this.isDone) return;
    throw new ConnectionError('the connection ended before a restore had fetched all pages', {
      file: this.place,
      hint: 'the same command sends the dump again',
    });
  }

  private get isDone(): boolean {
    return this.delivered && (this.options.keep || this.clients === 0);
  }

  private fail(error: unknown): void {
    this.failure ??= isOfConnection(error)
      ? new ConnectionError('the connection ended too early', { file: this.place })
      : error;
    this.near.session.destroy(undefined, constants.NGHTTP2_INTERNAL_ERROR);
  }

  private async answer(stream: ServerHttp2Stream, headers: IncomingHttpHeaders): Promise<void> {
    const path = headers[':path'];
    if (path === PATH.DELIVERED && !this.waiting) {
      this.waiting = stream;
      this.endIfDone();
    } else if (path === PATH.PAGES) {
      await this.serveClient(stream, String(headers[CLIENT_HEADER] ?? 'unknown'));
    } else {
      stream.respond({ ':status': 404 }, { endStream: true });
    }
  }

  private async serveClient(stream: ServerHttp2Stream, client: string): Promise<void> {
    // The client may be gone by now.
    if (stream.closed || stream.destroyed) return;
    stream.respond({ ':status': 200 });
    this.clients++;
    const end = await runClient(stream, client, this.serve, 0);
    this.clients--;
    this.options.onEnd(this.near.session.destroyed && !end.closed ? { ...end, error: CUT_OFF } : end);
    if (end.closed) this.delivered = true;
    this.endIfDone();
  }

  /** Answers the far end when pages are delivered. A client may be faster than the request for this answer. */
  private endIfDone(): void {
    const { waiting } = this;
    if (!this.delivered || !waiting) return;
    if (!waiting.headersSent) waiting.respond({ ':status': 200 }, { endStream: true });
    if (this.isDone && !this.options.keep) this.near.close();
  }
}
