/**
 * Fetches one range of an object into shared memory. A body that is cut is continued where it ended. The object must be the
 * one that it was, and the server must send what it was asked for: both are checked before a byte is taken.
 */
import type * as Sdk from '@aws-sdk/client-s3';
import { s3Name } from './address.js';
import { type Client, IDLE_MS } from './client.js';
import { failureOf, S3Failure, statusOf } from './failure.js';
import type { FetchRequest } from './protocol.js';

/** How often a body may be cut: also by a server that sends a few bytes each time. */
const MAX_CUTS = 8;
/** Pause after the first cut, in ms. It doubles. */
const PAUSE_MS = 100;

export interface FetchContext {
  sdk: typeof Sdk;
  client: Client;
  signal: AbortSignal;
  /** Told of bytes that are in place: how many, from the start of the range. */
  onBytes(count: number, done: number): void;
  /** Told of a request that has to be made again. */
  onRetry(): void;
}

/** Fills `into` with the range. Throws {@link S3Failure}. */
export async function fetchRange(request: FetchRequest, into: Uint8Array, context: FetchContext): Promise<void> {
  const { start, bytes } = request;
  let done = 0;
  for (let cuts = 0; done < bytes; cuts++) {
    try {
      if (cuts > 0) await pause(cuts, context);
      for await (const chunk of body(request, start + done, context)) {
        if (chunk.length > bytes - done)
          throw damaged(request, start + done, 'the server sends more bytes than it said');
        into.set(chunk, done);
        done += chunk.length;
        context.onBytes(chunk.length, done);
      }
    } catch (error) {
      if (context.signal.aborted || !isCut(error)) {
        throw new S3Failure(
          failureOf(error, { file: s3Name(request), offset: start + done, action: 'read the object' }),
        );
      }
    }
    if (done < bytes && cuts >= MAX_CUTS) throw cut(request, start + done);
  }
}

/** An error in the middle of a body: those before it have been retried by the client. */
class BodyCut extends Error {
  constructor(override readonly cause: unknown) {
    super('the body was cut');
  }
}

const isCut = (error: unknown): boolean => error instanceof BodyCut;

async function* body(request: FetchRequest, from: number, context: FetchContext): AsyncGenerator<Uint8Array> {
  const { sdk, client, signal } = context;
  const last = request.start + request.bytes - 1;
  const idle = new AbortController();
  const { bucket, key, etag } = request;
  let answer: Sdk.GetObjectCommandOutput;
  try {
    answer = await client.send(
      new sdk.GetObjectCommand({ Bucket: bucket, Key: key, Range: `bytes=${from}-${last}`, IfMatch: etag }),
      { abortSignal: AbortSignal.any([signal, idle.signal]) },
    );
  } catch (error) {
    throw changed(request, from, error) ?? error;
  }
  const stream = answer.Body as unknown as AsyncIterable<Uint8Array> & { destroy(): void };
  try {
    check(request, from, last, answer);
    const timer = setTimeout(() => idle.abort(), IDLE_MS);
    try {
      for await (const chunk of stream) {
        timer.refresh();
        yield chunk;
      }
    } catch (error) {
      // A body that nobody sends any more is cut, too.
      throw error instanceof S3Failure || (signal.aborted && !idle.signal.aborted) ? error : new BodyCut(error);
    } finally {
      clearTimeout(timer);
    }
  } finally {
    stream.destroy();
  }
}

/** Whether an object is no longer what it was. */
function changed(request: FetchRequest, offset: number, error: unknown): S3Failure | undefined {
  const status = statusOf(error);
  const what =
    status === 412 || status === 416
      ? 'the object has changed since it was opened'
      : status === 404
        ? 'the object has been removed since it was opened'
        : undefined;
  if (what === undefined) return undefined;
  return new S3Failure({ code: 'CHANGED', what, file: s3Name(request), offset });
}

/** Checks the headers of an answer against what was asked for. Servers have been seen that send other bytes. */
function check(request: FetchRequest, from: number, last: number, answer: Sdk.GetObjectCommandOutput): void {
  const { size, etag } = request;
  const status = answer.$metadata.httpStatusCode;
  if (answer.ETag !== undefined && answer.ETag !== etag) {
    const what = 'the object has changed since it was opened';
    throw new S3Failure({ code: 'CHANGED', what, file: s3Name(request), offset: from });
  }
  if (status !== 206) {
    throw damaged(request, from, `asked for a range, expected the answer 206, found ${status}`);
  }
  const range = `bytes ${from}-${last}/${size}`;
  if (answer.ContentRange !== range) {
    const found = answer.ContentRange === undefined ? 'none' : JSON.stringify(answer.ContentRange.slice(0, 80));
    throw damaged(request, from, `expected the range "${range}" from the server, found ${found}`);
  }
  const length = last - from + 1;
  if (answer.ContentLength !== length) {
    throw damaged(
      request,
      from,
      `expected ${length} bytes from the server, found ${answer.ContentLength ?? 'no length'}`,
    );
  }
}

const damaged = (request: FetchRequest, offset: number, what: string): S3Failure =>
  new S3Failure({ code: 'DAMAGED', what, file: s3Name(request), offset });

function cut(request: FetchRequest, offset: number): S3Failure {
  const what = `cannot read the object: the server has cut its answer ${MAX_CUTS + 1} times`;
  return new S3Failure({ code: 'UNAVAILABLE', what, file: s3Name(request), offset });
}

function pause(cuts: number, { onRetry, signal }: FetchContext): Promise<void> {
  onRetry();
  const milliseconds = PAUSE_MS * 2 ** (cuts - 1) * (0.5 + Math.random() / 2);
  return new Promise((resolve, reject) => {
    const timer = setTimeout(resolve, milliseconds);
    signal.addEventListener('abort', () => {
      clearTimeout(timer);
      reject(signal.reason);
    });
  });
}
