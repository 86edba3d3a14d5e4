/**
 * The protocol between the two ends of `pagepipe send`, over the stdin and stdout of ssh. First comes the dump, as plainly as
 * through a pipe:
 *
 *     near   pagepipe send 2 zstd\n     version of the protocol, compression that is asked for
 *     far    pagepipe accept 2 zstd\n   compression of the dump: what was asked for, or gzip if that is not known
 *     near   dump                       a page stream; a compressed one in chunks (chunks.ts)
 *     far    {@link Landed} as a line of JSON, when the dump is in its place
 *     near   done\n                     unless pages are served
 *
 * If pages are served, HTTP/2 follows, with the far end as the client. It sends requests:
 *
 *     GET  /delivered   answered when a restore has fetched all its pages
 *     POST /pages       the page-server protocol in both directions, with the address of the restore in a header
 */
import { UNDELIVERED } from '../dump/names.js';
import type { DumpRecord } from '../dump/records.js';
import { DumpError, type ErrorPlace } from '../errors.js';
import type { Compression } from '../io/compression.js';
import { dropFiles } from '../stages/drop-files.js';

/** Other versions are refused. */
const VERSION = 2;
/** How the far end of version 1 begins: with HTTP/2. */
const BEGINNING_OF_1 = 'PRI * HTTP/2.0';
/** The last line of the near end. */
export const DONE = 'done';

/** Of every line but a {@link Landed}. */
export const MAX_LINE_BYTES = 1024;
/** The largest {@link Landed}, in bytes. */
export const MAX_LANDED_BYTES = 64 * 1024;

type Side = 'send' | 'accept';

/** How the first line of an end begins. */
export const beginning = (side: Side): string => `pagepipe ${side} `;

/** The first line of an end. */
export const greeting = (side: Side, compression: Compression | undefined): string =>
  `${beginning(side)}${VERSION} ${compression ?? 'none'}\n`;

/** The compression in the first line of the other end. */
export function parseGreeting(line: string, side: Side): { compression: string } | 'another version' | 'foreign' {
  if (!line.startsWith(beginning(side))) return line.startsWith(BEGINNING_OF_1) ? 'another version' : 'foreign';
  const [version, compression, ...more] = line.slice(beginning(side).length).split(' ');
  if (version !== String(VERSION) || compression === undefined || more.length > 0) return 'another version';
  return { compression };
}

/** A compression by its name in a greeting. Of those that are not known, gzip is left. */
export const compressionNamed = (name: string): Compression | undefined =>
  name === 'none' ? undefined : name === 'zstd' ? 'zstd' : 'gzip';

export const PATH = { DELIVERED: '/delivered', PAGES: '/pages' } as const;

/** Header of a PAGES stream: the client, as `host:port`. */
export const CLIENT_HEADER = 'pagepipe-client';

/** Name of the near end, for errors of the far one. */
export const PLACE = 'stdin';

export const brokenOff = (cause?: unknown): DumpError =>
  new DumpError('PROTOCOL', 'the connection ended before the sending side was done', {
    file: PLACE,
    temporary: true,
    cause,
  });

export const otherVersion = (): DumpError =>
  new DumpError('PROTOCOL', 'the sending side is another version of pagepipe', { file: PLACE });

/** The connection ended too early: how the program at the far end exited may say why. */
export class ConnectionError extends DumpError {
  constructor(what: string, place: ErrorPlace) {
    super('PROTOCOL', what, { ...place, temporary: true });
  }
}

/** Whether this is one of the many errors by which streams report that their connection is gone. */
export const isOfConnection = (error: unknown): boolean =>
  !(error instanceof DumpError) && (error as NodeJS.ErrnoException).code !== undefined;

/** Where a dump is now. */
export interface Landed {
  /** Absolute path. */
  out: string;
  /** Bytes of all its files. */
  bytes: number;
  /** Where its other pages are served at the far end. */
  pageServer?: { host: string; port: number };
}

const UNDELIVERED_TEXT = Buffer.from(
  'Some pages of this dump are still at the machine that sent it. This file is removed when all of them are fetched.\n',
);

/** Stages that add {@link UNDELIVERED} to a dump, in place of one that it may have. */
export const undelivered = () => [dropFiles(({ name }) => name === UNDELIVERED), addUndelivered];

function* addUndelivered(record: DumpRecord): Generator<DumpRecord> {
  yield record;
  if (record.type !== 'header') return;
  yield {
    type: 'file',
    kind: 'regular',
    name: UNDELIVERED,
    mode: 0o600,
    size: UNDELIVERED_TEXT.length,
    checked: false,
  };
  yield { type: 'bytes', bytes: UNDELIVERED_TEXT };
}
