/** The near end of `pagepipe migrate`: answers the steps of the far end. What they mean is up to its {@link Steps}. */
import type { IncomingHttpHeaders, ServerHttp2Stream } from 'node:http2';
import type { Duplex, Writable } from 'node:stream';
import { DumpError } from '../errors.js';
import { isOfConnection } from '../send/protocol.js';
import { nearSession } from '../send/sessions.js';
import { runClient, type Serve } from '../serve/server.js';
import {
  type Delivered,
  deliveredOf,
  failedOf,
  type Landed,
  landedOf,
  PATH,
  type Ready,
  type Running,
  readStep,
  readyOf,
  runningOf,
  STATUS,
  type Terms,
} from './protocol.js';

/** What the near end does at each step. An error ends the migration, and the far end is told. */
export interface Steps {
  ready(ready: Ready): Promise<Terms>;
  /** Writes all of the dump, and ends the stream. */
  ship(stream: Writable): Promise<void>;
  /** Resolves when the processes are dead here. If it throws, they go on here. */
  commit(landed: Landed): Promise<void>;
  running(running: Running): void;
  /** Serves the pages that are not in the dump that was sent, for one connection. Without it all are. */
  serve?: Serve;
  delivered?(delivered: Delivered): void;
}

/** The connection ended before the far end had said how it went. */
export class FarLost extends DumpError {
  constructor(place: string) {
    super('PROTOCOL', 'the connection ended', { file: place, temporary: true });
  }
}

const ORDER = [PATH.READY, PATH.DUMP, PATH.LANDED, PATH.RUNNING, PATH.DELIVERED] as const;

export class NearEnd {
  /** Ends the session. */
  private readonly close: () => void;
  private readonly lostController = new AbortController();
  private readonly closed: Promise<void>;
  /** Index in {@link ORDER} of the next step. */
  private next = 0;
  private failure: { error: unknown } | undefined;
  private isDone = false;

  /** @param place name of the far end, for errors */
  constructor(
    private readonly connection: Duplex,
    private readonly place: string,
    private readonly steps: Steps,
  ) {
    const { session, closed, close } = nearSession(connection);
    this.close = close;
    this.closed = closed.then(() => this.lostController.abort(new FarLost(place)));
    session.on('error', (error) => this.fail(this.notOurs(error)));
    session.on('stream', (stream, headers) => {
      // Its reader or writer sees the error as well.
      stream.on('error', () => {});
      void this.answer(stream, headers);
    });
  }

  /** Aborted when the connection is gone. */
  get lost(): AbortSignal {
    return this.lostController.signal;
  }

  /**
   * Resolves when the far end has said that the processes run and, lazily, have all their pages.
   * @throws what a step has thrown; {@link DumpError} PROTOCOL with what the far end has said; {@link FarLost}
   */
  async run(): Promise<void> {
    await this.closed;
    if (this.isDone) return;
    throw this.failure ? this.failure.error : new FarLost(this.place);
  }

  /** Gives up: the far end hears so at its next step, or at the end of the connection. */
  fail(error: unknown): void {
    // An error of the connection may be only what follows from the reason, which comes later.
    if (isOfConnection(error)) return;
    this.failure ??= { error };
    this.close();
  }

  private notOurs(cause: unknown): unknown {
    if (this.next > 0 || (cause as NodeJS.ErrnoException).code !== 'ERR_HTTP2_ERROR') return cause;
    this.connection.destroy();
    return new DumpError('PROTOCOL', 'the far side printed something that is not from pagepipe', {
      file: this.place,
      hint: 'does a startup file of its shell print something?',
      cause,
    });
  }

  private async answer(stream: ServerHttp2Stream, headers: IncomingHttpHeaders): Promise<void> {
    const path = headers[':path'];
    try {
      if (path === PATH.FAILED) {
        const { message, ...details } = await readStep(stream, this.place, failedOf);
        respond(stream, STATUS.GRANTED);
        this.fail(new DumpError('PROTOCOL', message, { file: this.place, ...details }));
        return;
      }
      if (path === PATH.PAGES && this.steps.serve) {
        stream.respond({ ':status': STATUS.GRANTED });
        await runClient(stream, this.place, this.steps.serve, 0);
        return;
      }
      if (path !== ORDER[this.next]) return respond(stream, STATUS.UNKNOWN);
      this.next++;
      if (this.failure) return respond(stream, STATUS.REFUSED);
      await this.take(path, stream);
    } catch (error) {
      if (stream.headersSent) stream.close();
      else respond(stream, STATUS.REFUSED);
      this.fail(error);
    }
  }

  private async take(path: string, stream: ServerHttp2Stream): Promise<void> {
    const { place, steps } = this;
    switch (path) {
      case PATH.READY:
        return respond(stream, STATUS.GRANTED, await steps.ready(await readStep(stream, place, readyOf)));
      case PATH.DUMP:
        stream.respond({ ':status': STATUS.GRANTED });
        return steps.ship(stream);
      case PATH.LANDED:
        await steps.commit(await readStep(stream, place, landedOf));
        return respond(stream, STATUS.GRANTED);
      case PATH.RUNNING:
        steps.running(await readStep(stream, place, runningOf));
        respond(stream, STATUS.GRANTED);
        if (!steps.serve) this.end();
        return;
      default:
        steps.delivered?.(await readStep(stream, place, deliveredOf));
        respond(stream, STATUS.GRANTED);
        this.end();
    }
  }

  private end(): void {
    this.isDone = true;
    this.close();
  }
}

function respond(stream: ServerHttp2Stream, status: number, body: object = {}): void {
  if (stream.destroyed || stream.closed) return;
  stream.respond({ ':status': status });
  stream.end(JSON.stringify(body));
}
