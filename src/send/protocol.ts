/**
 * The protocol between the two ends of `pagepipe send`: HTTP/2 over the stdin and stdout of ssh. The far end is the client: it
 * requests the dump, when it can write one, and later pages, with a stream for each restore.
 *
 *     GET  /1/dump        a page stream, in a content-encoding that the far end accepts. 404 from another version.
 *     POST /1/landed      {@link Landed}, when the dump is in its place
 *     GET  /1/delivered   answered when a client has fetched all its pages
 *     POST /1/pages       the page-server protocol in both directions, with the client's address in a header
 */

import { UNDELIVERED } from '../dump/names.js';
import type { DumpRecord } from '../dump/records.js';
import { DumpError } from '../errors.js';
import { dropFiles } from '../stages/drop-files.js';

export const PATH = {
  DUMP: '/1/dump',
  LANDED: '/1/landed',
  DELIVERED: '/1/delivered',
  PAGES: '/1/pages',
} as const;

/** Header of a PAGES stream: the client, as `host:port`. */
export const CLIENT_HEADER = 'pagepipe-client';

/** Flow-control window of a stream, in bytes; that of ssh is as large. */
const STREAM_WINDOW_BYTES = 2 * 1024 * 1024;
/** The same for all streams together: one that waits holds up no other. */
export const SESSION_WINDOW_BYTES = 64 * STREAM_WINDOW_BYTES;

/** HTTP/2 settings of both ends: few large frames cost less than many small ones. */
export const SETTINGS = { initialWindowSize: STREAM_WINDOW_BYTES, maxFrameSize: 256 * 1024 };

/** The largest {@link Landed}, in bytes. */
export const MAX_LANDED_BYTES = 64 * 1024;

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
