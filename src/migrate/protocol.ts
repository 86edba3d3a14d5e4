/**
 * The protocol between the two ends of `pagepipe migrate`: HTTP/2 over the stdin and stdout of ssh, as for `send`. The far end is
 * the client. Each request is one step, and its answer is the word of the near end:
 *
 *     POST ready       {@link Ready}: what the far end has. Answer: {@link Terms}, if it will do
 *     GET  dump        a page stream. The near end freezes the processes for it
 *     POST landed      {@link Landed}: all of it is in its place. Answered when the processes are dead at the near end (200), or
 *                      when they go on there (409): the far end then removes what it has
 *     POST running     {@link Running}: the restored processes run
 *     POST pages       lazily: the page-server protocol in both directions, at any time after the dump
 *     POST delivered   lazily: {@link Delivered}: every page is there
 *     POST failed      {@link Failed}: why the far end gives up, at any time
 *
 * An end of the connection before the answer to `landed` says nothing. The far end keeps the dump then, and restores nothing: the
 * processes may be dead, or alive.
 */
import type { ClientHttp2Stream, ServerHttp2Stream } from 'node:http2';
import { DumpError } from '../errors.js';

export const PATH = {
  READY: '/migrate/1/ready',
  DUMP: '/migrate/1/dump',
  LANDED: '/migrate/1/landed',
  RUNNING: '/migrate/1/running',
  PAGES: '/migrate/1/pages',
  DELIVERED: '/migrate/1/delivered',
  FAILED: '/migrate/1/failed',
} as const;

export const STATUS = { GRANTED: 200, REFUSED: 409, UNKNOWN: 404 } as const;

/** What the far end has. */
export interface Ready {
  /** Version of its criu, such as 4.2.1. */
  criu: string;
  /** As Node names it. */
  architecture: string;
  /** Absolute path of the directory that the dump will be in. */
  out: string;
  /** Bytes on its file system. */
  freeBytes: number;
  /** Its pid namespace. */
  namespace: string;
}

/** What the far end must be able to do. */
export interface Terms {
  /** Ids of processes and threads that must be free there. */
  ids: number[];
  /** The pid namespace in which these processes have them. */
  namespace: string;
}

/** What has come as the answer to `dump`. */
export interface Landed {
  bytes: number;
  /** CRC-32 of them. */
  crc: number;
}

export interface Running {
  /** How long the restore has taken. */
  seconds: number;
}

/** How the pages were delivered. Times are from a fault to its page, in seconds. */
export interface Delivered {
  pages: number;
  bytes: number;
  faults: number;
  seconds: number;
  faultP50: number | null;
  faultP99: number | null;
}

export interface Failed {
  message: string;
  hint?: string;
  /** Whether trying again may help. */
  temporary?: boolean;
}

/** Of the JSON of a step. A process may have many threads. */
const MAX_BODY_BYTES = 4 * 1024 * 1024;

/** Reads the JSON of a step. Throws {@link DumpError} PROTOCOL; `shape` throws for what is not right. */
export async function readStep<T>(
  stream: ClientHttp2Stream | ServerHttp2Stream,
  place: string,
  shape: (value: Record<string, unknown>) => T,
): Promise<T> {
  const pieces: Buffer[] = [];
  let bytes = 0;
  for await (const piece of stream.iterator({ destroyOnReturn: false })) {
    bytes += piece.length;
    if (bytes > MAX_BODY_BYTES) break;
    pieces.push(piece);
  }
  try {
    return shape(JSON.parse(Buffer.concat(pieces).toString()) as Record<string, unknown>);
  } catch (cause) {
    throw new DumpError('PROTOCOL', 'the other side sent something that is not understood', { file: place, cause });
  }
}

export const readyOf = ({ criu, architecture, out, freeBytes, namespace }: Record<string, unknown>): Ready => ({
  criu: text(criu),
  architecture: text(architecture),
  out: text(out),
  freeBytes: count(freeBytes),
  namespace: text(namespace),
});

export const termsOf = ({ ids, namespace }: Record<string, unknown>): Terms => {
  if (!Array.isArray(ids)) throw new TypeError('expected a list');
  return { ids: ids.map(count), namespace: text(namespace) };
};

export const landedOf = ({ bytes, crc }: Record<string, unknown>): Landed => ({ bytes: count(bytes), crc: count(crc) });

export const runningOf = ({ seconds }: Record<string, unknown>): Running => ({ seconds: amount(seconds) });

export const deliveredOf = (value: Record<string, unknown>): Delivered => ({
  pages: count(value['pages']),
  bytes: count(value['bytes']),
  faults: count(value['faults']),
  seconds: amount(value['seconds']),
  faultP50: value['faultP50'] === null ? null : amount(value['faultP50']),
  faultP99: value['faultP99'] === null ? null : amount(value['faultP99']),
});

export const failedOf = ({ message, hint, temporary }: Record<string, unknown>): Failed => ({
  message: text(message),
  ...(hint === undefined ? {} : { hint: text(hint) }),
  temporary: temporary === true,
});

function text(value: unknown): string {
  if (typeof value !== 'string') throw new TypeError('expected text');
  return value;
}

function amount(value: unknown): number {
  if (typeof value !== 'number' || !Number.isFinite(value) || value < 0) throw new TypeError('expected a number');
  return value;
}

function count(value: unknown): number {
  if (!Number.isSafeInteger(value)) throw new TypeError('expected a whole number');
  return amount(value);
}
