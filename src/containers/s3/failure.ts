/** Why a request to an object store failed: one line without credentials, made of what the client throws. */
import { systemReason } from '../../errors.js';
import type { Failure } from './protocol.js';

/** A failure that has been described. */
export class S3Failure extends Error {
  constructor(readonly failure: Failure) {
    super(failure.what);
  }
}

/** What is of use in the errors of the client. */
interface ClientError {
  name?: string;
  message?: string;
  code?: string;
  $metadata?: { httpStatusCode?: number };
}

const MISSING: Record<string, string> = { NoSuchBucket: 'bucket', NoSuchUpload: 'upload' };

/** Longest text of a server in a message. */
const MAX_TEXT = 200;

const RETRIED = new Set([408, 409, 429]);

/** Whether an error is one of the connection: no answer, or one that was cut. */
export const isConnectionError = (error: unknown): boolean => {
  const { name = '', code = '', $metadata } = error as ClientError;
  return (
    $metadata?.httpStatusCode === undefined &&
    (/^E[A-Z_]+$|^ERR_(SSL|TLS|STREAM_PREMATURE_CLOSE)|^HPE_/.test(code) || /Timeout|AbortError/.test(name))
  );
};

export const statusOf = (error: unknown): number | undefined => (error as ClientError).$metadata?.httpStatusCode;

/**
 * Describes an error of the client.
 * @param place file: the s3:// name; action: what was to be done, as in `cannot read the object`
 */
export function failureOf(error: unknown, place: { file?: string; offset?: number; action: string }): Failure {
  const { file, offset, action } = place;
  if (error instanceof S3Failure) return { file, offset, ...error.failure };
  const { name = 'Error', message = '' } = error as ClientError;
  const status = statusOf(error);
  const at = { file, offset };
  const because = (reason: string) => `cannot ${action}: ${reason}`;
  if (status === undefined) {
    if (/Credentials|TokenProvider/.test(name)) {
      const hint = 'set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE; see docs/s3.md';
      return { ...at, code: 'SYSTEM', what: because('no credentials were found'), hint };
    }
    if (/region is missing/i.test(message)) {
      return { ...at, code: 'SYSTEM', what: because('no region is set'), hint: 'set AWS_REGION, or --endpoint-url' };
    }
    if (isConnectionError(error)) {
      return { ...at, code: 'UNAVAILABLE', what: because(connectionReason(error as Error)) };
    }
    return { ...at, code: 'SYSTEM', what: because(short(message || name)) };
  }
  if (status === 404) return { ...at, code: 'SYSTEM', what: because(`there is no such ${MISSING[name] ?? 'object'}`) };
  if (status === 403 || status === 401) {
    const hint = 'the permissions that are needed are in docs/s3.md';
    return { ...at, code: 'SYSTEM', what: because(`access denied (${short(name)})`), hint };
  }
  if (status === 301 || status === 307 || name === 'AuthorizationHeaderMalformed') {
    return { ...at, code: 'SYSTEM', what: because('the bucket is in another region'), hint: 'set AWS_REGION to it' };
  }
  if (status === 501) {
    const hint = 'the store lacks something that pagepipe needs, such as If-None-Match; see docs/s3.md';
    return { ...at, code: 'SYSTEM', what: because(`the server answers 501 (${short(name)})`), hint };
  }
  const isTemporary = status >= 500 || RETRIED.has(status) || /SlowDown|Throttl|Timeout/.test(name);
  const code = isTemporary ? 'UNAVAILABLE' : 'SYSTEM';
  return { ...at, code, what: because(`the server answers ${status} (${short(name)})`) };
}

function connectionReason(error: Error): string {
  const { name, code } = error as ClientError;
  // The client also calls a broken connection a TimeoutError.
  if (code === 'ECONNRESET' || code === 'EPIPE') return `the connection broke (${code})`;
  if (/Timeout/.test(name ?? '') || code === 'ETIMEDOUT') return 'the server did not answer in time';
  return code === undefined ? short(error.message) : systemReason(Object.assign(error, { syscall: 'connect' }));
}

/** Text of a server: it may be long, or have more than one line. */
const short = (text: string): string => {
  const line = text.replaceAll(/\s+/g, ' ').trim();
  return line.length > MAX_TEXT ? `${line.slice(0, MAX_TEXT)}…` : line;
};
