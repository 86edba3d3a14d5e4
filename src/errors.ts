/**
 * The three tiers of failure: a bug of ours ({@link invariant}, exit 70), bad input or a failing system
 * ({@link DumpError}, exit 1, or 75 if trying again may help), and a wrong command line ({@link UsageError}, exit 2).
 */
import { getSystemErrorMap } from 'node:util';
import { isTemporary, TEMPORARY_CODES } from './temporary.js';

/** Stable names for what can be wrong with an input; scripts may match on them. */
export type DumpErrorCode =
  | 'NOT_A_DUMP'
  | 'MISSING_IMAGE'
  | 'WRONG_MAGIC'
  | 'TRUNCATED'
  | 'LIMIT'
  | 'MALFORMED'
  | 'UNSUPPORTED'
  | 'PAGES_SIZE'
  | 'NOT_HALVES'
  | 'NOT_SLICES'
  | 'ORDER'
  | 'NO_AREA'
  | 'AREAS_OVERLAP'
  | 'PAGES_ID_TWICE'
  | 'NO_PARENT'
  | 'UNSAFE_POLICY'
  | 'NOT_CLASSIFIED'
  | 'PARTIAL_DUMP'
  | 'BAD_NAME'
  | 'OUTPUT_EXISTS'
  | 'OUTPUT_INSIDE_DUMP'
  | 'CHANGED'
  | 'UNAVAILABLE'
  | 'WRONG_SUM'
  | 'NOT_A_STREAM'
  | 'STREAM_VERSION'
  | 'STREAM_DAMAGED'
  | 'NOT_AN_IMAGE'
  | 'BAD_JSON'
  | 'BAD_VALUE'
  | 'DAMAGED'
  | 'PROTOCOL'
  | 'SYSTEM';

/** Where in the input a {@link DumpError} was found. */
export interface ErrorPlace {
  /** File name as the user knows it: relative to the dump, or `stdin`. */
  file?: string;
  /** Byte offset in `file`. */
  offset?: number;
  /** Index of the entry in an image, from 0; the head of a pagemap is not counted. */
  entry?: number;
  /** Path of a value in JSON, as jq writes it. */
  path?: string;
  /** One more line for the user: what to do about it. */
  hint?: string;
  /** Whether trying again may help, where neither the code nor the cause says it (`temporary.ts`). */
  temporary?: boolean;
  cause?: unknown;
}

/** Bad input or a failing system: the message is one line that says what was expected and what was found. */
export class DumpError extends Error {
  override readonly name = 'DumpError';
  readonly file: string | undefined;
  readonly offset: number | undefined;
  readonly entry: number | undefined;
  readonly path: string | undefined;
  readonly hint: string | undefined;
  /** Whether trying again may help. */
  readonly temporary: boolean;

  constructor(
    readonly code: DumpErrorCode,
    what: string,
    place: ErrorPlace = {},
  ) {
    super(describe(what, place), place.cause === undefined ? undefined : { cause: place.cause });
    this.file = place.file;
    this.offset = place.offset;
    this.entry = place.entry;
    this.path = place.path;
    this.hint = place.hint;
    this.temporary = place.temporary ?? (TEMPORARY_CODES.has(code) || isTemporary(place.cause));
  }
}

function describe(what: string, { file, offset, entry, path }: ErrorPlace): string {
  const at = offset === undefined ? '' : `@0x${offset.toString(16)}`;
  const index = entry === undefined ? '' : ` entry ${entry}`;
  const value = path === undefined ? '' : `${path}: `;
  return file === undefined ? what : `${file}${at}${index}: ${value}${what}`;
}

/** Input without a byte. @param code of the error for other input that is not what was expected */
export const emptyInput = (code: DumpErrorCode, file: string, expected: string): DumpError =>
  new DumpError(code, `it is empty; expected ${expected}`, { file });

/** A command line that cannot be understood. */
export class UsageError extends Error {
  override readonly name = 'UsageError';
}

/** A broken promise of our own code, never of the input. */
export class InternalError extends Error {
  override readonly name = 'InternalError';
}

export function invariant(condition: unknown, what: string): asserts condition {
  if (!condition) throw new InternalError(what);
}

/** Wraps a failed system call as a {@link DumpError} that names the file; other errors pass unchanged. */
export function systemError(error: unknown, file: string, offset?: number): unknown {
  if (error instanceof DumpError || !isErrno(error)) return error;
  return new DumpError('SYSTEM', systemReason(error), {
    file,
    ...(offset === undefined ? {} : { offset }),
    cause: error,
  });
}

/** Why a system call failed, in words and with its code; the message of any other error. */
export function systemReason(error: unknown): string {
  if (!isErrno(error)) return (error as Error).message;
  const text = ERRNO_TEXT[error.code] ?? getSystemErrorMap().get(error.errno ?? 0)?.[1] ?? error.message;
  return `${text} (${error.code})`;
}

/** Does something to a file; a failed system call becomes a {@link DumpError} that names it. */
export function onFile<T>(file: string, action: () => T, offset?: number): T {
  try {
    return action();
  } catch (error) {
    throw systemError(error, file, offset);
  }
}

/** Whether `error` came from a failed system call, of the given code if one is named. */
export function isErrno(error: unknown, code?: string): error is NodeJS.ErrnoException & { code: string } {
  return (
    error instanceof Error &&
    typeof (error as NodeJS.ErrnoException).code === 'string' &&
    (error as NodeJS.ErrnoException).syscall !== undefined &&
    (code === undefined || (error as NodeJS.ErrnoException).code === code)
  );
}

const ERRNO_TEXT: Record<string, string> = {
  EACCES: 'permission denied',
  EPERM: 'operation not permitted',
  ENOENT: 'no such file or directory',
  ENOTDIR: 'not a directory',
  EISDIR: 'is a directory',
  ENOSPC: 'no space left on device',
  EDQUOT: 'disk quota exceeded',
  EFBIG: 'file too large',
  EIO: 'input/output error',
  EROFS: 'read-only file system',
  EMFILE: 'too many open files',
  ENFILE: 'too many open files in the system',
  ELOOP: 'too many levels of symbolic links',
  ENAMETOOLONG: 'file name too long',
  EADDRINUSE: 'address already in use',
  EADDRNOTAVAIL: 'not an address of this machine',
  ENOTFOUND: 'no such host',
};
