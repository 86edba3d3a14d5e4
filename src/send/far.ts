/** The far end of `pagepipe send`: writes the dump, then forwards what restores ask for. */
import { existsSync } from 'node:fs';
import { join, resolve } from 'node:path';
import type { Duplex } from 'node:stream';
import { DirectorySink } from '../containers/directory/write.js';
import { decodeChunks, decodeFromConnection } from '../containers/page-stream/stream.js';
import type { Written } from '../containers/written.js';
import { UNDELIVERED } from '../dump/names.js';
import { pump, type RecordSource } from '../dump/pump.js';
import { decompress } from '../io/compression.js';
import { readLine } from '../io/line.js';
import type { Address } from '../serve/address.js';
import type { ClientEnd } from '../serve/server.js';
import { outOfChunks } from './chunks.js';
import { forwardPages } from './far-pages.js';
import {
  beginning,
  brokenOff,
  compressionNamed,
  DONE,
  greeting,
  isOfConnection,
  MAX_LINE_BYTES,
  otherVersion,
  PLACE,
  parseGreeting,
} from './protocol.js';

/** A connection that can also be read without a stream. Each chunk may be overwritten by the next. */
export type NearConnection = Duplex & { chunks(): AsyncIterable<Uint8Array> };

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
export async function accept(connection: NearConnection, options: AcceptOptions, signal: AbortSignal): Promise<void> {
  signal.throwIfAborted();
  const stop = () => connection.destroy();
  signal.addEventListener('abort', stop);
  connection.on('error', () => {});
  const { out, address } = options;
  try {
    const written = await takeDump(connection, options, signal);
    options.onWritten(written);
    const landed = { out: resolve(out), bytes: written.bytes };
    if (address) {
      await forwardPages(connection, address, landed, options, signal);
    } else {
      connection.write(`${JSON.stringify(landed)}\n`);
      if ((await readLine(connection.chunks(), MAX_LINE_BYTES))?.text !== DONE) throw brokenOff();
    }
  } catch (error) {
    if (signal.aborted) throw signal.reason;
    throw isOfConnection(error) ? brokenOff(error) : error;
  } finally {
    signal.removeEventListener('abort', stop);
    connection.destroy();
  }
}

async function takeDump(
  connection: NearConnection,
  { out, force }: AcceptOptions,
  signal: AbortSignal,
): Promise<Written> {
  const sink = new DirectorySink(out, { force: force || existsSync(join(out, UNDELIVERED)) });
  try {
    await pump(await openDump(connection), [], sink, signal);
  } finally {
    await sink.discard();
  }
  return sink.written;
}

/** Has the near end begin. */
async function openDump(connection: NearConnection): Promise<RecordSource> {
  const line = await readLine(connection.chunks(), MAX_LINE_BYTES, beginning('send'));
  if (!line) throw brokenOff();
  const asked = parseGreeting(line.text, 'send');
  if (typeof asked === 'string') throw otherVersion();
  const compression = compressionNamed(asked.compression);
  connection.write(greeting('accept', compression));
  const chunks = connection.chunks();
  if (!compression) return decodeFromConnection(chunks, PLACE);
  const compressed = outOfChunks(chunks, brokenOff);
  return decodeChunks(decompress({ chunks: compressed, name: PLACE }, compression, Number.MAX_SAFE_INTEGER), PLACE);
}
