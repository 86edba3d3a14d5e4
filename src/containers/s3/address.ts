/**
 * Names of places in an object store:
 *
 *     s3://BUCKET/KEY      an object, or the objects below KEY/: what is there decides
 *     s3://BUCKET/PREFIX/  the objects below a prefix
 *     s3://BUCKET          all objects of a bucket
 *
 * A key is taken as it is written: `%20` is three characters. Only keys that can also be the path of a file are accepted, so
 * that a name means one place.
 */
import { DumpError } from '../../errors.js';

const SCHEME = 's3://';

/** A place in a bucket. */
export interface S3Address {
  readonly bucket: string;
  /** Without a slash at its ends; empty for the whole bucket. */
  readonly key: string;
  /** Whether the name says that it is a prefix and not an object. */
  readonly isPrefix: boolean;
}

/** An object. */
export type ObjectAddress = Pick<S3Address, 'bucket' | 'key'>;

/** S3 takes 3 to 63 lower-case characters. Older buckets, and those of other stores, have more freedom. */
const BUCKET = /^[A-Za-z0-9][A-Za-z0-9._-]{1,253}[A-Za-z0-9]$/;

/** Longest key in bytes. Source: the Amazon S3 user guide, "Naming Amazon S3 objects". */
const MAX_KEY_BYTES = 1024;

/** Whether a place is in an object store. */
export const isS3Name = (place: unknown): place is string => typeof place === 'string' && place.startsWith(SCHEME);

/** The name of an object or a prefix, for people. */
export const s3Name = ({ bucket, key, isPrefix = false }: ObjectAddress & Partial<S3Address>): string =>
  `${SCHEME}${bucket}/${key}${isPrefix && key !== '' ? '/' : ''}`;

/** Takes a name apart. Throws {@link DumpError} BAD_NAME for a name that no object can have. */
export function parseS3Name(name: string): S3Address {
  const rest = name.slice(SCHEME.length);
  const slash = rest.indexOf('/');
  const bucket = slash < 0 ? rest : rest.slice(0, slash);
  if (!isS3Name(name) || !BUCKET.test(bucket)) {
    const hint = 'the name of a bucket has 3 characters or more: letters, digits, dots and hyphens';
    throw badName(name, `expected s3://BUCKET/KEY, found ${JSON.stringify(bucket)} in place of the bucket`, hint);
  }
  const path = slash < 0 ? '' : rest.slice(slash + 1);
  const isPrefix = path === '' || path.endsWith('/');
  const key = path.endsWith('/') ? path.slice(0, -1) : path;
  if (key !== '' && key.split('/').some((part) => part === '' || part === '.' || part === '..')) {
    throw badName(name, 'expected a key without empty parts, . and ..');
  }
  if (/\p{Cc}/u.test(key)) throw badName(name, 'the key has a control character');
  if (Buffer.byteLength(key) > MAX_KEY_BYTES) {
    throw badName(name, `expected a key of at most ${MAX_KEY_BYTES} bytes, found ${Buffer.byteLength(key)}`);
  }
  return { bucket, key, isPrefix };
}

const badName = (file: string, what: string, hint?: string): DumpError =>
  new DumpError('BAD_NAME', what, { file, ...(hint === undefined ? {} : { hint }) });

/** The beginning of the keys of all objects below a place. */
export const keyPrefix = ({ key }: Pick<S3Address, 'key'>): string => (key === '' ? '' : `${key}/`);
