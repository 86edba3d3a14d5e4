/** The far end of `pagepipe send`: writes the dump, then forwards what restores ask for. */
import { existsSync, rmSync } from 'node:fs';
import { type ClientHttp2Session, type ClientHttp2Stream, connect } from 'node:http2';
import { join, resolve } from 'node:path';
import { type Duplex, PassThrough } from 'node:stream';
import { setTimeout as delay } from 'node:timers/promises';
import type { Written } from '../containers/directory/dump-directory.js';
import { DirectorySink } from '../containers/directory/write.js';
import { decodeChunks } from '../containers/page-stream/stream.js';
import { UNDELIVERED } from '../dump/names.js';
import { pump } from '../dump/pump.js';
import { DumpError, onFile } from '../errors.js';
import { bridge } from '../io/bridge.js';
import { type Compression, decompress } from '../io/compression.js';
import { pour } from '../io/pour.js';
import type { Address } from '../serve/address.js';
import { type ClientEnd, LINGER_MS, listen } from '../serve/server.js';
import { CLIENT_HEADER, isOfConnection, type Landed, PATH, SESSION_WINDOW_BYTES, SETTINGS } from './protocol.js';

/** Restores at the same time. */
const MAX_CLIENTS = 64;
/** HTTP/2 wants an origin, though the connection leads to one place only. */
const ORIGIN = 'http://pagepipe';
const PLACE = 'stdin';

export interface AcceptOptions {
  /** Directory to make. */
  out: string;
  force: boolean;
  /** Where to serve the pages that are not in the directory; without it they are not served. */
  address?: Address;
  onWritten(written: Written): void;
  onEnd(end: ClientEnd): void;
}

/**
 * Takes a dump, then forwards restores until the near end closes the connection.
 * @throws {DumpError} PROTOCOL, TRUNCATED if the connection ends too early; what {@link DirectorySink} throws
 */
export async function accept(connection: Duplex, options: AcceptOptions, signal: AbortSignal): Promise<void> {
  signal.throwIfAborted();
  const session = connect(ORIGIN, {
    createConnection: () => connection,
    settings: { ...SETTINGS, enablePush: false },
  });
  session.on('connect', () => session.setLocalWindowSize(SESSION_WINDOW_BYTES));
  // The streams report it to their readers and writers.
  session.on('error', () => {});
  const far = new FarEnd(connection, session, options, signal);
  const stop = () => {
    session.destroy();
    connection.destroy();
  };
  signal.addEventListener('abort', stop);
  // The session itself does not end with its input, which is all that is seen of a near end that was killed.
  connection.on('end', () => {
    far.readRest();
    stop();
  });
  try {
    await far.run();
  } catch (error) {
    if (signal.aborted) throw signal.reason;
    throw isOfConnection(error) ? brokenOff(error) : error;
  } finally {
    signal.removeEventListener('abort', stop);
    session.close();
  }
}

class FarEnd {
  /** The dump, while it is coming. */
  private dump: ClientHttp2Stream | undefined;
  /** Restores that are being forwarded. */
  private readonly clients = new Set<Promise<void>>();

  constructor(
    private readonly connection: Duplex,
    private readonly session: ClientHttp2Session,
    private readonly options: AcceptOptions,
    private readonly signal: AbortSignal,
  ) {}

  async run(): Promise<void> {
    const { bytes } = await this.takeDump();
    const landed = { out: resolve(this.options.out), bytes };
    if (this.options.address) await this.servePages(this.options.address, landed);
    else await this.tellLanded(landed);
  }

  /** Takes over what has arrived of the dump: a destroyed stream drops its unread data. */
  readRest(): void {
    while (this.dump?.read()) {
      // The body of the answer gets it.
    }
  }

  private async takeDump(): Promise<Written> {
    const { out, force, onWritten } = this.options;
    const sink = new DirectorySink(out, { force: force || existsSync(join(out, UNDELIVERED)) });
    this.dump = this.session.request({ ':path': PATH.DUMP, 'accept-encoding': 'zstd, gzip' });
    try {
      // Read from the start: Node 24 drops a short answer if its stream is closed before it is read.
      const body = new PassThrough({ highWaterMark: SETTINGS.maxFrameSize });
      // The reader of the body sees the rejection.
      pour(this.dump, body).catch(() => {});
      const encoding = await answered(this.dump);
      const chunks = encoding ? decompress({ chunks: body, name: PLACE }, encoding, Number.MAX_SAFE_INTEGER) : body;
      await pump(decodeChunks(chunks, PLACE), [], sink, this.signal);
    } finally {
      this.dump = undefined;
      await sink.discard();
    }
    onWritten(sink.written);
    return sink.written;
  }

  private async tellLanded(landed: Landed): Promise<void> {
    const stream = this.session.request({ ':method': 'POST', ':path': PATH.LANDED });
    stream.end(JSON.stringify(landed));
    await answered(stream);
  }

  private async waitForDelivery(): Promise<void> {
    const { out } = this.options;
    await answered(this.session.request({ ':path': PATH.DELIVERED }));
    onFile(out, () => rmSync(join(out, UNDELIVERED), { force: true }));
  }

  private async servePages(address: Address, landed: Landed): Promise<void> {
    const { connection, signal } = this;
    const enough = new AbortController();
    const end = async () => {
      // The last bytes may still be on their way to a client, unless it does not take them.
      await Promise.race([Promise.allSettled(this.clients), delay(LINGER_MS, undefined, { ref: false })]);
      enough.abort();
    };
    connection.on('close', end);
    let delivered = false;
    let failure: unknown;
    const follow = async (pageServer: Address) => {
      try {
        await this.tellLanded({ ...landed, pageServer });
        await this.waitForDelivery();
        delivered = true;
      } catch (error) {
        failure = error;
        // The connection may have closed before there was a listener.
        await end();
      }
    };
    await listen(
      { address, maxClients: MAX_CLIENTS, idleSeconds: 0, isLast: () => false, signal: enough.signal },
      (client, name) => this.forward(client, name),
      { onListening: (pageServer) => void follow(pageServer), onEnd: this.options.onEnd },
    );
    signal.throwIfAborted();
    if (!delivered) throw failure ?? brokenOff();
  }

  private async forward(client: Duplex, name: string): Promise<boolean> {
    const stream = this.session.request({ ':method': 'POST', ':path': PATH.PAGES, [CLIENT_HEADER]: name });
    stream.on('error', () => {});
    const forwarded = bridge(client, stream, stream).finally(() => this.clients.delete(forwarded));
    this.clients.add(forwarded);
    await forwarded;
    return true;
  }
}

const brokenOff = (cause?: unknown): DumpError =>
  new DumpError('PROTOCOL', 'the connection ended before the sending side was done', { file: PLACE, cause });

/** Resolves when a request is granted, to the compression of the answer. */
async function answered(stream: ClientHttp2Stream): Promise<Compression | undefined> {
  const headers = await new Promise<Record<string, unknown>>((resolve, reject) => {
    stream.on('response', resolve);
    stream.on('error', reject);
    stream.on('close', () => reject(brokenOff()));
  });
  if (headers[':status'] !== 200) {
    throw new DumpError('PROTOCOL', 'the sending side is another version of pagepipe', { file: PLACE });
  }
  const encoding = headers['content-encoding'];
  return encoding === 'zstd' || encoding === 'gzip' ? encoding : undefined;
}
