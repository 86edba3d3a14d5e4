/** The near end of `pagepipe send`: sends the dump, then its pages on demand, over one connection. */
import type { Duplex } from 'node:stream';
import type { RecordSink } from '../dump/pump.js';
import { DumpError } from '../errors.js';
import type { Compression } from '../io/compression.js';
import { readLine } from '../io/line.js';
import type { ClientEnd, Serve } from '../serve/server.js';
import { connectionSink } from './connection-sink.js';
import { servePages } from './near-pages.js';
import {
  beginning,
  ConnectionError,
  compressionNamed,
  DONE,
  greeting,
  isOfConnection,
  type Landed,
  MAX_LANDED_BYTES,
  MAX_LINE_BYTES,
  parseGreeting,
} from './protocol.js';

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
  const stop = () => connection.destroy();
  signal.addEventListener('abort', stop);
  try {
    shipment.onLanded(await handOver(connection, place, shipment));
    if (shipment.serve) await servePages(connection, place, shipment.serve, shipment);
    else connection.end(`${DONE}\n`);
  } catch (error) {
    connection.destroy();
    if (signal.aborted) throw signal.reason;
    throw isOfConnection(error) ? tooEarly(place) : error;
  } finally {
    signal.removeEventListener('abort', stop);
  }
}

/** Sends the dump. Resolves when it is in its place. */
async function handOver(connection: Duplex, place: string, shipment: Shipment): Promise<Landed> {
  connection.write(greeting('send', shipment.compression));
  const compression = await agreedCompression(connection, place);
  const shipped = shipment.ship(connectionSink(connection, compression, shipment.progress));
  // The far side says nothing until it has the dump. That it is gone is noticed while the dump is still being read.
  const [answer] = await Promise.all([lineFrom(connection, place, MAX_LANDED_BYTES), shipped]);
  try {
    return parseLanded(answer);
  } catch (cause) {
    throw new DumpError('PROTOCOL', 'the far side did not say where the dump is', { file: place, cause });
  }
}

/** The compression that the far side takes. */
async function agreedCompression(connection: Duplex, place: string): Promise<Compression | undefined> {
  const found = parseGreeting(await lineFrom(connection, place, MAX_LINE_BYTES, beginning('accept')), 'accept');
  if (found === 'another version') {
    throw new DumpError('PROTOCOL', 'the far side is another version of pagepipe', { file: place });
  }
  if (found === 'foreign') {
    throw new DumpError('PROTOCOL', 'the far side printed something that is not from pagepipe', {
      file: place,
      hint: 'does a startup file of its shell print something?',
    });
  }
  return compressionNamed(found.compression);
}

/** The next line. What follows stays in the connection. */
async function lineFrom(connection: Duplex, place: string, maxBytes: number, beginning?: string): Promise<string> {
  const line = await readLine(connection.iterator({ destroyOnReturn: false }), maxBytes, beginning);
  if (!line) throw tooEarly(place);
  if (line.rest.length > 0) connection.unshift(line.rest);
  return line.text;
}

const tooEarly = (place: string): ConnectionError =>
  new ConnectionError('the connection ended before the far side had all of the dump', { file: place });

function parseLanded(text: string): Landed {
  const { out, bytes, pageServer } = JSON.parse(text) as Record<string, unknown>;
  const landed = { out: String(out), bytes: Number(bytes) };
  if (typeof pageServer !== 'object' || pageServer === null) return landed;
  const { host, port } = pageServer as Record<string, unknown>;
  return { ...landed, pageServer: { host: String(host), port: Number(port) } };
}
