/**
 * What the two ends of `pagepipe send` say to each other: HTTP/2 over the stdin and stdout of ssh. The far end is the client,
 * for it asks: for the dump, once it knows that it can have it, and later for pages, a stream for each restore.
 *
 *     GET  /1/dump        a page stream; content-encoding as the far end accepts it. 404 from another version.
 *     POST /1/landed      {@link Landed}, when the dump is in its place
 *     GET  /1/delivered   answered when the first client has got all its pages
 *     POST /1/pages       both directions: the page-server protocol, with the client's address in a header
 */
import { DumpError } from '../errors.js';
import type { DumpRecord } from '../records.js';
import { dropFiles } from '../stages/drop-files.js';

export const PATH = {
  DUMP: '/1/dump',
  LANDED: '/1/landed',
  DELIVERED: '/1/delivered',
  PAGES: '/1/pages',
} as const;

/** Header of a PAGES stream: who asks, as `host:port`. */
export const CLIENT_HEADER = 'pagepipe-client';

/** What an end takes of a stream before the other one must wait, in bytes; ssh takes as much. */
export const STREAM_WINDOW_BYTES = 2 * 1024 * 1024;
/** The same of all streams together: one that waits holds up no other. */
export const SESSION_WINDOW_BYTES = 64 * STREAM_WINDOW_BYTES;

/** What each end asks of the other: few large frames cost less than many small ones. */
export const SETTINGS = { initialWindowSize: STREAM_WINDOW_BYTES, maxFrameSize: 256 * 1024 };

/** Most bytes of a {@link Landed}. */
export const MAX_LANDED_BYTES = 64 * 1024;

/** Whether an error is what streams say, in one way or another, of a connection that is gone. */
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

/**
 * A file in a dump whose other pages have yet to be fetched. While it is there, the dump is of use only to the `send` that
 * made it, and the next one replaces it without being asked to.
 */
export const UNDELIVERED = '.pagepipe-undelivered';

const UNDELIVERED_TEXT = Buffer.from(
  'Pages of this dump are still where pagepipe send took it from. This file goes when all of them have been fetched.\n',
);

/** Stages that put {@link UNDELIVERED} into a dump, and take out one that is there. */
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
