/** The far end of `pagepipe migrate`: takes one step after the other, and hears what the near end says to each. */
import type { ClientHttp2Session, ClientHttp2Stream } from 'node:http2';
import { type Duplex, PassThrough } from 'node:stream';
import { DumpError } from '../errors.js';
import { pour } from '../io/pour.js';
import { isOfConnection } from '../send/protocol.js';
import { farSession, MAX_FRAME_BYTES, statusOf } from '../send/sessions.js';
import {
  type Delivered,
  type Failed,
  type Landed,
  PATH,
  type Ready,
  type Running,
  readStep,
  STATUS,
  type Terms,
  termsOf,
} from './protocol.js';

export const PLACE = 'stdin';

/** The near end has given up, and says why itself. */
export class GivenUp extends Error {
  /** @param isAnswer whether it has said so as the answer to a step. Otherwise only the connection ended in that way. */
  constructor(readonly isAnswer: boolean) {
    super('given up');
  }
}

/** What the near end says of a dump that has landed. Unknown if the connection has ended. */
export type Word = 'commit' | 'given up' | 'unknown';

export class FarEnd {
  private readonly session: ClientHttp2Session;
  /** The dump, while it is coming. */
  private dump: ClientHttp2Stream | undefined;
  private hasGivenUp = false;

  constructor(private readonly connection: Duplex) {
    const session = farSession(connection, () => this.readRest());
    this.session = session;
    session.on('goaway', () => {
      this.hasGivenUp = true;
    });
  }

  /** Throws {@link GivenUp}, or {@link DumpError} PROTOCOL if the connection has ended. */
  async ready(ready: Ready): Promise<Terms> {
    const stream = await this.step(PATH.READY, ready);
    return await readStep(stream, PLACE, termsOf);
  }

  /** Takes all of the dump. Throws {@link GivenUp}, and what `take` throws. */
  async takeDump(take: (chunks: AsyncIterable<Uint8Array>) => Promise<void>, signal: AbortSignal): Promise<void> {
    const stream = this.session.request({ ':path': PATH.DUMP });
    this.dump = stream;
    try {
      // Read from the start: Node 24 drops a short answer if its stream is closed before it is read.
      const body = new PassThrough({ highWaterMark: MAX_FRAME_BYTES });
      // The reader of the body sees the rejection.
      pour(stream, body).catch(() => {});
      await granted(stream);
      await take(body);
    } catch (error) {
      signal.throwIfAborted();
      throw isOfConnection(error) ? this.brokenOff(error) : error;
    } finally {
      this.dump = undefined;
    }
  }

  async landed(landed: Landed): Promise<Word> {
    try {
      (await this.step(PATH.LANDED, landed)).resume();
      return 'commit';
    } catch (error) {
      return error instanceof GivenUp && error.isAnswer ? 'given up' : 'unknown';
    }
  }

  /** Says that the processes run. Throws {@link DumpError} PROTOCOL if nobody hears it. */
  async running(running: Running): Promise<void> {
    (await this.step(PATH.RUNNING, running)).resume();
  }

  /** Says that all pages are there. */
  async delivered(delivered: Delivered): Promise<void> {
    (await this.step(PATH.DELIVERED, delivered)).resume();
  }

  /** Connects to the page server at the near end. */
  async pages(): Promise<Duplex> {
    const stream = this.session.request({ ':method': 'POST', ':path': PATH.PAGES });
    await granted(stream);
    return stream;
  }

  /** Says why this end gives up. Returns whether the near end has heard it. */
  async failed(failed: Failed): Promise<boolean> {
    try {
      (await this.step(PATH.FAILED, failed)).resume();
      return true;
    } catch {
      return false;
    }
  }

  close(): void {
    this.session.close();
  }

  destroy(): void {
    this.session.destroy();
    this.connection.destroy();
  }

  /** Takes over what has arrived of the dump: a destroyed stream drops its unread data. */
  private readRest(): void {
    while (this.dump?.read()) {
      // The body of the answer gets it.
    }
  }

  private async step(path: string, body: object): Promise<ClientHttp2Stream> {
    if (this.session.destroyed || this.session.closed) throw this.brokenOff(undefined);
    const stream = this.session.request({ ':method': 'POST', ':path': path });
    stream.end(JSON.stringify(body));
    try {
      await granted(stream);
    } catch (error) {
      throw isOfConnection(error) ? this.brokenOff(error) : error;
    }
    return stream;
  }

  private brokenOff(cause: unknown): Error {
    return this.hasGivenUp
      ? new GivenUp(false)
      : new DumpError('PROTOCOL', 'the connection ended', { file: PLACE, cause });
  }
}

/** Resolves when a request is granted. */
async function granted(stream: ClientHttp2Stream): Promise<void> {
  const status = await statusOf(stream);
  if (status === STATUS.GRANTED) return;
  // The session ends when all its answers have been read.
  stream.resume();
  if (status === STATUS.REFUSED) throw new GivenUp(true);
  throw new DumpError('PROTOCOL', 'the other side is another version of pagepipe', { file: PLACE });
}
