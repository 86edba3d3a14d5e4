/**
 * What every container of a dump comes down to: files whose bytes arrive in pieces. Those of several files may come in turn.
 */
import { posix } from 'node:path';
import { DumpError } from '../errors.js';
import type { PayloadFile } from '../records.js';
import type { TarMember } from './tar.js';

export type MemberEvent =
  /** A file that is new; `size` is in bytes, where it is known before its end. */
  | {
      type: 'member';
      name: string;
      kind: 'regular' | 'link' | 'directory';
      mode: number;
      size?: number;
      target?: string;
      /** As it stands in an archive. */
      tar?: TarMember;
      /** Not of the dump, but beside it in its archive. */
      outside?: true;
    }
  /** Bytes of a file; overwritten when the next event is asked for. Of a hole they are zeros. */
  | { type: 'data'; name: string; bytes: Uint8Array; hole?: boolean }
  /** The same by reference, all of a file at once. */
  | { type: 'extent'; name: string; file: PayloadFile; position: number; bytes: number }
  | { type: 'memberEnd'; name: string };

/** The first event of a file. */
export type Member = MemberEvent & { type: 'member' };

/** Keeps names beside the dump apart from those in it. */
export const OUTSIDE = '../';

export type MemberSource = AsyncIterable<MemberEvent>;

/**
 * Checks a name before anything is made of it.
 * @throws {DumpError} BAD_NAME for one that leads outside, or that no file can have
 */
export function checkMemberName(name: string, file: string, offset?: number): void {
  const bad =
    name === '' ||
    posix.isAbsolute(name) ||
    name.includes('\0') ||
    name.split('/').some((part) => part === '..' || part === '.' || part === '') ||
    Buffer.byteLength(name) > 4096;
  if (!bad) return;
  throw new DumpError('BAD_NAME', `expected a file name inside the dump, found ${JSON.stringify(name)}`, {
    file,
    ...(offset === undefined ? {} : { offset }),
  });
}
