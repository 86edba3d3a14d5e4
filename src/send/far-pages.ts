/** The far end of `pagepipe send`, after the dump: a page server whose answers come through HTTP/2. */
import { rmSync } from 'node:fs';
import type { ClientHttp2Session } from 'node:http2';
import { join } from 'node:path';
import type { Duplex } from 'node:stream';
import { setTimeout as delay } from 'node:timers/promises';
import { UNDELIVERED } from '../dump/names.js';
import { onFile } from '../errors.js';
import { bridge } from '../io/bridge.js';
import type { Address } from '../serve/address.js';
import { type ClientEnd, LINGER_MS, listen } from '../serve/server.js';
import { brokenOff, CLIENT_HEADER, type Landed, otherVersion, PATH } from './protocol.js';
import { farSession, statusOf } from './sessions.js';

/** Restores at the same time. */
const MAX_CLIENTS = 64;

interface Options {
  /** Where the dump is. */
  out: string;
  onEnd(end: ClientEnd): void;
}

/**
 * Says that the dump has landed, and forwards restores until the near end closes the connection.
 * @throws {DumpError} PROTOCOL if that is too early
 */
export async function forwardPages(
  connection: Duplex,
  address: Address,
  landed: Landed,
  { out, onEnd }: Options,
  signal: AbortSignal,
): Promise<void> {
  const enough = new AbortController();
  const far = new FarEnd(connection);
  const end = async () => {
    // The last bytes may still be on their way to a client, unless it does not take them.
    await Promise.race([far.settled(), delay(LINGER_MS, undefined, { ref: false })]);
    enough.abort();
  };
  connection.on('close', end);
  let delivered = false;
  let failure: unknown;
  const follow = async (pageServer: Address) => {
    try {
      connection.write(`${JSON.stringify({ ...landed, pageServer })}\n`);
      await far.delivery();
      onFile(out, () => rmSync(join(out, UNDELIVERED), { force: true }));
      delivered = true;
    } catch (error) {
      failure = error;
      // The connection may have closed before there was a listener.
      await end();
    }
  };
  try {
    await listen(
      { address, maxClients: MAX_CLIENTS, idleSeconds: 0, isLast: () => false, signal: enough.signal },
      (client, name) => far.forward(client, name),
      { onListening: (pageServer) => void follow(pageServer), onEnd },
    );
  } finally {
    far.close();
  }
  signal.throwIfAborted();
  if (!delivered) throw failure ?? brokenOff();
}

class FarEnd {
  private session: ClientHttp2Session | undefined;
  /** Restores that are being forwarded. */
  private readonly clients = new Set<Promise<void>>();

  constructor(private readonly connection: Duplex) {}

  /** Begins with HTTP/2. Resolves when a restore has all its pages. */
  async delivery(): Promise<void> {
    const { connection } = this;
    // No event would tell any more.
    if (connection.destroyed || connection.readableEnded) throw brokenOff();
    this.session = farSession(connection);
    if ((await statusOf(this.session.request({ ':path': PATH.DELIVERED }))) !== 200) throw otherVersion();
  }

  async forward(client: Duplex, name: string): Promise<boolean> {
    const stream = this.session?.request({ ':method': 'POST', ':path': PATH.PAGES, [CLIENT_HEADER]: name });
    if (!stream) throw brokenOff();
    stream.on('error', () => {});
    const forwarded = bridge(client, stream, stream).finally(() => this.clients.delete(forwarded));
    this.clients.add(forwarded);
    await forwarded;
    return true;
  }

  /** Resolves when no restore is being forwarded. */
  async settled(): Promise<void> {
    await Promise.allSettled(this.clients);
  }

  close(): void {
    this.session?.close();
  }
}
